//! Connections: many idle ones, slow ones, too many.
use crate::measured::Measured;
use crate::node::{DEADLINE_MS, Node, event, quick};
use ingest::Config;
use serde_json::json;
use std::process::Command;
use std::time::Duration;

/// Idle connections of one client, both ends of which are files of this process.
const IDLE: usize = 2_000;
/// Files beside those: of other tests.
const FILES_BESIDE: usize = 300;

fn post(number: u64) -> String {
    let body = event(number).to_string();
    format!("POST /v1/events HTTP/1.1\r\nhost: edge\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_pipelined_ones_in_their_order() {
    let node = Node::one_partition().await;
    let mut client = node.client().await;
    for number in 0..3 {
        assert_eq!(client.post(event(number)).await.status, 200);
    }
    let bad = "POST /v1/events HTTP/1.1\r\nhost: edge\r\ncontent-length: 2\r\n\r\n[]".to_owned();
    client.send([post(10), bad, post(11)].concat().as_bytes()).await;
    let statuses = [client.answer().await.status, client.answer().await.status, client.answer().await.status];
    assert_eq!(statuses, [200, 400, 200]);
    assert_eq!(node.rows().await.len(), 5);
}

#[tokio::test]
async fn a_head_that_does_not_end_closes_the_connection() {
    let config = Config { idle_timeout_ms: 60_000, ..quick() };
    let node = Node::start(config, 1).await;
    let mut client = node.client().await;
    client.send(b"POST /v1/events HTTP/1.1\r\nhost: ed").await;
    assert!(client.is_closed().await);
    let mut second_head = node.client().await;
    assert_eq!(second_head.post(event(1)).await.status, 200);
    second_head.send(b"POST /v1").await;
    assert!(second_head.is_closed().await);
}

#[tokio::test]
async fn drops_of_a_head_do_not_keep_a_connection_open() {
    let node = Node::start(quick(), 1).await;
    let mut client = node.client().await;
    client.send(b"POST /v1/events HTTP/1.1\r\n").await;
    for _ in 0..500 {
        if tokio::io::AsyncWriteExt::write_all(&mut client.stream, b"a: b\r\n").await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("ten seconds of dripping, and the connection is still open");
}

#[tokio::test]
async fn an_idle_connection_is_closed_before_and_after_a_request() {
    let config = Config { header_timeout_ms: 60_000, ..quick() };
    let node = Node::start(config, 1).await;
    let mut silent = node.client().await;
    assert!(silent.is_closed().await);
    let mut once = node.client().await;
    assert_eq!(once.post(event(1)).await.status, 200);
    assert!(once.is_closed().await);
}

#[tokio::test]
async fn an_idle_connection_outlives_the_deadline_of_a_head() {
    let config = Config { idle_timeout_ms: 60_000, ..quick() };
    let node = Node::start(config, 1).await;
    let mut client = node.client().await;
    for number in 0..2 {
        tokio::time::sleep(Duration::from_millis(DEADLINE_MS + 200)).await;
        assert_eq!(client.post(event(number)).await.status, 200);
    }
}

#[tokio::test]
async fn a_request_that_waits_for_the_log_is_not_idle() {
    let config = Config { append_timeout_ms: 20_000, ..quick() };
    let node = Node::start(config, 1).await;
    node.faults().hold_appends();
    let mut client = node.client().await;
    client.send(post(1).as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(2 * DEADLINE_MS)).await;
    node.faults().release_appends();
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn thousands_of_idle_connections_leave_a_neighbour_alone() {
    let measured = Measured::here();
    let node = Node::one_partition().await;
    let mut idle = Vec::new();
    raise_the_limit_of_files();
    for _ in 0..IDLE {
        idle.push(node.client().await);
    }
    measured.reaches("playhead_ingest_connections", IDLE).await;
    let mut neighbour = node.client().await;
    for number in 0..20 {
        assert_eq!(neighbour.post(event(number)).await.status, 200);
    }
    let last = idle.last_mut().unwrap();
    assert_eq!(last.post(event(99)).await.status, 200, "an idle one is still served");
}

/// The soft limit of this process to the hard one, by Debian's util-linux.
fn raise_the_limit_of_files() {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let hard = line.split_whitespace().nth(4).unwrap();
    let wanted = 2 * IDLE + FILES_BESIDE;
    assert!(hard.parse().map_or(true, |hard: usize| hard >= wanted), "ulimit -Hn is {hard}: this needs {wanted}");
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={hard}:{hard}")]).status().unwrap();
    assert!(raised.success());
}

#[tokio::test]
async fn over_the_cap_a_connection_is_told_503_and_a_place_that_is_free_is_given() {
    let node = Node::start(Config { connections_max: 2, ..Config::default() }, 1).await;
    let (mut first, mut second) = (node.client().await, node.client().await);
    assert_eq!((first.post(event(1)).await.status, second.post(event(2)).await.status), (200, 200));
    let mut third = node.client().await;
    third.request("POST", "/v1/events", &[("origin", "https://page.example")], b"{}").await;
    let refused = third.answer().await;
    refused.assert_problem(503, "overloaded");
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://page.example"));
    assert!(third.is_closed().await);
    drop(first);
    for attempt in 0.. {
        let mut client = node.client().await;
        client.send(post(3).as_bytes()).await;
        if client.try_answer().await.is_some_and(|answer| answer.status == 200) {
            break;
        }
        assert!(attempt < 100, "the place is not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_head_over_the_bound_is_431_and_what_is_no_http_is_400() {
    let node = Node::one_partition().await;
    let mut client = node.client().await;
    let long = "x".repeat(40 << 10);
    client.request("POST", "/v1/events", &[("x-long", &long)], b"").await;
    assert_eq!(client.answer().await.status, 431);
    let mut client = node.client().await;
    client.send(b"\x16\x03\x01 this is TLS, say\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 400);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_client_that_goes_early_takes_nobody_with_it() {
    let measured = Measured::here();
    let node = Node::one_partition().await;
    node.faults().hold_appends();
    let mut gone = node.client().await;
    gone.send(post(1).as_bytes()).await;
    let mut stays = node.client().await;
    stays.send(post(2).as_bytes()).await;
    measured.taken([1, 2].map(|number| event(number).to_string().len()).iter().sum()).await;
    drop(gone);
    node.faults().release_appends();
    assert_eq!(stays.answer().await.status, 200);
    assert_eq!(node.rows().await.len(), 2, "what was taken is written, answered or not");
    assert_eq!(node.client().await.post(json!([event(3)])).await.status, 200);
}
