//! Every event ends in exactly one column of the report, and the file of acknowledged ids holds just those.
use crate::server::{Reply, Seen, Server, accept};
use crate::{AckedFile, at_rate, of_audience};
use benches::{Error, Options, Progress, Report};
use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What takes this long never happens in a test.
const A_DAY: Duration = Duration::from_secs(86_400);
/// Nothing in these tests takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(120);

async fn run(options: Options, acked: &AckedFile) -> Report {
    let progress = Arc::new(Progress::default());
    let report = benches::run(options, acked.writer(), Arc::clone(&progress), CancellationToken::new()).await.unwrap();
    assert_eq!(report.events, report.acknowledged + report.rejected + report.unknown, "{report:?}");
    assert_eq!(progress.sent.load(Relaxed), report.events);
    assert_eq!(progress.acknowledged.load(Relaxed), report.acknowledged);
    assert_eq!(progress.rejected.load(Relaxed), report.rejected);
    report
}

/// 200 with these positions rejected.
fn receipt(request: &Seen, rejected: &[usize]) -> Reply {
    let events = request.ids().len();
    let list: Vec<_> =
        rejected.iter().map(|index| serde_json::json!({"index": index, "event_id": null, "reason": "no"})).collect();
    let body = serde_json::json!({"accepted": events - rejected.len(), "rejected": list, "ack": "disk"});
    Reply::Answer(200, body.to_string())
}

#[tokio::test]
async fn a_collector_that_accepts_gets_each_planned_event_once() {
    let server = Server::start(|_| accept());
    let acked = AckedFile::default();
    let report = run(at_rate(&server.url, 1050.0, 100), &acked).await;
    assert_eq!((report.events, report.acknowledged, report.requests), (1050, 1050, 11));
    assert_eq!((report.rejected, report.unknown, report.not_sent, report.retries), (0, 0, 0, 0));
    assert_eq!(report.distinct_acknowledged, 1050);
    assert_eq!(report.first_trouble, None);
    assert!(report.seconds >= 1.0 && report.cpu_seconds > 0.0);
    let planned: Vec<Uuid> = server.seen().iter().flat_map(Seen::ids).collect();
    assert_eq!(planned.len(), 1050);
    assert_eq!(acked.ids().into_iter().collect::<HashSet<_>>(), server.ids());
    assert_eq!(acked.ids().len(), 1050);
    assert!(server.seen().iter().all(|request| request.path == "/v1/events"));
}

#[tokio::test]
async fn a_receipt_that_rejects_some_leaves_them_out_of_the_file() {
    let server = Server::start(|request| receipt(request, &[0, 7]));
    let acked = AckedFile::default();
    let report = run(at_rate(&server.url, 500.0, 50), &acked).await;
    assert_eq!((report.acknowledged, report.rejected), (480, 20));
    let mut expected = HashSet::new();
    for request in server.seen() {
        expected.extend(request.ids().into_iter().enumerate().filter(|(at, _)| ![0, 7].contains(at)).map(|(_, id)| id));
    }
    assert_eq!(acked.ids().into_iter().collect::<HashSet<_>>(), expected);
    assert!(report.first_trouble.unwrap().contains("200"));
}

#[tokio::test]
async fn what_is_overloaded_is_asked_again_with_the_same_events() {
    let server = Server::start(|request| match request.number {
        0 | 1 => Reply::With(503, "retry-after", "0"),
        2 => Reply::Answer(429, "slow down".to_owned()),
        _ => accept(),
    });
    let acked = AckedFile::default();
    let report = run(at_rate(&server.url, 100.0, 25), &acked).await;
    assert_eq!((report.requests, report.retries), (4, 3));
    assert_eq!((report.events, report.acknowledged, report.distinct_acknowledged), (100, 100, 100));
    assert_eq!(server.seen().len(), 7);
    assert_eq!(server.ids().len(), 100, "a retry carries the ids of the first attempt");
    assert_eq!(acked.ids().len(), 100);
    assert!(report.first_trouble.unwrap().starts_with("503"));
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let server = Server::start(|request| match request.number {
        0 => Reply::With(429, "retry-after", "1"),
        _ => accept(),
    });
    let report = run(at_rate(&server.url, 10.0, 10), &AckedFile::default()).await;
    assert_eq!((report.acknowledged, report.retries), (10, 1));
    assert!(report.latency_ms.max >= 1000.0, "{:?}", report.latency_ms);
}

#[tokio::test]
async fn a_connection_that_is_lost_before_or_in_the_answer_is_tried_again() {
    for loss in [Reply::HangUp, Reply::BreakOff] {
        let server = Server::start(move |request| if request.number == 1 { loss.clone() } else { accept() });
        let acked = AckedFile::default();
        let report = run(at_rate(&server.url, 100.0, 25), &acked).await;
        assert_eq!((report.requests, report.retries, report.acknowledged), (4, 1, 100));
        assert_eq!(server.seen().len(), 5);
        assert_eq!(acked.ids().into_iter().collect::<HashSet<_>>(), server.ids());
        assert!(report.first_trouble.unwrap().starts_with("connection lost"));
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_tried_again() {
    for status in [400, 403, 422] {
        let server = Server::start(move |_| Reply::Answer(status, "no".to_owned()));
        let acked = AckedFile::default();
        let report = run(at_rate(&server.url, 100.0, 25), &acked).await;
        assert_eq!((report.rejected, report.acknowledged, report.retries), (100, 0, 0));
        assert!(acked.ids().is_empty());
        assert!(report.first_trouble.unwrap().starts_with(&status.to_string()));
    }
}

#[tokio::test]
async fn a_receipt_that_contradicts_itself_acknowledges_nothing() {
    let server = Server::start(|_| Reply::Answer(200, r#"{"accepted":3,"rejected":[]}"#.to_owned()));
    let acked = AckedFile::default();
    let report = run(at_rate(&server.url, 50.0, 25), &acked).await;
    assert_eq!((report.unknown, report.acknowledged), (50, 0));
    assert!(acked.ids().is_empty());
}

#[tokio::test]
async fn a_collector_that_comes_up_late_gets_what_was_due_before() {
    // Ours from now on, and refused until it listens.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let running = tokio::spawn(async move {
        let acked = AckedFile::default();
        run(at_rate(&format!("http://{address}"), 100.0, 10), &acked).await
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let listener = socket.listen(128).unwrap();
    let service = |_| async { Ok::<_, io::Error>(http::Response::new(http_body_util::Empty::<bytes::Bytes>::new())) };
    let accepting = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = hyper_util::rt::TokioIo::new(stream);
            let service = hyper::service::service_fn(service);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(stream, service));
        }
    });
    let report = running.await.unwrap();
    accepting.abort();
    assert_eq!((report.events, report.acknowledged, report.unknown, report.not_sent), (100, 100, 0, 0));
    assert!(report.retries > 0);
    assert!(report.first_trouble.unwrap().starts_with("can't connect"));
}

#[tokio::test]
async fn after_a_stop_what_has_no_answer_is_unknown_and_what_was_not_tried_is_not_sent() {
    let server = Server::start(|_| Reply::Late(A_DAY));
    let stop = CancellationToken::new();
    let mut options = at_rate(&server.url, 200.0, 10);
    options.duration = A_DAY;
    let running = tokio::spawn(benches::run(options, None, Arc::default(), stop.clone()));
    while server.seen().len() < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.cancel();
    let report = timeout(HANGS, running).await.expect("it waits for the answers").unwrap().unwrap();
    assert_eq!((report.events, report.unknown, report.acknowledged), (40, 40, 0), "one request on each connection");
    assert!(report.not_sent > 0, "{report:?}");
}

#[tokio::test]
async fn the_audiences_bad_events_and_duplicates_reconcile() {
    let server = Server::start(|request| {
        let text = std::str::from_utf8(&request.body).unwrap();
        let bad: Vec<usize> = (0..).zip(text.lines()).filter(|(_, line)| !valid(line)).map(|(at, _)| at).collect();
        let body = serde_json::json!({
            "accepted": text.lines().count() - bad.len(),
            "rejected": bad.iter().map(|at| serde_json::json!({"index": at})).collect::<Vec<_>>(),
        });
        if bad.len() == text.lines().count() {
            Reply::Answer(422, body.to_string())
        } else {
            Reply::Answer(200, body.to_string())
        }
    });
    let acked = AckedFile::default();
    let options = Options { duration: Duration::from_secs(4), speed: 150.0, ..of_audience(&server.url, 400, 50) };
    let report = run(options, &acked).await;
    assert!(report.bad_sent > 0 && report.duplicates_sent > 0, "{report:?}");
    assert_eq!((report.rejected, report.bad_rejected), (report.bad_sent, report.bad_sent));
    assert_eq!(report.acknowledged, report.distinct_acknowledged + report.duplicates_sent);
    assert_eq!(report.first_trouble, None, "bad events are planned");
    let ids = acked.ids();
    assert_eq!(ids.len() as u64, report.distinct_acknowledged);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "each id once");
}

fn valid(line: &str) -> bool {
    let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { return false };
    let time = match &event["event_time"] {
        serde_json::Value::Number(time) => time.as_i64(),
        serde_json::Value::String(time) => {
            chrono::DateTime::parse_from_rfc3339(time).ok().map(|at| at.timestamp_millis())
        }
        _ => None,
    };
    // Half a day: what is off by hours says its `sent_at`, and would be corrected.
    let near = time.is_some_and(|time| (-30 * 24..13).contains(&((time - crate::START_MS) / 3_600_000)));
    let typed = event["event_type"].as_str().is_some_and(|event_type| event_type != "teleport");
    near && typed && (event["playhead_ms"].is_null() || event["playhead_ms"].is_i64())
}

struct FullDisk;

impl Write for FullDisk {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_run_ends_when_acknowledged_ids_cannot_be_written() {
    let server = Server::start(|_| accept());
    let mut options = at_rate(&server.url, 1000.0, 10);
    options.duration = A_DAY;
    let run = benches::run(options, Some(Box::new(FullDisk)), Arc::default(), CancellationToken::new());
    let ran = timeout(HANGS, run).await.expect("it goes on");
    assert!(matches!(ran, Err(Error::Acked(error)) if error.kind() == io::ErrorKind::StorageFull));
}

#[tokio::test]
async fn figures_that_no_run_can_have_are_refused() {
    for options in [
        at_rate("http://127.0.0.1:1", 0.0, 10),
        at_rate("http://127.0.0.1:1", f64::NAN, 10),
        at_rate("http://127.0.0.1:1", 10.0, 0),
        of_audience("http://127.0.0.1:1", 0, 10),
        Options { speed: 0.0, ..at_rate("http://127.0.0.1:1", 10.0, 1) },
        Options { connections: 0, ..at_rate("http://127.0.0.1:1", 10.0, 1) },
    ] {
        let ran = benches::run(options, None, Arc::default(), CancellationToken::new()).await;
        assert!(matches!(ran, Err(Error::Options(_))), "{ran:?}");
    }
    let ran = benches::run(at_rate("https://host", 1.0, 1), None, Arc::default(), CancellationToken::new()).await;
    assert!(matches!(ran, Err(Error::Target(_))));
}
