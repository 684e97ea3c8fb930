//! The data directory: its folders and the version of their layout.
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::atomic::{self, AtomicU64};

/// Version of the layout of `DATA`. A newer one is refused in words, never misread.
const LAYOUT_VERSION: u32 = 1;

/// Tells attempts of this process apart.
static CREATIONS: AtomicU64 = AtomicU64::new(0);

/// Folders above `DATA` whose entries are synced when it is made.
const FOLDERS_SYNCED: usize = 8;

/// Where log and lake live on this machine.
#[derive(Debug, Clone)]
pub struct DataDir {
    root: PathBuf,
}

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Made by a newer build.
    #[error(
        "{dir} has layout version {found}, this build knows {LAYOUT_VERSION}: use the playhead that made it, or a newer one"
    )]
    Newer {
        /// The directory.
        dir: String,
        /// Its version.
        found: u32,
    },
    /// Made by a build that was never released.
    #[error(
        "{dir} has layout version {found}, and this build upgrades nothing older than {LAYOUT_VERSION}: use another --data directory"
    )]
    Older {
        /// The directory.
        dir: String,
        /// Its version.
        found: u32,
    },
    /// The file VERSION is not a number.
    #[error("{0} is not a version number: this is no data directory of playhead, or it is damaged")]
    Unreadable(String),
    /// Something else lies there.
    #[error("{0} is not empty and has no VERSION: choose another --data directory")]
    Foreign(String),
    /// No data directory.
    #[error("{0} is no data directory yet: `playhead up` makes one, or name another with --data")]
    Absent(String),
    /// Disk trouble.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
}

/// The running node, as it tells other commands: `DATA/node.json`. Stale after a kill; the log's lock is the truth.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunningNode {
    /// Process id.
    pub pid: u32,
    /// Address that takes events.
    pub listen: String,
    /// Admin address.
    pub admin: String,
}

impl DataDir {
    /// The directory by name, whether it is there or not: for who only needs to know its folders.
    pub fn named(root: &Path) -> DataDir {
        DataDir { root: root.to_path_buf() }
    }

    /// The directory, which must be one of ours already.
    pub fn open(root: &Path) -> Result<DataDir, Error> {
        let dir = DataDir::named(root);
        match std::fs::read_to_string(dir.version_file()) {
            Ok(text) => dir.check_version(&text).map(|()| dir),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::Absent(root.display().to_string()))
            }
            Err(error) => Err(Error::Io(dir.version_file().display().to_string(), error)),
        }
    }

    /// The directory, made when it is absent or empty. Several processes may do so at once (sinks with one lake).
    pub fn open_or_create(root: &Path) -> Result<DataDir, Error> {
        match DataDir::open(root) {
            Err(Error::Absent(_)) => {}
            opened => return opened,
        }
        match DataDir::create(root) {
            // Another process may have made it meanwhile: then what is there is its work.
            Err(error) => DataDir::open(root).map_err(|_| error),
            made => made,
        }
    }

    fn create(root: &Path) -> Result<DataDir, Error> {
        let dir = DataDir::named(root);
        let io = |error| Error::Io(root.display().to_string(), error);
        create_durably(root).map_err(io)?;
        // Written aside and renamed, so that a kill leaves no empty VERSION. Its leftover is nobody else's file, and
        // neither is what a fresh ext4 volume comes with.
        for entry in std::fs::read_dir(root).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            if name != "lost+found" && !name.to_string_lossy().starts_with("VERSION.new") {
                return Err(Error::Foreign(root.display().to_string()));
            }
        }
        let turn = CREATIONS.fetch_add(1, atomic::Ordering::Relaxed);
        let aside = root.join(format!("VERSION.new.{}.{turn}", std::process::id()));
        std::fs::write(&aside, format!("{LAYOUT_VERSION}\n")).map_err(io)?;
        sync(&aside).and_then(|()| std::fs::rename(&aside, dir.version_file())).map_err(io)?;
        // The version must be there before anything it describes.
        sync(root).map_err(io)?;
        Ok(dir)
    }

    fn check_version(&self, text: &str) -> Result<(), Error> {
        let found: u32 =
            text.trim().parse().map_err(|_| Error::Unreadable(self.version_file().display().to_string()))?;
        let dir = self.root.display().to_string();
        match found.cmp(&LAYOUT_VERSION) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(Error::Newer { dir, found }),
            Ordering::Less => Err(Error::Older { dir, found }),
        }
    }

    fn version_file(&self) -> PathBuf {
        self.root.join("VERSION")
    }

    /// `DATA/log`: the embedded log.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// `DATA/lake`: the tables, where `lake.url` names no other place.
    pub fn lake(&self) -> PathBuf {
        self.root.join("lake")
    }

    fn node_file(&self) -> PathBuf {
        self.root.join("node.json")
    }

    /// Tells other commands where this process listens.
    pub fn announce(&self, node: &RunningNode) -> Result<(), Error> {
        let io = |error| Error::Io(self.node_file().display().to_string(), error);
        let text = serde_json::to_vec(node).map_err(|error| io(error.into()))?;
        // Written aside and renamed: a reader never sees half of it.
        let aside = self.root.join(format!("node.json.{}", node.pid));
        std::fs::write(&aside, text).and_then(|()| std::fs::rename(&aside, self.node_file())).map_err(io)
    }

    /// Takes the announcement back.
    pub fn retract(&self) {
        let _ = std::fs::remove_file(self.node_file());
    }

    /// The node that announced itself here and is still there: what a killed one announced is none, and somebody else may
    /// listen at that address.
    pub fn running(&self) -> Option<RunningNode> {
        let is_there = |node: &RunningNode| {
            let pid = i32::try_from(node.pid).ok().and_then(rustix::process::Pid::from_raw);
            pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
        };
        self.announced().filter(is_there)
    }

    /// What a node announced here, if one did.
    pub fn announced(&self) -> Option<RunningNode> {
        serde_json::from_slice(&std::fs::read(self.node_file()).ok()?).ok()
    }
}

/// Makes the folder and those above it, each name durable before anything is written below it: else a power loss could
/// take the whole directory, and every acknowledged event with it.
fn create_durably(folder: &Path) -> std::io::Result<()> {
    let folder = std::path::absolute(folder)?;
    let missing: Vec<&Path> = folder.ancestors().take_while(|above| !above.exists()).collect();
    for made in missing.into_iter().rev() {
        match std::fs::create_dir(made) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    // Also of a folder that an earlier process made, and was killed before this.
    folder.ancestors().skip(1).filter(|above| above.is_dir()).take(FOLDERS_SYNCED).try_for_each(sync)
}

fn sync(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_a_newer_version_is_refused_in_words() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("VERSION"), "2\n").unwrap();
        let error = DataDir::open_or_create(temp.path()).unwrap_err();
        assert!(matches!(error, Error::Newer { found: 2, .. }), "{error}");
    }

    #[test]
    fn a_directory_of_an_unknown_older_version_is_refused_in_words() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("VERSION"), "0\n").unwrap();
        assert!(matches!(DataDir::open(temp.path()), Err(Error::Older { found: 0, .. })));
    }

    #[test]
    fn a_directory_of_somebody_else_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(DataDir::open_or_create(temp.path()), Err(Error::Foreign(_))));
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn processes_that_make_it_at_once_all_have_it() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("data");
        std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| DataDir::open_or_create(&root).map(drop))).collect();
            makers.into_iter().for_each(|maker| maker.join().unwrap().unwrap());
        });
        DataDir::open(&root).unwrap();
    }

    #[test]
    fn what_was_made_is_opened_again() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("data");
        assert!(matches!(DataDir::open(&root), Err(Error::Absent(_))));
        DataDir::open_or_create(&root).unwrap();
        assert_eq!(DataDir::open(&root).unwrap().log(), root.join("log"));
    }
}
