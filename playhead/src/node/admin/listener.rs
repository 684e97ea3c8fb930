//! The admin server's connections: a few, and none that is silent for long.
//!
//! It may listen on the network, for a Prometheus there. Whoever leaks connections to it must not take the descriptors
//! that the log's next file needs.
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;

/// Connections at the same time; more wait in the kernel's queue. Part of what is kept free of the edge's connections.
pub const CONNECTIONS_MAX: usize = 64;
/// A connection is closed when nothing comes for so long (twice what scrapers usually leave between two scrapes), or
/// nothing can be sent.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Takes connections, up to [`CONNECTIONS_MAX`].
pub struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl Bounded {
    pub fn new(listener: TcpListener) -> Self {
        Bounded { listener, room: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    peer: SocketAddr,
    /// `None`: the connection was gone before it could be asked.
    here: Option<SocketAddr>,
}

impl Ends {
    /// Who connects to an address of this machine from this machine does so from a loopback address, or from that very
    /// address.
    pub fn on_this_machine(&self) -> bool {
        let peer = self.peer.ip().to_canonical();
        peer.is_loopback() || self.here.is_some_and(|here| here.ip().to_canonical() == peer)
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Ends {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        *stream.remote_addr()
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = Ends;

    async fn accept(&mut self) -> (Connection, Ends) {
        let Ok(room) = self.room.clone().acquire_owned().await else { unreachable!("the semaphore is never closed") };
        // Waits out errors of accept, as axum's own listener does.
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let ends = Ends { peer, here: stream.local_addr().ok() };
        let mut stream = TimeoutStream::new(stream);
        stream.set_read_timeout(Some(SILENCE_MAX));
        stream.set_write_timeout(Some(SILENCE_MAX));
        (Connection { stream: Box::pin(stream), _room: room }, ends)
    }

    fn local_addr(&self) -> io::Result<Ends> {
        let here = TcpListener::local_addr(&self.listener)?;
        Ok(Ends { peer: here, here: Some(here) })
    }
}

/// A connection and its place among the few.
pub struct Connection {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    _room: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(peer: &str, here: &str) -> Ends {
        Ends { peer: peer.parse().unwrap(), here: Some(here.parse().unwrap()) }
    }

    #[test]
    fn this_machine_is_told_from_the_network_by_both_ends() {
        assert!(ends("127.0.0.1:4000", "127.0.0.1:8081").on_this_machine());
        assert!(ends("[::ffff:127.0.0.1]:4000", "[::]:8081").on_this_machine());
        assert!(ends("10.0.0.5:4000", "10.0.0.5:8081").on_this_machine());
        assert!(!ends("10.0.0.6:4000", "10.0.0.5:8081").on_this_machine());
    }

    #[tokio::test]
    async fn of_many_connections_a_few_are_taken_and_the_next_when_one_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut bounded = Bounded::new(listener);
        let mut clients = Vec::new();
        let mut taken = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            clients.push(TcpStream::connect(address).await.unwrap());
            taken.push(bounded.accept().await);
        }
        clients.push(TcpStream::connect(address).await.unwrap());
        assert_eq!(bounded.room.available_permits(), 0, "the next one waits");
        taken.pop();
        taken.push(bounded.accept().await);
        assert_eq!(taken.len(), CONNECTIONS_MAX);
    }
}
