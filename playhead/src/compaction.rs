//! Compaction as a node and `playhead compact` do it: with the rollups' windows marked before copies go.
use crate::clock::SystemClock;
use crate::config::Config;
use crate::storage::Storage;
use async_trait::async_trait;
use event::clock::Clock;
use lake::table::Error;
use maintenance::{Compaction, Scope, Windows};
use processor::rewritten;
use std::path::PathBuf;

/// Of the table `events`.
pub fn compaction(config: &Config, storage: &Storage, scope: Scope) -> Compaction {
    let spill_dir = match config.compaction.spill_dir.as_str() {
        "" => std::env::temp_dir(),
        dir => PathBuf::from(dir),
    };
    let windows = RollupWindows { lake: storage.lake.rollups() };
    Compaction::new(config.compaction.clone(), scope, spill_dir, Box::new(windows))
}

/// The windows of whatever rollups are in the lake.
#[derive(Debug)]
struct RollupWindows {
    lake: processor::Lake,
}

#[async_trait]
impl Windows for RollupWindows {
    async fn mark(&mut self, times_us: &[i64], awaits: i64) -> Result<bool, Error> {
        match rewritten::mark(&self.lake, times_us, awaits, SystemClock.now()).await {
            Ok(()) => Ok(true),
            Err(processor::Error::TooManyLate) => Ok(false),
            Err(processor::Error::Lake(error)) => Err(error),
            Err(other) => Err(Error::Broken { table: "late_windows".to_owned(), reason: other.to_string() }),
        }
    }

    async fn awaited(&mut self) -> Result<Option<i64>, Error> {
        rewritten::awaited(&self.lake).await
    }
}
