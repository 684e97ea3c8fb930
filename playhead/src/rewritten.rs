//! The windows of rollups, as maintenance sees them: marked before rows of `events` go or change.
use crate::clock::SystemClock;
use crate::storage::Storage;
use async_trait::async_trait;
use event::clock::Clock;
use lake::table::Error;
use maintenance::Windows;
use processor::rewritten::Rewritten;

/// The windows of whatever rollups are in the lake.
pub fn windows(storage: &Storage) -> Box<dyn Windows> {
    Box::new(RollupWindows(Rewritten::new(storage.lake.rollups())))
}

#[derive(Debug)]
struct RollupWindows(Rewritten);

#[async_trait]
impl Windows for RollupWindows {
    async fn mark(&mut self, times_us: &[i64], awaits: i64) -> Result<bool, Error> {
        match self.0.mark(times_us, awaits, SystemClock.now()).await {
            Ok(()) => Ok(true),
            Err(processor::Error::TooManyLate) => Ok(false),
            Err(processor::Error::Lake(error)) => Err(error),
            Err(other) => Err(Error::Broken { table: "late_windows".to_owned(), reason: other.to_string() }),
        }
    }

    async fn awaited(&mut self) -> Result<Option<i64>, Error> {
        self.0.awaited().await
    }
}
