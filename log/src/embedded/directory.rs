//! The log's directory: who owns it, what it was made for, and whether it was ever finished.
//!
//! ```text
//! DIR/LOCK          held by the owner (an advisory lock of the operating system), its pid inside
//! DIR/VERSION.new   the log is being made: nothing was acknowledged yet, whoever finds it begins anew
//! DIR/VERSION       format version, topic, partitions: the log is made, everything that it needs is durable
//! DIR/fjall/        the database
//! ```
//! `VERSION.new` becomes `VERSION` by one rename, so that a directory is either being made or made.
use super::OpenError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The version of what is on disk: directory, keyspaces, records.
const FORMAT_VERSION: u32 = 1;
const MADE: &str = "VERSION";
const UNFINISHED: &str = "VERSION.new";

/// An owned directory; it is free again when this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    version: Version,
    made: bool,
    lock: File,
}

impl Drop for Directory {
    /// Unlocks by name: a process that is being started by another thread has a copy of the file for a moment, and
    /// would keep the directory owned.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(dir = %self.path.display(), %error, "the directory's lock is given back only now that its file is closed");
        }
    }
}

impl Directory {
    /// Makes the directory if need be, owns it, and checks what it is for. With `existing` it makes nothing.
    pub(super) fn own(path: &Path, topic: &str, partitions: u32, existing: bool) -> Result<Self, OpenError> {
        let broken = |error: io::Error| OpenError::io(path, error);
        if existing && matches!(State::of(path)?, State::Absent | State::Unfinished) {
            return Err(OpenError::Absent { dir: path.display().to_string() });
        }
        std::fs::create_dir_all(path).map_err(broken)?;
        let lock = own(path)?;
        let version = Version { format: FORMAT_VERSION, topic: topic.to_owned(), partitions };
        let made = match State::of(path)? {
            State::Made(text) => version.check(path, &text).map(|()| true)?,
            State::Absent | State::Unfinished => false,
        };
        Ok(Self { path: path.to_owned(), version, made, lock })
    }

    /// Whether the log was made before; else it is to be made, between [`Directory::begin`] and [`Directory::finish`].
    pub(super) fn is_made(&self) -> bool {
        self.made
    }

    /// Says that the log is being made, and removes what an earlier attempt left behind.
    pub(super) fn begin(&self) -> io::Result<()> {
        File::create(self.path.join(UNFINISHED))?.sync_all()?;
        self.sync()?;
        match std::fs::remove_dir_all(self.database()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the database durable, and then says that the log is made. Nothing may be acknowledged before.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        sync_below(&self.database())?;
        let unfinished = self.path.join(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(self.version.text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&unfinished, self.path.join(MADE))?;
        self.made = true;
        self.sync()
    }

    /// Makes the names in it durable, and its own: a database whose directory a power loss forgets is no database.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        let path = self.path.canonicalize()?;
        path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }

    /// Where the database is.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("fjall")
    }
}

/// Makes `dir` durable with all that is in it; a folder after what it names.
fn sync_below(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_below(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()
}

/// What a directory is, before anybody touches it.
enum State {
    /// There is no log.
    Absent,
    /// A log was begun; nothing was acknowledged.
    Unfinished,
    /// There is a log; the text of its version.
    Made(String),
}

impl State {
    fn of(path: &Path) -> Result<Self, OpenError> {
        let broken = |error: io::Error| OpenError::io(path, error);
        match std::fs::read_to_string(path.join(MADE)) {
            Ok(text) => return Ok(Self::Made(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(broken(error)),
        }
        if path.join(UNFINISHED).try_exists().map_err(broken)? {
            return Ok(Self::Unfinished);
        }
        if path.join("fjall").try_exists().map_err(broken)? {
            return Err(OpenError::Incompatible(format!(
                "{} holds a database but no VERSION file: put the file back from a copy, or move the directory away",
                path.display()
            )));
        }
        Ok(Self::Absent)
    }
}

fn own(path: &Path) -> Result<File, OpenError> {
    let broken = |error: io::Error| OpenError::io(path, error);
    let lock_path = path.join("LOCK");
    let mut lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(lock_path).map_err(broken)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The owner may be about to write it: then it is unknown, and the refusal stands.
            let known = lock.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let pid = if known { pid.trim().to_owned() } else { "unknown".to_owned() };
            return Err(OpenError::Owned { dir: path.display().to_string(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(broken(error)),
    }
    lock.set_len(0).map_err(broken)?;
    lock.write_all(std::process::id().to_string().as_bytes()).map_err(broken)?;
    Ok(lock)
}

/// What is pinned when a log is made.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    format: u32,
    topic: String,
    partitions: u32,
}

impl Version {
    fn text(&self) -> String {
        format!("playhead-log {}\npartitions {}\ntopic {}\n", self.format, self.partitions, self.topic)
    }

    /// The format version may be another one; then the rest is not looked at.
    fn parse(text: &str) -> Option<Result<Self, u32>> {
        let mut lines = text.lines();
        let format = lines.next()?.strip_prefix("playhead-log ")?.parse().ok()?;
        if format != FORMAT_VERSION {
            return Some(Err(format));
        }
        let partitions = lines.next()?.strip_prefix("partitions ")?.parse().ok()?;
        let topic = lines.next()?.strip_prefix("topic ")?.to_owned();
        Some(Ok(Self { format, topic, partitions }))
    }

    fn check(&self, path: &Path, text: &str) -> Result<(), OpenError> {
        let dir = path.display();
        let refused = match Self::parse(text) {
            Some(Ok(found)) if found == *self => return Ok(()),
            Some(Ok(found)) if found.partitions != self.partitions => format!(
                "{dir} was made with {} partitions and can't be opened with {}: the number is pinned, because another \
                 one would send a session's events elsewhere; set it back",
                found.partitions, self.partitions
            ),
            Some(Ok(found)) => {
                format!(
                    "{dir} holds the topic {:?}, not {:?}: set it back, or use another directory",
                    found.topic, self.topic
                )
            }
            Some(Err(newer)) if newer > FORMAT_VERSION => {
                format!("{dir} has format {newer}, this program knows {FORMAT_VERSION}: use a newer program")
            }
            Some(Err(older)) => format!(
                "{dir} has format {older}, which this program (format {FORMAT_VERSION}) no longer reads: let the program \
                 that wrote it bring all records into the tables, then begin with another directory"
            ),
            None => format!("{dir}/VERSION can't be understood: put it back from a copy, or move the directory away"),
        };
        Err(OpenError::Incompatible(refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(path: &Path, topic: &str, partitions: u32) -> Result<Directory, OpenError> {
        Directory::own(path, topic, partitions, false)
    }

    fn make(path: &Path) {
        let mut directory = own(path, "events", 4).unwrap();
        directory.begin().unwrap();
        std::fs::create_dir(directory.database()).unwrap();
        directory.finish().unwrap();
    }

    #[test]
    fn a_directory_is_opened_again_with_what_it_was_made_for_only() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        assert!(own(dir.path(), "events", 4).unwrap().is_made());
        let words = own(dir.path(), "events", 8).unwrap_err().to_string();
        assert!(words.contains("4 partitions") && words.contains("with 8"), "{words}");
        let words = own(dir.path(), "spool", 4).unwrap_err().to_string();
        assert!(words.contains("\"events\""), "{words}");
    }

    #[test]
    fn another_or_foreign_version_is_refused_in_words() {
        for (text, expected) in [
            ("playhead-log 9\nwhat comes\n", "use a newer program"),
            ("playhead-log 0\nwhat was\n", "no longer reads"),
            ("nonsense", "can't be understood"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("VERSION"), text).unwrap();
            let refused = own(dir.path(), "events", 4).unwrap_err();
            assert!(matches!(&refused, OpenError::Incompatible(words) if words.contains(expected)), "{refused}");
        }
    }

    #[test]
    fn a_database_without_a_version_is_not_taken_for_a_new_log() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("fjall")).unwrap();
        assert!(matches!(own(dir.path(), "events", 4), Err(OpenError::Incompatible(_))));
    }

    #[test]
    fn a_second_owner_is_told_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let _first = own(dir.path(), "events", 4).unwrap();
        let second = own(dir.path(), "events", 4).unwrap_err();
        assert!(matches!(second, OpenError::Owned { pid, .. } if pid == std::process::id().to_string()));
    }

    #[test]
    fn a_log_that_was_never_finished_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let directory = own(dir.path(), "events", 4).unwrap();
        directory.begin().unwrap();
        std::fs::create_dir(directory.database()).unwrap();
        drop(directory);
        let directory = own(dir.path(), "another topic, since nothing is pinned yet", 8).unwrap();
        assert!(!directory.is_made());
        directory.begin().unwrap();
        assert!(!directory.database().exists(), "what was left behind is gone");
    }
}
