//! Bodies that are no bodies of events, and bounds.
use crate::node::{Node, event, quick};
use ingest::Config;
use serde_json::json;

#[tokio::test]
async fn bodies_without_events_and_broken_ones_are_400() {
    let node = Node::one_partition().await;
    let mut client = node.client().await;
    let cut = json!([event(1), event(2)]).to_string();
    let deep = "[".repeat(100_000);
    for body in ["", "  \n ", "[]", "nonsense", "17", &cut[..cut.len() - 2], &deep, "\u{0}\u{1}"] {
        let answer = client.post_with(&[("content-type", "application/json")], body.as_bytes()).await;
        answer.assert_problem(400, "malformed-body");
    }
    assert!(node.entries().await.is_empty());
    assert_eq!(client.post(event(1)).await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn a_deeply_nested_value_is_one_bad_event() {
    let node = Node::one_partition().await;
    let deep = format!("[{},{{\"event_type\":\"play\",\"x\":{}{}}}]", event(1), "[".repeat(5_000), "]".repeat(5_000));
    let answer = node.client().await.post(deep).await;
    assert_eq!((answer.status, answer.json()["rejected"][0]["index"].clone()), (200, json!(1)));
}

#[tokio::test]
async fn too_many_events_are_413_and_none_is_taken() {
    let node = Node::start(Config { events_max: 10, ..Config::default() }, 1).await;
    let mut client = node.client().await;
    let events: Vec<_> = (0..11).map(event).collect();
    client.post(json!(events)).await.assert_problem(413, "too-many-events");
    assert!(node.entries().await.is_empty());
    assert_eq!(client.post(json!(events[..10])).await.json()["accepted"], 10);
}

#[tokio::test]
async fn a_body_over_the_bound_is_413_and_the_client_sees_it() {
    let node = Node::start(Config { body_bytes_max: 100_000, ..Config::default() }, 1).await;
    let mut client = node.client().await;
    client.send(b"POST /v1/events HTTP/1.1\r\nhost: edge\r\ncontent-length: 3000000\r\n\r\n").await;
    for _ in 0..30 {
        // Refused long ago; a server that had closed the connection would fail these.
        client.send(&[b' '; 100_000]).await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    client.answer().await.assert_problem(413, "body-too-large");

    let mut chunked = node.client().await;
    chunked.send(b"POST /v1/events HTTP/1.1\r\nhost: edge\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..30 {
        chunked.send(b"2710\r\n").await;
        chunked.send(&[b' '; 10_000]).await;
        chunked.send(b"\r\n").await;
    }
    chunked.send(b"0\r\n\r\n").await;
    chunked.answer().await.assert_problem(413, "body-too-large");
}

#[tokio::test]
async fn who_asks_before_sending_is_told_before_sending() {
    let node = Node::one_partition().await;
    let mut client = node.client().await;
    client
        .send(b"POST /v1/events HTTP/1.1\r\nhost: edge\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n")
        .await;
    client.answer().await.assert_problem(413, "body-too-large");

    let body = event(1).to_string();
    let mut client = node.client().await;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: e\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(head.as_bytes()).await;
    assert_eq!(client.answer().await.status, 100);
    client.send(body.as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn a_body_in_pieces_is_one_body() {
    let node = Node::one_partition().await;
    let mut client = node.client().await;
    client.send(b"POST /v1/events HTTP/1.1\r\nhost: edge\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for byte in event(1).to_string().bytes() {
        client.send(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']).await;
    }
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(node.rows().await.len(), 1);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let node = Node::start(quick(), 1).await;
    let mut client = node.client().await;
    client.send(b"POST /v1/events HTTP/1.1\r\nhost: edge\r\ncontent-length: 500\r\n\r\n[").await;
    client.answer().await.assert_problem(408, "request-timeout");
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn bodies_that_do_not_come_can_not_use_up_the_budget_for_others() {
    let config = Config { body_bytes_max: 64 << 10, bodies_bytes_max: 256 << 10, ..Config::default() };
    let node = Node::start(config, 1).await;
    let mut announcing = Vec::new();
    for _ in 0..50 {
        let mut client = node.client().await;
        client.send(b"POST /v1/events HTTP/1.1\r\nhost: edge\r\ncontent-length: 60000\r\n\r\n[").await;
        announcing.push(client);
    }
    assert_eq!(node.client().await.post(event(1)).await.status, 200, "only what came counts");

    let mut sending = Vec::new();
    for _ in 0..4 {
        let mut client = node.client().await;
        client.send(b"POST /v1/events HTTP/1.1\r\nhost: edge\r\ncontent-length: 60000\r\n\r\n").await;
        client.send(&[b' '; 40_000]).await;
        sending.push(client);
    }
    // As soon as what they sent has come.
    for attempt in 0.. {
        let answer = node.client().await.post(" ".repeat(40_000)).await;
        if answer.status == 503 {
            answer.assert_problem(503, "overloaded");
            break;
        }
        assert!(attempt < 500, "there is room still: {answer:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(sending);
    for attempt in 0.. {
        if node.client().await.post(event(1)).await.status == 200 {
            break;
        }
        assert!(attempt < 100, "the budget is not given back");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
