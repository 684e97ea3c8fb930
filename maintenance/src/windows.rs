//! Whoever computes from `events`, seen from here: it is told before rows go that it had counted.
use async_trait::async_trait;
use lake::table::Error;
use std::fmt::Debug;

/// Marks windows to be computed again.
#[async_trait]
pub trait Windows: Debug + Send + Sync {
    /// Marks every window that holds one of these moments (µs), to be computed again from an `events` whose `txn`
    /// [`lake::tables::REWRITES`] is at `awaits` or above. Durable when it returns. `false`: there is no room for so many
    /// marks now.
    async fn mark(&mut self, times_us: &[i64], awaits: i64) -> Result<bool, Error>;

    /// The largest value that a mark waits for.
    async fn awaited(&mut self) -> Result<Option<i64>, Error>;
}
