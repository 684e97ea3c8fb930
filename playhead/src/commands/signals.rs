//! SIGTERM and Ctrl-C, and an end that comes in any case.
use crate::terminal;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A disk that hangs would hold every thread that waits for it, and the process with them: after `limit` it ends all the
/// same. What was acknowledged is durable; what was not goes on at the next start.
#[allow(clippy::disallowed_methods, reason = "nothing that hangs can be unwound, and no runtime may be needed for it")]
pub fn end_at_the_latest(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        terminal::complain(&format_args!(
            "did not stop within {} s (does the disk hang?): ending now",
            limit.as_secs()
        ));
        std::process::exit(2);
    });
}

/// SIGTERM and Ctrl-C.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> std::io::Result<Self> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
