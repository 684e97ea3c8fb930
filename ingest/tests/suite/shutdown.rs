//! Stopping: what was accepted is answered, the rest is closed, and all of it ends in time.
use crate::measured::Measured;
use crate::node::{Node, event, quick};
use ingest::Config;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

const HANGS: Duration = Duration::from_secs(30);

#[tokio::test]
async fn what_was_accepted_is_answered_and_idle_connections_are_closed() {
    let measured = Measured::here();
    let node = Node::one_partition().await;
    let mut idle = node.client().await;
    assert_eq!(idle.post(event(1)).await.status, 200);
    let mut silent = node.client().await;
    node.faults().hold_appends();
    let mut waiting = node.client().await;
    waiting.request("POST", "/v1/events", &[], event(2).to_string().as_bytes()).await;
    measured.taken([1, 2].map(|number| event(number).to_string().len()).iter().sum()).await;

    node.stop.cancel();
    assert!(idle.is_closed().await);
    assert!(silent.is_closed().await);
    assert!(TcpStream::connect(node.address).await.is_err(), "no more connections");
    node.faults().release_appends();
    let answer = waiting.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(waiting.is_closed().await);
    assert_eq!(node.rows().await.len(), 2);
    assert!(node.reports.lock().unwrap().last().unwrap().is_err(), "a stopping node is not ready");
    timeout(HANGS, node.ended()).await.expect("run goes on").unwrap();
}

#[tokio::test]
async fn a_log_that_hangs_does_not_hold_up_the_end() {
    let measured = Measured::here();
    let config = Config { append_timeout_ms: 20_000, drain_timeout_ms: 200, ..quick() };
    let node = Node::start(config, 1).await;
    node.faults().hold_appends();
    let mut waiting = node.client().await;
    waiting.request("POST", "/v1/events", &[], event(1).to_string().as_bytes()).await;
    measured.appends(1).await;
    node.stop.cancel();
    assert!(waiting.is_closed().await, "cut, not acknowledged");
    timeout(HANGS, node.ended()).await.expect("run goes on").unwrap();
}

#[tokio::test]
async fn listening_beyond_loopback_without_keys_is_refused_in_words() {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let log = log::memory::Log::new("events", 1, std::sync::Arc::new(Never));
    let parts = ingest::Parts {
        listener,
        writer: log::Log::writer(&*log),
        bounds: crate::node::BOUNDS,
        clock: std::sync::Arc::new(Never),
        random_id: std::sync::Arc::new(|| [0; 16]),
        pages: None,
        report: std::sync::Arc::new(|_| {}),
    };
    let ended = ingest::run(Config::default(), parts, tokio_util::sync::CancellationToken::new()).await;
    assert!(ended.unwrap_err().to_string().contains("ingest.allow_anonymous"));
}

struct Never;

impl event::clock::Clock for Never {
    fn now(&self) -> event::clock::Micros {
        0
    }
}
