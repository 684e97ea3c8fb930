//! Commits of a Delta log that were read or written already, in memory: a commit never changes, and a request for
//! one costs what a commit costs.
//!
//! delta-rs' kernel reads each new commit two or three times (protocol, files, `txn`s), and our own after we wrote it.
//! An entry is bound to its ETag: a listing that shows another one under that name (a log that was made anew)
//! forgets it, and the kernel lists before it reads. Bounded by count and bytes; the oldest go first. Pure.
use bytes::Bytes;
use object_store::ObjectMeta;
use object_store::path::Path as StorePath;
use std::collections::{HashMap, VecDeque};

/// Commits kept: more than between two checkpoints.
const COMMITS_MAX: usize = 256;
/// Their bytes together, for each opened table.
const BYTES_MAX: usize = 16 << 20;
/// A larger commit (a merge of thousands of files) is not kept.
const COMMIT_BYTES_MAX: usize = 1 << 20;

/// What is kept of one commit.
#[derive(Debug)]
struct Kept {
    e_tag: String,
    bytes: Bytes,
    /// As the store says; unknown from a put until it is listed.
    meta: Option<ObjectMeta>,
}

/// Commits by path.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    kept: HashMap<StorePath, Kept>,
    order: VecDeque<StorePath>,
    bytes: usize,
}

/// Whether this is the name of a commit: 20 digits and `.json`, in a `_delta_log`.
pub(crate) fn is_commit(path: &StorePath) -> bool {
    let name = path.filename().and_then(|name| name.strip_suffix(".json"));
    let digits = name.is_some_and(|name| name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit()));
    digits && path.parts().rev().nth(1).is_some_and(|folder| folder.as_ref() == "_delta_log")
}

impl Commits {
    /// Keeps what was read.
    pub(crate) fn was_read(&mut self, meta: &ObjectMeta, bytes: &Bytes) {
        let Some(e_tag) = meta.e_tag.clone() else { return };
        self.keep(&meta.location, Kept { e_tag, bytes: bytes.clone(), meta: Some(meta.clone()) });
    }

    /// Keeps what was written.
    pub(crate) fn was_put(&mut self, path: &StorePath, e_tag: Option<String>, bytes: Bytes) {
        let Some(e_tag) = e_tag else { return };
        self.keep(path, Kept { e_tag, bytes, meta: None });
    }

    /// What a listing says: an object that changed is forgotten.
    pub(crate) fn was_listed(&mut self, meta: &ObjectMeta) {
        let Some(kept) = self.kept.get_mut(&meta.location) else { return };
        if meta.e_tag.as_deref() == Some(kept.e_tag.as_str()) && meta.size == kept.bytes.len() as u64 {
            kept.meta = Some(meta.clone());
        } else {
            self.forget(&meta.location.clone());
        }
    }

    pub(crate) fn forget(&mut self, path: &StorePath) {
        if let Some(kept) = self.kept.remove(path) {
            self.bytes -= kept.bytes.len();
            self.order.retain(|held| held != path);
        }
    }

    pub(crate) fn get(&self, path: &StorePath) -> Option<(ObjectMeta, Bytes)> {
        let kept = self.kept.get(path)?;
        Some((kept.meta.clone()?, kept.bytes.clone()))
    }

    fn keep(&mut self, path: &StorePath, kept: Kept) {
        self.forget(path);
        if kept.bytes.len() > COMMIT_BYTES_MAX {
            return;
        }
        self.bytes += kept.bytes.len();
        self.kept.insert(path.clone(), kept);
        self.order.push_back(path.clone());
        while self.order.len() > COMMITS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.front().cloned() else { break };
            self.forget(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(version: u64) -> StorePath {
        StorePath::from(format!("lake/events/_delta_log/{version:020}.json"))
    }

    fn meta(version: u64, e_tag: &str, size: u64) -> ObjectMeta {
        let last_modified = chrono::DateTime::from_timestamp_nanos(0);
        ObjectMeta { location: path(version), last_modified, size, e_tag: Some(e_tag.into()), version: None }
    }

    #[test]
    fn only_commits_are_commits() {
        assert!(is_commit(&path(7)));
        for other in [
            "lake/_delta_log/_last_checkpoint",
            "lake/_delta_log/00000000000000000007.checkpoint.parquet",
            "lake/_delta_log/0000000000000000007.json",
            "lake/00000000000000000007.json",
        ] {
            assert!(!is_commit(&StorePath::from(other)), "{other}");
        }
    }

    #[test]
    fn what_was_put_is_there_once_the_store_listed_it() {
        let mut commits = Commits::default();
        commits.was_put(&path(1), Some("a".into()), "one".into());
        assert!(commits.get(&path(1)).is_none(), "the store's time of it is not known");
        commits.was_listed(&meta(1, "a", 3));
        assert_eq!(commits.get(&path(1)).unwrap().1, "one");
    }

    #[test]
    fn a_log_made_anew_is_read_anew() {
        let mut commits = Commits::default();
        commits.was_read(&meta(1, "a", 3), &"one".into());
        commits.was_listed(&meta(1, "b", 3));
        assert!(commits.get(&path(1)).is_none());
        assert_eq!(commits.bytes, 0);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_go_first() {
        let mut commits = Commits::default();
        for version in 0..1000 {
            commits.was_read(&meta(version, "a", 100_000), &Bytes::from(vec![0; 100_000]));
            assert!(commits.bytes <= BYTES_MAX && commits.kept.len() <= COMMITS_MAX);
            assert_eq!(commits.kept.len(), commits.order.len());
        }
        assert!(commits.get(&path(999)).is_some() && commits.get(&path(0)).is_none());
        commits.was_read(&meta(1000, "a", 0), &Bytes::from(vec![0; COMMIT_BYTES_MAX + 1]));
        assert!(commits.get(&path(1000)).is_none());
    }
}
