//! An HTTP proxy between a client and a store that lets requests fail by order.
//!
//! ```text
//!  client ──▶ Proxy ──▶ store       each request on a connection of its own to the store; headers, Host among them,
//!         ◀── fault ◀──             go through unchanged, since signatures cover them
//! ```
//!
//! A request with a fault is taken in whole first. Then what happens to it happens, even when the client gives up
//! meanwhile: a write that comes late, after its writer thought it lost, is what a network can do.
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

/// Bytes of a body that a fault holds in memory: above what a test writes, below what would hurt a machine.
const BODY_BYTES_MAX: usize = 256 << 20;
/// Orders that wait at the same time.
const ORDERS_MAX: usize = 1_000;

type Error = Box<dyn StdError + Send + Sync>;
type Body = BoxBody<Bytes, hyper::Error>;

/// What happens to a request that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answered with this status; the store never sees it.
    Status(u16),
    /// The store takes it and answers, but the client's connection closes without the answer.
    LoseAnswer,
    /// The store takes it and answers; the client gets no answer for this long, then the connection closes.
    HangAfter(Duration),
    /// Passed on after this long.
    Delay(Duration),
    /// Passed on when the test says so, by [`Proxy::release`].
    Hold,
}

/// The next `left` requests that match.
#[derive(Debug)]
struct Order {
    method: String,
    path: String,
    left: u32,
    fault: Fault,
}

#[derive(Debug, Default)]
struct Orders {
    waiting: Vec<Order>,
    dealt: u32,
    settled: u32,
    /// Changes with each release.
    releases: watch::Sender<u64>,
}

/// A proxy of this test: a thread, which ends when this is dropped.
pub struct Proxy {
    at: SocketAddr,
    orders: Arc<Mutex<Orders>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What each connection needs.
#[derive(Clone)]
struct Gate {
    upstream: Arc<str>,
    orders: Arc<Mutex<Orders>>,
    client: Client<HttpConnector, Body>,
}

impl Proxy {
    /// Before `upstream`, `http://HOST:PORT`.
    pub fn before(upstream: &str) -> Proxy {
        let upstream: Arc<str> = upstream.trim_end_matches('/').into();
        assert!(upstream.starts_with("http://"), "{upstream} is not http://HOST:PORT");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port for the proxy");
        listener.set_nonblocking(true).expect("a listener");
        let at = listener.local_addr().expect("a listener's address");
        let orders: Arc<Mutex<Orders>> = Arc::default();
        // A connection for each request: none that the store closed meanwhile is taken for a live one, and a request
        // is never sent twice.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .build(HttpConnector::new());
        let gate = Gate { upstream, orders: Arc::clone(&orders), client };
        let (stop, stopped) = oneshot::channel();
        // A runtime of its own: the test's may be blocked, or there may be none.
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = accept(listener, gate) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("testbed-proxy".into()).spawn(run).expect("a thread");
        Proxy { at, orders, stop: Some(stop), thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.at)
    }

    /// The next `times` requests with this method whose path contains `path` get `fault`. `method` "*": any. The path is
    /// as it was sent, percent-encoded, with the query (`/lake/events/_delta_log/00000000000000000007.json`,
    /// `/lake?list-type=2&prefix=events`). Of several orders that match, the first one given counts.
    pub fn fail(&self, method: &str, path: &str, times: u32, fault: Fault) {
        if let Fault::Status(status) = fault {
            StatusCode::from_u16(status).unwrap_or_else(|_| panic!("{status} is no HTTP status"));
        }
        let mut orders = lock(&self.orders);
        assert!(orders.waiting.len() < ORDERS_MAX, "more than {ORDERS_MAX} orders wait");
        orders.waiting.push(Order { method: method.to_owned(), path: path.to_owned(), left: times, fault });
        orders.waiting.retain(|order| order.left > 0);
    }

    /// No more faults; those under way end as ordered.
    pub fn heal(&self) {
        lock(&self.orders).waiting.clear();
    }

    /// Passes on what is held.
    pub fn release(&self) {
        lock(&self.orders).releases.send_modify(|releases| *releases += 1);
    }

    /// Faults dealt out so far.
    pub fn dealt(&self) -> u32 {
        lock(&self.orders).dealt
    }

    /// Faults that are over: what was to reach the store has reached it, whether or not its client still waits.
    pub fn settled(&self) -> u32 {
        lock(&self.orders).settled
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic, if it had one, is in the test's output.
            let _ = thread.join();
        }
    }
}

fn lock(orders: &Mutex<Orders>) -> MutexGuard<'_, Orders> {
    orders.lock().expect("no one panics while holding the orders")
}

impl Orders {
    /// The fault of this request, and what tells of the next release.
    fn take(&mut self, method: &Method, path: &str) -> Option<(Fault, watch::Receiver<u64>)> {
        let matches =
            |order: &Order| (order.method == "*" || order.method == method.as_str()) && path.contains(&order.path);
        let at = self.waiting.iter().position(matches)?;
        let order = &mut self.waiting[at];
        let fault = order.fault;
        order.left -= 1;
        if order.left == 0 {
            self.waiting.remove(at);
        }
        self.dealt += 1;
        Some((fault, self.releases.subscribe()))
    }
}

async fn accept(listener: TcpListener, gate: Gate) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let gate = gate.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| gate.clone().answer(request));
            // An error closes the connection without an answer, as ordered.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Gate {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, Error> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let fault = lock(&self.orders).take(request.method(), path);
        let Some((fault, release)) = fault else {
            return self.pass(request.map(BodyExt::boxed)).await;
        };
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await?.to_bytes();
        let request = Request::from_parts(parts, Full::new(body).map_err(|never| match never {}).boxed());
        // A task of its own: a client that gives up ends its connection, but not what it asked for.
        let orders = Arc::clone(&self.orders);
        let dealing = self.deal(request, fault, release);
        tokio::spawn(async move {
            let answer = dealing.await;
            lock(&orders).settled += 1;
            answer
        })
        .await?
    }

    async fn deal(
        self,
        request: Request<Body>,
        fault: Fault,
        mut release: watch::Receiver<u64>,
    ) -> Result<Response<Body>, Error> {
        match fault {
            Fault::Status(status) => refusal(status),
            Fault::LoseAnswer => {
                self.pass_whole(request).await?;
                Err("the answer is lost, as ordered".into())
            }
            Fault::HangAfter(time) => {
                self.pass_whole(request).await?;
                tokio::time::sleep(time).await;
                Err("the answer is lost after a while, as ordered".into())
            }
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                self.pass(request).await
            }
            Fault::Hold => {
                release.changed().await?;
                self.pass(request).await
            }
        }
    }

    /// Until the end of the answer: then the store has done what it was asked for.
    async fn pass_whole(&self, request: Request<Body>) -> Result<(), Error> {
        Limited::new(self.pass(request).await?.into_body(), BODY_BYTES_MAX).collect().await?;
        Ok(())
    }

    async fn pass(&self, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = format!("{}{path}", self.upstream).parse::<Uri>()?;
        let response = self.client.request(request).await?;
        Ok(response.map(BodyExt::boxed))
    }
}

/// As S3 says that it can't: a client takes `SlowDown` with 503, and other statuses by their number.
fn refusal(status: u16) -> Result<Response<Body>, Error> {
    let code = if status == 503 { "SlowDown" } else { "InternalError" };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>as ordered</Message></Error>"
    );
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed();
    Ok(Response::builder().status(status).header(CONTENT_TYPE, "application/xml").body(body)?)
}
