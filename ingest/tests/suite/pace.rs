//! On a busy node batches wait for more events, and nobody waits in vain.
use crate::node::{Node, event};
use ingest::Config;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Any load is too many records, and each waits for 100 ms.
fn paced() -> Config {
    Config { appends_per_s: 1, ..Config::default() }
}

async fn post_now_and_then(node: Arc<Node>, number: u64, requests: u64) {
    let mut client = node.client().await;
    for request in 0..requests {
        assert_eq!(client.post(event(number * requests + request)).await.status, 200);
        tokio::time::sleep(Duration::from_millis(5 + number)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_busy_node_many_requests_share_a_record() {
    const CLIENTS: u64 = 20;
    const REQUESTS: u64 = 40;
    let node = Arc::new(Node::start(paced(), 1).await);
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| tokio::spawn(post_now_and_then(node.clone(), number, REQUESTS))).collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(node.rows().await.len() as u64, CLIENTS * REQUESTS);
    let records = node.entries().await.len() as u64;
    assert!(records < CLIENTS * REQUESTS / 4, "{records} records");
}

#[tokio::test]
async fn a_client_that_waits_for_each_answer_is_not_held_up() {
    const REQUESTS: u32 = 3_000;
    let node = Node::start(paced(), 1).await;
    let started = Instant::now();
    let mut client = node.client().await;
    for number in 0..REQUESTS {
        assert_eq!(client.post(event(number.into())).await.status, 200);
    }
    // Each would take 100 ms, if it waited for events that nobody else sends.
    assert!(started.elapsed() < Duration::from_millis(100) * REQUESTS / 10, "{:?}", started.elapsed());
}
