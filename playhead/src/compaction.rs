//! Compaction as a node and `playhead compact` do it: with the rollups' windows marked before copies go.
use crate::clock::SystemClock;
use crate::config::Config;
use crate::storage::Storage;
use async_trait::async_trait;
use event::clock::Clock;
use lake::table::Error;
use maintenance::{Compaction, Scope, Windows};
use processor::rewritten::Rewritten;
use std::path::{Path, PathBuf};

/// Of the table `events`.
pub fn compaction(config: &Config, storage: &Storage, scope: Scope) -> Compaction {
    let windows = RollupWindows(Rewritten::new(storage.lake.rollups()));
    let spill_dir = match config.compaction.spill_dir.as_str() {
        "" => std::env::temp_dir(),
        dir => PathBuf::from(dir),
    };
    Compaction::new(config.compaction.clone(), scope, of_this_process(&spill_dir), Box::new(windows))
}

/// A folder of this process's own, since what a killed one spilled stays where it was: that of processes that are gone is
/// deleted. (A process of the same number, as in a container, takes over the folder and empties it.)
fn of_this_process(spill_dir: &Path) -> PathBuf {
    const PREFIX: &str = "playhead-spill-";
    let own = spill_dir.join(format!("{PREFIX}{}", std::process::id()));
    let is_known = Path::new("/proc/self").exists();
    for entry in std::fs::read_dir(spill_dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let is_gone = is_known && process.is_some_and(|process| !Path::new("/proc").join(process).exists());
        if is_gone || entry.path() == own {
            // What can't be deleted is somebody else's.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    own
}

/// The windows of whatever rollups are in the lake.
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
