//! Looks whether the database has all its folders, before fjall does.
//!
//! fjall replays a journal without the records of keyspaces whose folder is gone, deletes folders that it has no name
//! for, and makes a keyspace that is asked for and not there. So one lost folder would take acknowledged records in
//! silence, and give their offsets to others. A log that was made has them all: they were fsynced before it took its
//! first record.
//!
//! ```text
//! fjall/version            fjall's own format; without it fjall would make a new database
//! fjall/N.jnl              journals: one at least
//! fjall/keyspaces/0/       names and options of the keyspaces
//! fjall/keyspaces/1/       meta
//! fjall/keyspaces/2+n/     partition n: fjall numbers keyspaces as they are made (checked when we make them)
//! ```
use std::io;
use std::path::Path;

/// The keyspace of bounds, segments and releases.
pub(super) const META: &str = "meta";
/// Folder of the keyspace that is made first: `meta`.
pub(super) const FIRST: u64 = 1;
/// A keyspace without this file is unfinished to fjall, which deletes it.
const CURRENT: &str = "current";

/// Name of a partition's keyspace.
pub(super) fn partition_name(partition: u32) -> String {
    format!("p{partition}")
}

/// An error in words when something is gone.
pub(super) fn check(database: &Path, partitions: u32) -> Result<(), String> {
    must_be(&database.join("version"), "the database's format")?;
    let keyspaces = database.join("keyspaces");
    let whole = |number: u64, what: &str| must_be(&keyspaces.join(number.to_string()).join(CURRENT), what);
    whole(0, "the database's list of keyspaces")?;
    whole(FIRST, "the log's bounds")?;
    for partition in 0..partitions {
        whole(FIRST + 1 + u64::from(partition), &format!("what holds partition {partition}"))?;
    }
    let journals = super::journal::journals(database).map_err(|error| unreadable(database, &error))?;
    if journals.is_empty() {
        return Err(gone(database, "the journal (N.jnl)"));
    }
    Ok(())
}

fn must_be(path: &Path, what: &str) -> Result<(), String> {
    match path.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(gone(path, what)),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn gone(path: &Path, what: &str) -> String {
    format!(
        "{what} is gone ({} is missing): acknowledged records would be lost and their offsets given again. Nothing was \
         changed: put it back from a copy, or move the directory away and decide what to do about the gap",
        path.display()
    )
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{} can't be read: {error}", path.display())
}
