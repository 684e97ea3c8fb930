//! Work that computes for long, kept off the threads that serve all connections.
//!
//! ```text
//! body  ─▶ small: at once, where it came in          large ─▶ turn (cores - 1) ─▶ off the runtime ─▶ events
//! batch ─▶ small: at once                            large ─────────────────────▶ off the runtime ─▶ record
//! ```
//! Promise: while a large body is decoded, all other connections go on, and one core is left for them. In place rather
//! than in a task of its own, since events borrow from their body.
use std::thread::available_parallelism;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout_at};

/// Large bodies that are decoded at the same time; more wait, first come first served.
pub struct DecodeTurns(Semaphore);

impl DecodeTurns {
    /// All cores but one, and one on a machine of one.
    pub fn of_this_machine() -> Self {
        // Where nobody says how many cores there are, one turn is always right, if slow.
        let cores = available_parallelism().map_or(1, usize::from);
        DecodeTurns(Semaphore::new((cores - 1).clamp(1, Semaphore::MAX_PERMITS)))
    }

    /// A turn, until the result is dropped; `None`: none was free by `deadline`.
    pub async fn take(&self, deadline: Instant) -> Option<SemaphorePermit<'_>> {
        timeout_at(deadline, self.0.acquire()).await.ok()?.ok()
    }
}

/// Computes while another thread takes over this one's tasks. A runtime of one thread has none to take over, and waits.
pub fn off_the_runtime<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_go_on_while_one_computes() {
        let computing = tokio::spawn(async {
            let (sender, receiver) = mpsc::channel();
            tokio::spawn(async move { sender.send(()) });
            off_the_runtime(|| receiver.recv_timeout(Duration::from_secs(10)))
        });
        assert_eq!(computing.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_computes_too() {
        assert_eq!(off_the_runtime(|| 17), 17);
    }

    #[tokio::test]
    async fn a_turn_that_is_not_free_in_time_is_none_and_comes_back() {
        let turns = DecodeTurns(Semaphore::new(1));
        let soon = || Instant::now() + Duration::from_millis(20);
        let first = turns.take(soon()).await;
        assert!(first.is_some());
        assert!(turns.take(soon()).await.is_none());
        drop(first);
        assert!(turns.take(soon()).await.is_some());
    }
}
