//! Latency counts from when a request was due: a server can't hide that others had to wait.
use crate::at_rate;
use crate::server::{Reply, Server, accept};
use benches::Options;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn one_stall_is_charged_for_every_request_that_was_due_in_it() {
    // One connection, a request each 10 ms, one answer that takes 300 ms: thirty requests had to wait, on average half
    // of it. A closed loop would report one slow request in a hundred.
    let server =
        Server::start(|request| if request.number == 20 { Reply::Late(Duration::from_millis(300)) } else { accept() });
    let options = Options { connections: 1, ..at_rate(&server.url, 100.0, 1) };
    let report = benches::run(options, None, Arc::default(), CancellationToken::new()).await.unwrap();
    assert_eq!((report.requests, report.acknowledged, report.not_sent), (100, 100, 0));
    assert!(report.latency_ms.max >= 290.0, "{:?}", report.latency_ms);
    assert!(report.latency_ms.p99 >= 250.0, "those behind the slow one waited too: {:?}", report.latency_ms);
}

#[tokio::test]
async fn the_schedule_does_not_wait_for_answers() {
    let server = Server::start(|_| Reply::Late(Duration::from_millis(400)));
    let options = Options { connections: 64, ..at_rate(&server.url, 50.0, 1) };
    let report = benches::run(options, None, Arc::default(), CancellationToken::new()).await.unwrap();
    assert_eq!((report.requests, report.acknowledged), (50, 50));
    // One is due each 20 ms, and is out for 400 ms.
    assert!(server.at_once_most() >= 10, "{} at once", server.at_once_most());
    assert!(report.latency_ms.p50 >= 400.0, "{:?}", report.latency_ms);
}

#[tokio::test]
async fn connections_are_kept_alive() {
    let server = Server::start(|_| accept());
    let options = Options { connections: 2, ..at_rate(&server.url, 200.0, 1) };
    let report = benches::run(options, None, Arc::default(), CancellationToken::new()).await.unwrap();
    assert_eq!(report.acknowledged, 200);
    let seen = server.seen();
    assert!((1..=2).contains(&server.connections()), "{} connections", server.connections());
    assert!(seen.iter().all(|request| request.headers["content-type"] == "application/x-ndjson"));
}
