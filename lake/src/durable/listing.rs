//! Listing a Delta log from an offset, for folders of many commits.
//!
//! Each commit lists the log from its own version on. `LocalFileSystem` makes a path of every name in the folder
//! before it compares it: with two days of commits (17,000 files) that took 200 ms of a commit in a build without
//! optimisation (measured). Here names are compared as they are, and only what is listed becomes a path.
//!
//! Linux still hands out all names of such a folder, 20 calls for ten thousand. But a log's names are known: from a commit that
//! is there to the first that is not, each is asked for by its name. What else lies there (`.crc`, compacted commits, sidecars)
//! is not found that way, and nobody who lists from a commit needs it.
use super::recovery::is_leftover;
use super::{Result, Shared, failed};
use object_store::ObjectMeta;
use object_store::path::Path as StorePath;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Commits asked for by name at most, two looks of 2 µs each: beyond, a folder of ten thousand is read as fast.
const BY_NAME_MAX: u64 = 512;

impl Shared {
    /// What of the log is greater than `offset`: by name, and where that might not be all, as its folder says.
    pub(super) fn list_log(
        &self,
        folder: &Path,
        prefix: &StorePath,
        offset: &StorePath,
    ) -> Result<Option<Vec<ObjectMeta>>> {
        let seen = self.listed.load(Ordering::Acquire);
        let by_name = match seen.checked_sub(1).filter(|_| folder.parent() == Some(&self.base)) {
            Some(newest) => by_name(folder, prefix, offset, newest)?,
            None => None,
        };
        let listed = match by_name {
            Some(found) => Some(found),
            None => list(folder, prefix, offset)?,
        };
        let names = listed.iter().flatten().filter_map(|meta| meta.location.filename());
        let newest = names.filter(|name| name.ends_with(".json")).filter_map(version).max();
        self.listed.fetch_max(newest.map_or(0, |newest| newest + 1), Ordering::AcqRel);
        Ok(listed)
    }
}

/// The log's end by name: commits and their checkpoints, greater than `offset`; `None` when that might not be all of it, and the
/// folder has to be read.
///
/// What is after a gap would not be found. So the first commit asked for, or the one before, is there; `newest`, the newest one
/// that was ever seen, was reached; after the first that is missing the next is missing, too; and the checkpoint that is named is
/// among those found, or older. (Who cleans a log has written a checkpoint before, and named it. Left is one who did not name it,
/// beside a process that has slept for the two days in which no commit is deleted.)
fn by_name(folder: &Path, prefix: &StorePath, offset: &StorePath, newest: u64) -> Result<Option<Vec<ObjectMeta>>> {
    let first = name_within(prefix, offset).and_then(|name| Some((name, version(name)?)));
    let Some((after, first)) = first.filter(|(_, first)| newest.saturating_sub(*first) < BY_NAME_MAX) else {
        return Ok(None);
    };
    let (mut files, mut checkpoints, mut next) = (Vec::new(), Vec::new(), first);
    while let Some(commit) = metadata(folder, &commit_name(next))? {
        if next - first == BY_NAME_MAX {
            return Ok(None);
        }
        let name = format!("{next:020}.checkpoint.parquet");
        if let Some(checkpoint) = metadata(folder, &name)? {
            checkpoints.push(next);
            files.push((name, checkpoint));
        }
        files.push((commit_name(next), commit));
        next += 1;
    }
    let is_there = |version: u64| metadata(folder, &commit_name(version)).map(|there| there.is_some());
    let is_anchored = next > first || first > 0 && is_there(first - 1)?;
    let named = last_checkpoint(folder);
    let is_behind_named = named.is_some_and(|named| named >= first && !checkpoints.contains(&named));
    if !is_anchored || next <= newest || is_behind_named || is_there(next + 1)? {
        return Ok(None);
    }
    let greater = files.iter().filter(|(name, _)| name.as_str() > after);
    greater.map(|(name, metadata)| object_meta(folder, prefix, name, metadata)).collect::<Result<_>>().map(Some)
}

/// The version that a name in `_delta_log` begins with.
pub(super) fn version(name: &str) -> Option<u64> {
    let digits = name.split('.').next()?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

fn commit_name(version: u64) -> String {
    format!("{version:020}.json")
}

/// What `_last_checkpoint` names. One that can't be read may name any: the folder is read then.
fn last_checkpoint(folder: &Path) -> Option<u64> {
    let bytes = match fs::read(folder.join("_last_checkpoint")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        read => read.ok(),
    };
    let hint: Option<serde_json::Value> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Some(hint.and_then(|hint| hint.get("version")?.as_u64()).unwrap_or(u64::MAX))
}

fn metadata(folder: &Path, name: &str) -> Result<Option<Metadata>> {
    let path = folder.join(name);
    match fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(|error| failed("list", &path, error)),
    }
}

fn object_meta(folder: &Path, prefix: &StorePath, name: &str, metadata: &Metadata) -> Result<ObjectMeta> {
    let last_modified = metadata.modified().map_err(|error| failed("list", &folder.join(name), error))?.into();
    let location = prefix.clone().join(name);
    Ok(ObjectMeta { location, last_modified, size: metadata.len(), e_tag: None, version: None })
}

/// Files directly in `folder` (`prefix` of the store) whose path is greater than `offset`, in no order; `None` when
/// the folder is not flat or has names that a store's path would write differently.
fn list(folder: &Path, prefix: &StorePath, offset: &StorePath) -> Result<Option<Vec<ObjectMeta>>> {
    let Some(after) = name_within(prefix, offset) else { return Ok(None) };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(Vec::new())),
        entries => entries.map_err(|error| failed("list", folder, error))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed("list", folder, error))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { return Ok(None) };
        if name <= after || is_leftover(name) {
            continue;
        }
        let meta = match entry.metadata() {
            // Deleted since the folder was read.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            meta => meta.map_err(|error| failed("list", &entry.path(), error))?,
        };
        if !meta.is_file() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return Ok(None);
        }
        files.push(object_meta(folder, prefix, name, &meta)?);
    }
    Ok(Some(files))
}

/// The part of `offset` below `prefix`; `None` if it does not lie directly in it.
fn name_within<'a>(prefix: &StorePath, offset: &'a StorePath) -> Option<&'a str> {
    let below = offset.as_ref().strip_prefix(prefix.as_ref())?;
    if below.is_empty() {
        return Some("");
    }
    below.strip_prefix('/').filter(|name| !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_number_of_twenty_digits() {
        assert_eq!(version("00000000000000000042"), Some(42));
        assert_eq!(version("00000000000000000042.json"), Some(42));
        assert_eq!(version("00000000000000000042.checkpoint.parquet"), Some(42));
        assert_eq!(version("_last_checkpoint"), None);
        assert_eq!(version("42.json"), None);
    }

    /// A log of these files, and what is found from `offset` on, by name and in the folder.
    fn found(names: &[String], last: Option<&str>, offset: &str, newest: u64) -> (Option<Vec<String>>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| fs::write(dir.path().join(name), "{}").unwrap());
        last.iter().for_each(|last| fs::write(dir.path().join("_last_checkpoint"), last).unwrap());
        let prefix = StorePath::from("lake/_delta_log");
        let offset = prefix.clone().join(offset);
        let sorted = |metas: Vec<ObjectMeta>| {
            let mut names: Vec<_> = metas.iter().map(|meta| meta.location.filename().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        let listed = list(dir.path(), &prefix, &offset).unwrap().unwrap();
        (by_name(dir.path(), &prefix, &offset, newest).unwrap().map(sorted), sorted(listed))
    }

    fn commits(versions: impl IntoIterator<Item = u64>) -> Vec<String> {
        versions.into_iter().map(commit_name).collect()
    }

    fn checkpoint(version: u64) -> String {
        format!("{version:020}.checkpoint.parquet")
    }

    #[test]
    fn by_name_a_log_is_what_its_folder_says() {
        let log = [commits(90..=120), vec![checkpoint(100), checkpoint(50)]].concat();
        for offset in
            [format!("{:020}", 90), format!("{:020}", 101), checkpoint(100), commit_name(120), format!("{:020}", 121)]
        {
            let (by_name, mut listed) = found(&log, Some(r#"{"version":100}"#), &offset, 119);
            listed.retain(|name| name != "_last_checkpoint");
            assert_eq!(by_name, Some(listed), "{offset}");
        }
    }

    #[test]
    fn the_folder_is_read_where_something_may_lie_after_a_gap() {
        let log = [commits(90..=120), vec![checkpoint(100)]].concat();
        let at = |version: u64| format!("{version:020}");
        let by_name = |names: &[String], last: &str, offset: &str, newest| found(names, Some(last), offset, newest).0;
        assert!(by_name(&log, r#"{"version":100}"#, &at(90), 120).is_some());
        assert_eq!(by_name(&log, r#"{"version":100}"#, &at(90), 121), None, "a later commit was seen");
        assert_eq!(by_name(&log, r#"{"version":121}"#, &at(90), 120), None, "a later checkpoint is named");
        assert_eq!(by_name(&log, r#"{"version":110}"#, &at(90), 120), None, "a checkpoint of another form is named");
        assert_eq!(by_name(&log, "{", &at(90), 120), None, "who knows what is named");
        assert_eq!(by_name(&log, r#"{"version":70}"#, &at(80), 79), None, "the first is gone");
        assert_eq!(by_name(&log, r#"{"version":100}"#, &at(122), 120), None, "none was there");
        assert_eq!(by_name(&log, r#"{"version":100}"#, &at(0), 120), None, "an empty log does not begin at 90");
        let hole = commits((90..=120).chain([122]));
        assert_eq!(by_name(&hole, r#"{"version":80}"#, &at(110), 120), None, "121 is lost");
        assert!(found(&commits(0..BY_NAME_MAX), None, &at(0), 0).0.is_some());
        assert_eq!(found(&commits(0..=BY_NAME_MAX), None, &at(0), 0).0, None, "too many");
    }
}
