//! A 2xx means durable, and what fails is said so that a retry makes it whole.
use crate::measured::Measured;
use crate::node::{NOW, Node, event, id, quick};
use ingest::{Config, Error};
use log::AppendError;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_durable() {
    let measured = Measured::here();
    let node = Node::one_partition().await;
    node.faults().hold_sync();
    let mut client = node.client().await;
    client.request("POST", "/v1/events", &[], event(1).to_string().as_bytes()).await;
    measured.appends(1).await;
    assert!(client.hears_nothing().await, "acknowledged before it was durable");
    assert!(node.entries().await.is_empty());
    node.faults().release_sync();
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(node.rows().await.len(), 1);
}

#[tokio::test]
async fn while_an_append_is_under_way_all_that_comes_fills_one_record() {
    let measured = Measured::here();
    let node = Node::one_partition().await;
    node.faults().hold_appends();
    let mut clients = Vec::new();
    for number in 0..21 {
        let mut client = node.client().await;
        client.request("POST", "/v1/events", &[], event(number).to_string().as_bytes()).await;
        if number == 0 {
            measured.appends(1).await;
        }
        clients.push(client);
    }
    measured.taken((0..21).map(|number| event(number).to_string().len()).sum()).await;
    node.faults().release_appends();
    let mut counts = HashMap::new();
    for client in &mut clients {
        let answer = client.answer().await.json();
        *counts.entry(answer["receipts"][0]["offset"].as_u64().unwrap()).or_insert(0) += 1;
    }
    assert_eq!(counts, HashMap::from([(0, 1), (1, 20)]));
    assert_eq!(node.entries().await.len(), 2);
}

#[tokio::test]
async fn a_minimum_linger_gathers_requests_of_a_quiet_log() {
    let node = Node::start(Config { linger_ms: 400, ..Config::default() }, 1).await;
    let (mut first, mut second) = (node.client().await, node.client().await);
    first.request("POST", "/v1/events", &[], event(1).to_string().as_bytes()).await;
    second.request("POST", "/v1/events", &[], event(2).to_string().as_bytes()).await;
    assert_eq!((first.answer().await.status, second.answer().await.status), (200, 200));
    assert_eq!(node.entries().await.len(), 1);
}

#[tokio::test]
async fn a_full_log_is_503_and_taken_again_when_it_has_room() {
    let node = Node::one_partition().await;
    let mut client = node.client().await;
    node.faults().fail_appends(AppendError::Full("the disk budget is used up".into()));
    let answer = client.post(event(1)).await;
    answer.assert_problem(503, "log-full");
    assert!(answer.json()["detail"].as_str().unwrap().contains("disk budget"));
    assert!(node.reports.lock().unwrap().last().unwrap().is_err(), "a full log is reported");
    node.faults().recover();
    assert_eq!(client.post(event(1)).await.status, 200);
    assert_eq!(node.reports.lock().unwrap().last(), Some(&Ok(())));
    assert_eq!(node.rows().await.len(), 1);
}

#[tokio::test]
async fn after_a_lost_reply_the_retry_has_the_same_ids() {
    let node = Node::one_partition().await;
    let mut client = node.client().await;
    let body =
        json!([{"event_type": "pause", "event_time": NOW / 1_000, "session_id": "s", "player_name": "p"}, event(2)]);
    node.faults().lose_reply(1);
    client.post(&body).await.assert_problem(503, "log-unavailable");
    assert_eq!(client.post(&body).await.status, 200);
    let rows = node.rows().await;
    assert_eq!(rows.len(), 4, "both attempts were written");
    let ids: HashSet<_> = rows.iter().map(|row| &row.event_id).collect();
    assert_eq!(ids.len(), 2, "and dedup finds each event once: {rows:?}");
}

#[tokio::test]
async fn when_one_batch_fails_the_whole_request_is_refused() {
    let node = Node::start(Config::default(), 4).await;
    let events: Vec<Value> = (0..100).map(event).collect();
    node.faults().fail_append(2, AppendError::Unknown("a broker went away".into()));
    let mut client = node.client().await;
    client.post(json!(events)).await.assert_problem(503, "log-unavailable");
    assert_eq!(client.post(json!(events)).await.json()["accepted"], 100);
    let ids: HashSet<_> = node.rows().await.into_iter().map(|row| row.event_id).collect();
    assert_eq!(ids.len(), 100);
}

#[tokio::test]
async fn a_record_that_the_log_calls_too_large_is_our_fault() {
    let node = Node::one_partition().await;
    node.faults().fail_append(1, AppendError::TooLarge { bytes: 2, max: 1 });
    let mut client = node.client().await;
    client.post(event(1)).await.assert_problem(500, "batch-not-encodable");
    assert_eq!(client.post(event(1)).await.status, 200, "the partition goes on");
}

#[tokio::test]
async fn a_log_that_hangs_is_503_in_time_and_its_events_may_come_later() {
    let node = Node::start(quick(), 1).await;
    node.faults().hold_appends();
    let mut client = node.client().await;
    client.post(event(1)).await.assert_problem(503, "append-timeout");
    node.faults().release_appends();
    assert_eq!(client.post(event(1)).await.status, 200);
    assert!(node.rows().await.iter().all(|row| row.event_id == id(1)));
}

#[tokio::test]
async fn a_log_that_hangs_makes_the_edge_unready_until_it_goes_on() {
    let node = Node::start(quick(), 2).await;
    node.faults().hold_sync();
    node.client().await.post(event(1)).await.assert_problem(503, "append-timeout");
    node.reports(|report| report.as_ref().is_err_and(|words| words.contains("the log hangs"))).await;
    node.faults().release_sync();
    node.reports(Result::is_ok).await;
    assert_eq!(node.client().await.post(event(1)).await.status, 200);
    assert_eq!(node.reports.lock().unwrap().len(), 3, "ready, hung, ready");
}

#[tokio::test]
async fn behind_a_log_that_hangs_memory_is_bounded_and_requests_are_refused() {
    let node = Node::start(quick(), 1).await;
    node.faults().hold_appends();
    // Each of 700 kB: one is under way, two wait, one fills, and then there is no room.
    let mut clients = Vec::new();
    for number in 0..8 {
        let mut client = node.client().await;
        client.request("POST", "/v1/events", &[], large_body(number, 700_000).as_bytes()).await;
        clients.push(client);
    }
    let mut names = HashMap::new();
    for client in &mut clients {
        let answer = client.answer().await;
        assert_eq!(answer.status, 503);
        *names.entry(answer.json()["type"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert!(names["urn:playhead:problem:overloaded"] >= 3, "{names:?}");
    node.faults().release_appends();
    assert_eq!(node.client().await.post(event(1)).await.status, 200, "it recovers by itself");
}

#[tokio::test]
async fn requests_wait_for_room_and_get_it_in_time() {
    let measured = Measured::here();
    let node = Node::start(Config { append_timeout_ms: 20_000, ..Config::default() }, 1).await;
    node.faults().hold_appends();
    let mut clients = Vec::new();
    let mut bytes = 0;
    for number in 0..8 {
        let (mut client, body) = (node.client().await, large_body(number, 700_000));
        client.request("POST", "/v1/events", &[], body.as_bytes()).await;
        clients.push(client);
        bytes += body.len();
    }
    measured.taken(bytes).await;
    assert!(clients[7].hears_nothing().await);
    node.faults().release_appends();
    for client in &mut clients {
        assert_eq!(client.answer().await.status, 200);
    }
}

#[tokio::test]
async fn a_large_body_is_split_over_records_none_of_which_is_over_the_limit() {
    let node = Node::one_partition().await;
    let body = large_body(1, 3_900_000);
    let answer = node.client().await.post_with(&[], body.as_bytes()).await;
    let document = answer.json();
    assert_eq!(answer.status, 200, "{document}");
    let entries = node.entries().await;
    assert!(entries.len() >= 4, "{}", entries.len());
    assert!(entries.iter().all(|entry| entry.record.bytes() <= event::limits::RECORD_BYTES_MAX));
    let rows = node.rows().await;
    let accepted = document["accepted"].as_u64().unwrap();
    assert_eq!(rows.len() as u64, accepted);
    for receipt in document["receipts"].as_array().unwrap() {
        let there = rows.iter().filter(|row| receipt["offset"] == row.offset).count();
        assert_eq!(receipt["count"], there);
    }
}

#[tokio::test]
async fn a_stopped_log_ends_the_edge_loudly_after_its_requests_are_refused() {
    let node = Node::start(quick(), 1).await;
    node.faults().fail_append(1, AppendError::Stopped("fsync failed".into()));
    let mut client = node.client().await;
    client.post(event(1)).await.assert_problem(503, "stopping");
    let reports = node.reports.clone();
    let ended = tokio::time::timeout(Duration::from_secs(20), node.ended()).await.expect("run goes on");
    assert!(matches!(&ended, Err(Error::Log(AppendError::Stopped(words))) if words == "fsync failed"), "{ended:?}");
    assert!(reports.lock().unwrap().last().unwrap().is_err());
}

/// About `bytes` of NDJSON, in events whose text hardly shrinks.
fn large_body(seed: u64, bytes: usize) -> String {
    let mut body = String::new();
    let mut number = seed << 32;
    while body.len() < bytes {
        let mut large = event(number);
        for key in 0..8 {
            let noise = (0..40).map(|at| format!("{:016x}", mix(number * 1_000 + key * 50 + at)));
            large[format!("note_{key}")] = Value::String(noise.collect());
        }
        body.push_str(&large.to_string());
        body.push('\n');
        number += 1;
    }
    body
}

/// A step of splitmix64: bits that don't compress.
fn mix(seed: u64) -> u64 {
    let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}
