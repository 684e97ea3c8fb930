//! How old the oldest record is that is not in the lake, told at intervals whatever the sink is doing.
//!
//! The sink's loop waits inside of a flush while the store does not answer, and that is when its lag must be seen to
//! grow. So the loop only writes down what it knows, and a task beside it tells the gauges the time.
//!
//! Of a partition that is no longer this sink's both gauges say 0: a gauge can't be taken back, the value it had would
//! stand for ever, and NaN would make the sum over all sinks NaN. So a sum over sinks is right at any moment, and the
//! largest of a partition's values is that of its owner.
use crate::partition::Partition;
use crate::telemetry;
use event::clock::{Clock, Micros};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One partition's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lag {
    records: u64,
    oldest: Option<Micros>,
}

/// What is known; shared by the loop and the task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lags(Arc<Mutex<BTreeMap<u32, Lag>>>);

impl Lags {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Lag>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the partitions that are this sink's now.
    pub(crate) fn update(&self, partitions: &BTreeMap<u32, Partition>) {
        let mut lags = self.lock();
        for (number, partition) in partitions {
            lags.insert(*number, Lag { records: partition.lag_records(), oldest: partition.oldest });
        }
    }

    /// No longer this sink's.
    pub(crate) fn forget(&self, partition: u32) {
        // Under the lock, or the task would tell it again.
        let mut lags = self.lock();
        lags.remove(&partition);
        telemetry::lag(partition, 0, 0);
    }

    /// Tells the gauges how it is at `now`.
    pub(crate) fn tell(&self, now: Micros) {
        for (partition, lag) in self.lock().iter() {
            // The log's clock may be ahead of ours.
            let age = lag.oldest.map_or(0, |oldest| now.saturating_sub(oldest).max(0));
            telemetry::lag(*partition, lag.records, age);
        }
    }

    /// Tells the gauges, for ever.
    pub(crate) async fn keep_telling(self, clock: Arc<dyn Clock>, every: Duration) {
        loop {
            self.tell(clock.now());
            tokio::time::sleep(every).await;
        }
    }
}
