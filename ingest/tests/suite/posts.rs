//! What is posted, what is answered, what is in the log.
use crate::node::{NOW, Node, event, id};
use ingest::Config;
use serde_json::json;

#[tokio::test]
async fn one_event_is_in_the_log_where_its_receipt_says() {
    let node = Node::start(Config::default(), 4).await;
    let answer = node.client().await.post(event(7)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let receipt = answer.json();
    assert_eq!((&receipt["accepted"], &receipt["ack"], &receipt["rejected"]), (&json!(1), &json!("disk"), &json!([])));
    let rows = node.rows().await;
    assert_eq!(rows.len(), 1);
    assert_eq!(receipt["receipts"], json!([{"partition": rows[0].partition, "offset": rows[0].offset, "count": 1}]));
    assert_eq!((rows[0].event_id.as_str(), rows[0].event_type.as_str()), (id(7).as_str(), "heartbeat"));
    assert_eq!(rows[0].session_id.as_deref(), Some("session-7"));
}

#[tokio::test]
async fn an_array_an_envelope_and_lines_are_all_taken_whatever_their_label() {
    let node = Node::one_partition().await;
    let mut client = node.client().await;
    let array = json!([event(1), event(2)]).to_string();
    let envelope = json!({"sent_at": NOW / 1_000, "events": [event(3), event(4)]}).to_string();
    let lines = format!("{}\r\n\n{}\n", event(5), event(6));
    for (label, body) in [
        ("application/json; charset=utf-8", &array),
        ("text/plain", &envelope),
        ("application/x-ndjson", &lines),
        ("application/json", &lines),
        ("application/x-www-form-urlencoded", &array),
    ] {
        let answer = client.post_with(&[("content-type", label)], body.as_bytes()).await;
        assert_eq!(answer.json()["accepted"], 2, "{label}: {answer:?}");
    }
    let mut ids: Vec<String> = node.rows().await.into_iter().map(|row| row.event_id).collect();
    ids.sort();
    assert_eq!(ids, [1, 1, 2, 2, 3, 4, 5, 5, 6, 6].map(id));
}

#[tokio::test]
async fn a_body_without_a_label_is_read_by_looking() {
    let node = Node::one_partition().await;
    let answer = node.client().await.post_with(&[], event(1).to_string().as_bytes()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn bad_events_are_rejected_by_index_and_do_not_harm_their_neighbours() {
    let node = Node::start(Config::default(), 4).await;
    let body =
        json!([event(1), {"event_type": "play"}, event(2), {"event_id": "mine", "event_type": "nonsense"}, event(3)]);
    let answer = node.client().await.post(body).await;
    assert_eq!(answer.status, 200);
    let document = answer.json();
    assert_eq!(document["accepted"], 3);
    let rejected = document["rejected"].as_array().unwrap();
    assert_eq!(rejected.iter().map(|one| one["index"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 3]);
    assert_eq!((&rejected[0]["event_id"], &rejected[1]["event_id"]), (&json!(null), &json!("mine")));
    assert!(rejected.iter().all(|one| !one["reason"].as_str().unwrap().is_empty()));
    let counts = document["receipts"].as_array().unwrap().iter().map(|one| one["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 3);
    assert_eq!(node.rows().await.len(), 3);
}

#[tokio::test]
async fn when_all_are_bad_the_answer_is_422_with_a_bounded_list() {
    let node = Node::one_partition().await;
    let answer = node.client().await.post(json!(vec![json!({"event_type": "play"}); 150])).await;
    answer.assert_problem(422, "all-rejected");
    let problem = answer.json();
    assert_eq!(problem["accepted"], 0);
    assert_eq!(problem["rejected"].as_array().unwrap().len(), 100);
    assert_eq!(problem["rejected_more"], 50);
    assert!(node.entries().await.is_empty());
}

#[tokio::test]
async fn a_client_that_prefers_it_gets_204_but_never_loses_a_rejection() {
    let node = Node::one_partition().await;
    let mut client = node.client().await;
    let prefer = [("prefer", "return=minimal")];
    let answer = client.post_with(&prefer, event(1).to_string().as_bytes()).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(answer.header("preference-applied"), Some("return=minimal"));
    let answer = client.post_with(&prefer, json!([event(2), {}]).to_string().as_bytes()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["rejected"][0]["index"], 1);
    assert_eq!(node.rows().await.len(), 2);
}

#[tokio::test]
async fn events_of_one_session_stand_in_one_partition_in_their_order() {
    let node = Node::start(Config::default(), 8).await;
    let mut client = node.client().await;
    for round in 0..4_u64 {
        let events: Vec<_> = (0..200).map(|number| event(round * 200 + number)).collect();
        assert_eq!(client.post(json!(events)).await.json()["accepted"], 200);
    }
    let rows = node.rows().await;
    assert_eq!(rows.len(), 800);
    let partitions: std::collections::HashSet<_> = rows.iter().map(|row| row.partition).collect();
    assert!(partitions.len() > 4, "{partitions:?}");
    for session in 0..97 {
        let session = format!("session-{session}");
        let own: Vec<_> = rows.iter().filter(|row| row.session_id.as_deref() == Some(&session)).collect();
        assert!(own.windows(2).all(|two| two[0].partition == two[1].partition && two[0].event_id < two[1].event_id));
    }
}

#[tokio::test]
async fn the_idempotency_key_salts_the_ids_of_events_without_one() {
    let node = Node::one_partition().await;
    let mut client = node.client().await;
    let body = json!({"event_type": "pause", "event_time": NOW / 1_000, "session_id": "s"}).to_string();
    for key in ["first", "first", "second"] {
        assert_eq!(client.post_with(&[("idempotency-key", key)], body.as_bytes()).await.status, 200);
    }
    let ids: Vec<String> = node.rows().await.into_iter().map(|row| row.event_id).collect();
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
    let long = "x".repeat(256);
    client.post_with(&[("idempotency-key", &long)], body.as_bytes()).await.assert_problem(400, "malformed-header");
}

#[tokio::test]
async fn what_is_no_post_to_the_path_says_where_to_post() {
    let node = Node::one_partition().await;
    let mut client = node.client().await;
    client.request("GET", "/", &[], b"").await;
    let answer = client.answer().await;
    answer.assert_problem(404, "not-found");
    assert!(answer.json()["detail"].as_str().unwrap().contains("/v1/events"));
    client.request("GET", "/v1/events", &[], b"").await;
    let answer = client.answer().await;
    answer.assert_problem(405, "method-not-allowed");
    assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
    client.request("HEAD", "/v1/events", &[], b"").await;
    assert_eq!(client.answer_to_head().await.unwrap().status, 405);
    client.request("POST", "/v1/events?source=test", &[], event(1).to_string().as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);
}
