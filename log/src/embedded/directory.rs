//! The log's directory: who owns it, and what it was made for.
//!
//! ```text
//! DIR/LOCK      held by the owner (an advisory lock of the operating system), its pid inside
//! DIR/VERSION   format version, topic, partitions: written once
//! DIR/fjall/    the database
//! ```
use super::OpenError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The version of what is on disk: directory, keyspaces, records.
const FORMAT_VERSION: u32 = 1;

/// An owned directory; it is free again when this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory if need be, owns it, and checks or writes what it is for.
    pub(super) fn own(path: &Path, topic: &str, partitions: u32) -> Result<Self, OpenError> {
        let broken = |error: io::Error| OpenError::io(path, error);
        std::fs::create_dir_all(path).map_err(broken)?;
        let lock = own(path)?;
        let expected = Version { format: FORMAT_VERSION, topic: topic.to_owned(), partitions };
        let directory = Self { path: path.to_owned(), _lock: lock };
        match read_version(&path.join("VERSION")).map_err(broken)? {
            Some(text) => expected.check(path, &text)?,
            None if directory.database().try_exists().map_err(broken)? => {
                return Err(OpenError::Incompatible(format!(
                    "{} holds a database but no VERSION file: put the file back from a copy, or move the directory away",
                    path.display()
                )));
            }
            None => expected.write(path).map_err(broken)?,
        }
        Ok(directory)
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

fn read_version(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
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

    /// The format version may be newer; then the rest is not looked at.
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
            Some(Err(newer)) => {
                format!("{dir} has format {newer}, this program knows {FORMAT_VERSION}: use a newer program")
            }
            None => format!("{dir}/VERSION can't be understood: put it back from a copy, or move the directory away"),
        };
        Err(OpenError::Incompatible(refused))
    }

    /// Whole or not at all, and durable.
    fn write(&self, path: &Path) -> io::Result<()> {
        let unfinished = path.join("VERSION.new");
        let mut file = File::create(&unfinished)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path.join("VERSION"))?;
        File::open(path)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_opened_again_with_what_it_was_made_for_only() {
        let dir = tempfile::tempdir().unwrap();
        drop(Directory::own(dir.path(), "events", 4).unwrap());
        drop(Directory::own(dir.path(), "events", 4).unwrap());
        let words = Directory::own(dir.path(), "events", 8).unwrap_err().to_string();
        assert!(words.contains("4 partitions") && words.contains("with 8"), "{words}");
        let words = Directory::own(dir.path(), "spool", 4).unwrap_err().to_string();
        assert!(words.contains("\"events\""), "{words}");
    }

    #[test]
    fn a_newer_or_foreign_version_is_refused_in_words() {
        for (text, expected) in [("playhead-log 9\nwhat comes\n", "format 9"), ("nonsense", "can't be understood")] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("VERSION"), text).unwrap();
            let refused = Directory::own(dir.path(), "events", 4).unwrap_err();
            assert!(matches!(&refused, OpenError::Incompatible(words) if words.contains(expected)), "{refused}");
        }
    }

    #[test]
    fn a_database_without_a_version_is_not_taken_for_a_new_log() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("fjall")).unwrap();
        assert!(matches!(Directory::own(dir.path(), "events", 4), Err(OpenError::Incompatible(_))));
    }

    #[test]
    fn a_second_owner_is_told_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Directory::own(dir.path(), "events", 4).unwrap();
        let second = Directory::own(dir.path(), "events", 4).unwrap_err();
        assert!(matches!(second, OpenError::Owned { pid, .. } if pid == std::process::id().to_string()));
    }
}
