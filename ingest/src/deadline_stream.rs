//! A TCP stream that ends itself when the client takes too long between two requests or within a head.
//!
//! hyper's own `header_read_timeout` begins when the answer before is written, so it would take an idle connection for
//! a slow one (read in hyper 1.12, `proto/h1/conn.rs`). Here the two are apart:
//!
//! ```text
//!        ┌── no byte yet: idle_timeout ── first byte: header_timeout ──┐ head is there
//!  waiting (even turn)                                           a request (odd turn: no deadline here,
//!        └────────────────────────── answered ─────────────────────────┘ the body has its own)
//! ```
//! A client that does not read its answer is idle too. One timer a connection, armed only while it waits.
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// Counts the turns of a connection: even while it waits for a request, odd while one is worked on.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<AtomicU64>);

impl Turns {
    /// A request is there; it is worked on until the result is dropped.
    pub fn begin(&self) -> Turn {
        self.0.fetch_add(1, Ordering::Relaxed);
        Turn(self.clone())
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request that is worked on.
#[derive(Debug)]
pub struct Turn(Turns);

impl Turn {
    /// The request is answered. Called within the connection's task, which looks again afterwards: hyper has read in
    /// vain while the request was worked on, and would not do so again, so that nothing would arm the timer.
    pub async fn end(self) {
        drop(self);
        poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::Ready(())
        })
        .await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From the first byte of a head to its last.
    pub header: Duration,
    /// Without a request.
    pub idle: Duration,
}

/// What the timer is set for: a turn, and whether its head has begun.
type Armed = (u64, bool);

/// A stream with deadlines.
pub struct DeadlineStream {
    stream: TcpStream,
    turns: Turns,
    deadlines: Deadlines,
    /// The waiting turn in which bytes have come.
    head_begun: Option<u64>,
    armed: Option<Armed>,
    timer: Pin<Box<Sleep>>,
}

impl DeadlineStream {
    /// Waits for its first request from now on.
    pub fn new(stream: TcpStream, turns: Turns, deadlines: Deadlines) -> Self {
        let timer = Box::pin(tokio::time::sleep(deadlines.idle));
        DeadlineStream { stream, turns, deadlines, head_begun: None, armed: None, timer }
    }

    /// Called when the client makes us wait.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let turn = self.turns.now();
        if !turn.is_multiple_of(2) {
            return Poll::Pending;
        }
        let armed = (turn, self.head_begun == Some(turn));
        if self.armed != Some(armed) {
            let after = if armed.1 { self.deadlines.header } else { self.deadlines.idle };
            self.timer.as_mut().reset(Instant::now() + after);
            self.armed = Some(armed);
        }
        let what = if armed.1 { "a request's head took too long" } else { "idle for too long" };
        self.timer.as_mut().poll(context).map(|()| io::Error::new(io::ErrorKind::TimedOut, what))
    }

    fn or_deadline<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Pending => self.poll_deadline(context).map(Err),
            ready => ready,
        }
    }
}

impl AsyncRead for DeadlineStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        let turn = this.turns.now();
        if buffer.filled().len() > before && turn.is_multiple_of(2) {
            this.head_begun = Some(turn);
        }
        this.or_deadline(polled, context)
    }
}

impl AsyncWrite for DeadlineStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.or_deadline(polled, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, pieces);
        this.or_deadline(polled, context)
    }
}
