//! A collector that does as it is told, on a runtime of its own: what it sleeps must not slow the generator.
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use uuid::Uuid;

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Counted from 0, in order of arrival.
    pub number: usize,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    /// Ids of its events; those that can't be read are left out.
    pub fn ids(&self) -> Vec<Uuid> {
        let text = std::str::from_utf8(&self.body).unwrap();
        let events: Vec<Value> = match serde_json::from_str(text) {
            Ok(Value::Array(events)) => events,
            _ => text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
        };
        events.iter().filter_map(|event| event["event_id"].as_str()?.parse().ok()).collect()
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answers.
    Answer(u16, String),
    /// Answers with a header.
    With(u16, &'static str, &'static str),
    /// Answers 204 after a while.
    Late(Duration),
    /// Reads the request and closes the connection.
    HangUp,
    /// Answers with half of a body, and closes the connection.
    BreakOff,
}

/// All accepted.
pub fn accept() -> Reply {
    Reply::Answer(204, String::new())
}

/// What the server counted.
#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
    at_once: AtomicUsize,
    at_once_most: AtomicUsize,
}

/// A server; it ends with the test.
pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    counts: Arc<Counts>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    /// Starts one on a free port that answers as `order` says.
    pub fn start(order: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let counts = Arc::new(Counts::default());
        let (order, saw, counted) = (Arc::new(order), Arc::clone(&seen), Arc::clone(&counts));
        runtime.spawn(async move { serve(TcpListener::from_std(listener).unwrap(), order, saw, counted).await });
        Server { url, seen, counts, runtime: Some(runtime) }
    }

    /// What it saw, in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Connections that it accepted.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(SeqCst)
    }

    /// Most late answers that it had under way at once.
    pub fn at_once_most(&self) -> usize {
        self.counts.at_once_most.load(SeqCst)
    }

    /// Distinct ids that it saw.
    pub fn ids(&self) -> HashSet<Uuid> {
        self.seen().iter().flat_map(Seen::ids).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Order = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

async fn serve(listener: TcpListener, order: Order, seen: Arc<Mutex<Vec<Seen>>>, counts: Arc<Counts>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        counts.connections.fetch_add(1, SeqCst);
        let (order, seen, counts) = (Arc::clone(&order), Arc::clone(&seen), Arc::clone(&counts));
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &order, &seen, &counts));
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(
    request: http::Request<Incoming>,
    order: &Order,
    seen: &Mutex<Vec<Seen>>,
    counts: &Counts,
) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let request = Seen {
        number: counts.requests.fetch_add(1, SeqCst),
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body,
    };
    let reply = order(&request);
    seen.lock().unwrap().push(request);
    let of = |status: u16, body: Bytes| {
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    };
    Ok(match reply {
        Reply::Answer(status, body) => of(status, body.into()),
        Reply::With(status, name, value) => {
            let mut response = of(status, Bytes::new());
            response.headers_mut().insert(name, value.parse().unwrap());
            response
        }
        Reply::Late(wait) => {
            counts.at_once_most.fetch_max(counts.at_once.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(wait).await;
            counts.at_once.fetch_sub(1, SeqCst);
            of(204, Bytes::new())
        }
        Reply::HangUp => return Err(io::Error::other("as ordered")),
        Reply::BreakOff => {
            let mut response = of(200, Bytes::from_static(b"{\"accepted\":"));
            response.headers_mut().insert("content-length", "400".parse().unwrap());
            response
        }
    })
}
