//! This program as a process that is measured: what no command of the product is.
use bytes::Bytes;
use event::clock::{Clock, Micros};
use event::decode::TimeBounds;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// `204 ADDRESS`, or `embedded DIR ADDRESS`.
pub fn run(arguments: &[String]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["204", address] => runtime.block_on(answer_204(address)),
        ["embedded", dir, address] => runtime.block_on(embedded_edge(dir.into(), address)),
        _ => panic!("no child {arguments:?}"),
    }
}

/// The least that a server can do with a post: takes its bytes, looks at none, and says so.
async fn answer_204(address: &str) {
    let listener = TcpListener::bind(address).await.expect("an address");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a connection");
        tokio::spawn(async move {
            let service = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    drop(frame);
                }
                let mut response = Response::new(Empty::<Bytes>::new());
                *response.status_mut() = StatusCode::NO_CONTENT;
                Ok::<_, Infallible>(response)
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "a bench has no other clock")]
    fn now(&self) -> Micros {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        now.as_micros() as Micros
    }
}

/// The edge over an embedded log, without a sink.
async fn embedded_edge(dir: PathBuf, address: &str) {
    let options = log::embedded::Options {
        dir,
        topic: "events".into(),
        partitions: 4,
        disk_bytes_max: 40 << 30,
        retention_ms: 3_600_000,
        readers: vec!["sink".into()],
    };
    let clock = Arc::new(SystemClock);
    let log = log::embedded::open(options, clock.clone()).await.expect("a log");
    let parts = ingest::Parts {
        listener: TcpListener::bind(address).await.expect("an address"),
        writer: log.writer(),
        bounds: TimeBounds { past_max: 30 * 86_400_000_000, future_max: 3_600_000_000, skew_min: 5_000_000 },
        clock,
        random_id: Arc::new(|| [0; 16]),
        pages: None,
        report: Arc::new(|_| ()),
    };
    ingest::run(ingest::Config::default(), parts, CancellationToken::new()).await.expect("the edge runs");
}
