//! The accept loop: connections come in, up to a cap, each with deadlines; at shutdown each ends in order.
//!
//! ```text
//! accept ─▶ below connections_max ─▶ HTTP/1.1, keep-alive ─▶ Edge::answer
//!      └──▶ at the cap            ─▶ one request, one second ─▶ 503 + Retry-After, closed
//!              └─ too many of those: closed at once
//! stop ─▶ no more accepts; idle connections close; requests under way are answered ─▶ drain_timeout: cut
//! ```
//! At the cap we answer rather than stop accepting: a load balancer that is told 503 goes elsewhere, one whose
//! connection hangs in the kernel's backlog waits. HTTP/1.1 only: browsers speak HTTP/2 only over TLS, which ends at
//! the balancer before us, and balancers speak HTTP/1.1 to what is behind them.
use crate::Error;
use crate::deadline_stream::{DeadlineStream, Deadlines, Turns};
use crate::edge::Edge;
use crate::instruments::{ACCEPT, CONNECTION, NO_DESCRIPTORS};
use crate::limits::{
    ACCEPT_PAUSE, CUT_TIME_MAX, HEADER_BYTES_MAX, READ_BUFFER_BYTES_MAX, REFUSAL_TIME_MAX, REFUSALS_MAX,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Accepts connections and serves them.
pub struct Acceptor {
    edge: Arc<Edge>,
    stop: CancellationToken,
    /// Connections that may still be opened, and refusals.
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    connections: JoinSet<()>,
    /// The last accept failed for want of something: said once, not ten times a second.
    wanting: bool,
}

impl Acceptor {
    /// Serves `edge` until `stop`.
    pub fn new(edge: Arc<Edge>, stop: CancellationToken) -> Self {
        let places = edge.config.connections_max.min(Semaphore::MAX_PERMITS);
        Acceptor {
            edge,
            stop,
            places: Arc::new(Semaphore::new(places)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            connections: JoinSet::new(),
            wanting: false,
        }
    }

    /// Returns when it was stopped and every connection has ended, or the time for that is over.
    pub async fn run(mut self, listener: TcpListener) -> Result<(), Error> {
        let stop = self.stop.clone();
        // However this loop ends, the edge must not go on without it.
        let _stop_on_drop = stop.clone().drop_guard();
        let ended = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(()),
                Some(ended) = self.connections.join_next() => note_panic(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream),
                    Err(error) if is_fatal(&error) => break Err(Error::Listener(error.to_string())),
                    Err(error) => self.pause(error).await,
                },
            }
        };
        drop(listener);
        stop.cancel();
        self.drain().await;
        ended
    }

    fn admit(&mut self, stream: TcpStream) {
        if std::mem::take(&mut self.wanting) {
            tracing::info!("connections are accepted again");
        }
        // Answers are small, and complete when written: waiting for more only adds 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection was gone before it was served");
            return;
        }
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            let serving = serve(stream, self.edge.clone(), self.stop.clone());
            self.connections.spawn(async move {
                serving.await;
                drop(place);
            });
        } else if let Ok(place) = self.refusals.clone().try_acquire_owned() {
            let refusing = refuse(stream, self.edge.clone());
            self.connections.spawn(async move {
                refusing.await;
                drop(place);
            });
        } else {
            self.edge.instruments.refused_because(CONNECTION);
        }
    }

    /// Most errors of accept(2) are of one connection that is gone already; without file descriptors or memory we
    /// wait for connections to end.
    async fn pause(&mut self, error: io::Error) {
        if is_of_one_connection(&error) {
            return;
        }
        self.edge.instruments.refused_because(if is_no_descriptors(&error) { NO_DESCRIPTORS } else { ACCEPT });
        if !std::mem::replace(&mut self.wanting, true) {
            tracing::warn!(
                %error,
                "can't accept connections: raise the limit of open files, or lower ingest.connections_max"
            );
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    async fn drain(&mut self) {
        let limit = Duration::from_millis(self.edge.config.drain_timeout_ms);
        let all_ended = async { while self.connections.join_next().await.map(note_panic).is_some() {} };
        if timeout(limit, all_ended).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "connections are cut: their requests took too long");
            // One in the midst of decoding is left to its end.
            let _ = timeout(CUT_TIME_MAX, self.connections.shutdown()).await;
        }
    }
}

fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked: its requests were not answered");
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// ENFILE: the machine has no file descriptor left, EMFILE: this process has none (accept(2)).
fn is_no_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// The listener itself is broken: EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP (accept(2)).
fn is_fatal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(9 | 22 | 88 | 95))
}

fn protocol() -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol.header_read_timeout(None).max_header_size(HEADER_BYTES_MAX).max_buf_size(READ_BUFFER_BYTES_MAX);
    protocol
}

async fn serve(stream: TcpStream, edge: Arc<Edge>, stop: CancellationToken) {
    let _open = edge.instruments.connection();
    let deadlines = Deadlines {
        header: Duration::from_millis(edge.config.header_timeout_ms),
        idle: Duration::from_millis(edge.config.idle_timeout_ms),
    };
    let turns = Turns::default();
    let stream = TokioIo::new(DeadlineStream::new(stream, turns.clone(), deadlines));
    let service = service_fn(move |request| {
        let (edge, turn) = (edge.clone(), turns.begin());
        // Boxed: an idle connection holds a pointer, not the room of a request.
        Box::pin(async move { Ok::<_, Infallible>(edge.answer(request, turn).await) })
    });
    let mut connection = pin!(protocol().serve_connection(stream, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

async fn refuse(stream: TcpStream, edge: Arc<Edge>) {
    let service = service_fn(move |request| {
        let response = edge.refuse(request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = protocol().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(REFUSAL_TIME_MAX, connection).await {
        tracing::debug!(%error, "refused connection ended");
    }
}
