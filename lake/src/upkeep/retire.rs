//! Deletes from the store the files that merges replaced, once nobody reads them any more.
//!
//! Only what the log itself says was removed by a rewrite of the same rows, and long enough ago: a file that no commit
//! names is never touched, nor one whose rows somebody deleted (unless the table's owner says that nobody but us does). The log forgets a removed file after `delta.deletedFileRetentionDuration`, so that must be longer.
use super::Options;
use crate::error::{self, Error};
use crate::table::Table;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore as _;
use object_store::path::Path as StorePath;
use std::collections::HashSet;

/// Files deleted in one pass at most.
const FILES_MAX: usize = 10_000;

/// How far this process has deleted, so that no pass tries the same files again.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    through_ms: Option<i64>,
}

impl Retired {
    /// Deletes files that were removed at or before `now_ms - retire_ms`. Returns how many.
    pub(crate) async fn pass(&mut self, table: &Table, now_ms: i64, options: &Options) -> Result<usize, Error> {
        let until = now_ms.saturating_sub(options.retire_ms);
        let mut tombstones = table.state.all_tombstones(table.log.as_ref());
        let mut old = Vec::new();
        while let Some(tombstone) =
            tombstones.try_next().await.map_err(|error| error::delta(&table.name, "read removed files", error))?
        {
            let due = |at: i64| at > 0 && at <= until && self.through_ms.is_none_or(|through| at > through);
            let removed = tombstone.deletion_timestamp().filter(|_| options.retire_removed || !tombstone.data_change());
            if let Some(at) = removed.filter(|at| due(*at)) {
                old.push((at, tombstone.path().into_owned()));
            }
        }
        old.sort();
        let active: HashSet<String> = table.views().map(|view| view.path().into_owned()).collect();
        let rest = old.get(FILES_MAX).map(|(at, _)| *at);
        let due = old.into_iter().take(FILES_MAX).filter(|(_, path)| !active.contains(path));
        let paths = due.map(|(_, path)| table.store_path(&path)).collect::<Result<Vec<_>, _>>()?;
        let (deleted, failure) = delete(table, paths).await;
        if let Some(error) = failure {
            tracing::warn!(table = table.name, %error, "merged files can't be deleted yet");
            return Ok(deleted);
        }
        self.through_ms = Some(rest.map_or(until, |at| at - 1));
        Ok(deleted)
    }
}

/// Deletes files from the store: how many, and what kept the rest there. In one request for many, where the store can.
pub(super) async fn delete(table: &Table, paths: Vec<StorePath>) -> (usize, Option<object_store::Error>) {
    let mut deletions = table.store.delete_stream(futures::stream::iter(paths.into_iter().map(Ok)).boxed());
    let mut deleted = 0;
    while let Some(deletion) = deletions.next().await {
        match deletion {
            Ok(_) => deleted += 1,
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return (deleted, Some(error)),
        }
    }
    (deleted, None)
}
