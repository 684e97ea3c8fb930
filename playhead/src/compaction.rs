//! Compaction as a node and `playhead compact` do it: with the rollups' windows marked before copies go.
use crate::config::Config;
use crate::rewritten;
use crate::storage::Storage;
use maintenance::{Compaction, Scope};
use std::path::{Path, PathBuf};

/// Of the table `events`.
pub fn compaction(config: &Config, storage: &Storage, scope: Scope) -> Compaction {
    let spill_dir = match config.compaction.spill_dir.as_str() {
        "" => std::env::temp_dir(),
        dir => PathBuf::from(dir),
    };
    Compaction::new(config.compaction.clone(), scope, of_this_process(&spill_dir), rewritten::windows(storage))
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
