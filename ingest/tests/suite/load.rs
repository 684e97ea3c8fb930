//! Many clients at once, with faults: every acknowledged event is in the log.
use crate::node::{Node, event, id};
use ingest::Config;
use log::AppendError;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

const CONNECTIONS: u64 = 50;
const REQUESTS: u64 = 30;
const EVENTS: u64 = 7;

/// Posts until each request is acknowledged; returns how many attempts that took.
async fn post_all(node: Arc<Node>, connection: u64) -> u64 {
    let mut client = node.client().await;
    let mut attempts = 0;
    for request in 0..REQUESTS {
        let first = (connection * REQUESTS + request) * EVENTS;
        let events: Vec<Value> = (first..first + EVENTS).map(event).collect();
        loop {
            attempts += 1;
            let answer = client.post(json!(events)).await;
            match answer.status {
                200 => break assert_eq!(answer.json()["accepted"], EVENTS),
                503 => continue,
                other => panic!("{other}: {answer:?}"),
            }
        }
    }
    attempts
}

async fn load(node: &Arc<Node>) -> u64 {
    let clients: Vec<_> = (0..CONNECTIONS).map(|number| tokio::spawn(post_all(node.clone(), number))).collect();
    let mut attempts = 0;
    for client in clients {
        attempts += client.await.unwrap();
    }
    attempts
}

async fn copies(node: &Node) -> HashMap<String, u64> {
    let mut copies = HashMap::new();
    for row in node.rows().await {
        *copies.entry(row.event_id).or_insert(0) += 1;
    }
    copies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_every_acknowledged_event_is_in_the_log_once() {
    let node = Arc::new(Node::start(Config::default(), 4).await);
    assert_eq!(load(&node).await, CONNECTIONS * REQUESTS);
    let copies = copies(&node).await;
    let all = CONNECTIONS * REQUESTS * EVENTS;
    assert_eq!(copies.len() as u64, all);
    assert!((0..all).all(|number| copies.get(&id(number)) == Some(&1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_with_faults_retries_make_it_whole() {
    let node = Arc::new(Node::start(Config::default(), 4).await);
    for n in 1..40 {
        node.faults().lose_reply(n * 5);
        node.faults().fail_append(n * 7, AppendError::Full("for a moment".into()));
    }
    assert!(load(&node).await > CONNECTIONS * REQUESTS, "the faults were met");
    let copies = copies(&node).await;
    let all = CONNECTIONS * REQUESTS * EVENTS;
    assert_eq!(copies.len() as u64, all);
    assert!((0..all).all(|number| copies.contains_key(&id(number))));
    assert!(copies.values().any(|copies| *copies > 1), "a lost reply leaves a copy for dedup");
}
