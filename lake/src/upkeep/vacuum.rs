//! Deletes files of ours that no snapshot within the safety window names: of a kill between writing and commit, of a rewrite
//! that lost its race, and what a commit removed whose removal the log has forgotten.
//!
//! A listing of the whole table, so once a day. Safe beside whoever writes: a file that is not committed yet is younger than
//! `orphan_ms`, which is days; a commit follows its files within minutes. A file whose removal the log still tells is left to
//! [`super::retire`], so readers of older snapshots have what they need. Other programs' files are left alone.
use super::Options;
use crate::error::{self, Error, Missing};
use crate::file::Layout;
use crate::table::Table;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore as _;
use object_store::path::Path as StorePath;
use std::collections::HashSet;

/// Between two vacuums, ms.
const EVERY_MS: i64 = 24 * 3_600_000;
/// Files deleted by one at most.
const FILES_MAX: usize = 100_000;

/// When this process vacuumed the table last.
#[derive(Debug, Default)]
pub(crate) struct Vacuum {
    at_ms: Option<i64>,
}

impl Vacuum {
    /// Deletes orphans if it is time; how many.
    pub(crate) async fn pass(&mut self, table: &Table, now_ms: i64, options: &Options) -> Result<usize, Error> {
        if self.at_ms.is_some_and(|at| now_ms.saturating_sub(at) < EVERY_MS) {
            return Ok(0);
        }
        let orphans = orphans(table, now_ms.saturating_sub(options.orphan_ms)).await?;
        let mut deletions = table.store.delete_stream(futures::stream::iter(orphans.into_iter().map(Ok)).boxed());
        let mut deleted = 0;
        while let Some(deletion) = deletions.next().await {
            match deletion {
                Ok(_) => deleted += 1,
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error::store(&table.name, "delete an orphan", &error, Missing::Passes)),
            }
        }
        self.at_ms = Some(now_ms);
        if deleted > 0 {
            tracing::info!(table = table.name, deleted, "vacuum: deleted files that no commit names");
        }
        Ok(deleted)
    }
}

/// Files of ours that were written before `until_ms`, and that neither the snapshot nor a removal names. The listing comes
/// first: what is committed after it is in it only if it is young.
async fn orphans(table: &Table, until_ms: i64) -> Result<Vec<StorePath>, Error> {
    let mut old = Vec::new();
    let mut listed = table.store.list(None);
    let failed = |error: object_store::Error| error::store(&table.name, "list it", &error, Missing::Passes);
    while let Some(file) = listed.try_next().await.map_err(failed)? {
        if is_ours(&file.location) && file.last_modified.timestamp_millis() <= until_ms {
            old.push(file.location);
        }
    }
    let mut named: HashSet<StorePath> = HashSet::new();
    for view in table.views() {
        named.insert(table.store_path(&view.path())?);
    }
    let mut tombstones = table.state.all_tombstones(table.log.as_ref());
    let unread = |error| error::delta(&table.name, "read removed files", error);
    while let Some(tombstone) = tombstones.try_next().await.map_err(unread)? {
        named.insert(table.store_path(&tombstone.path())?);
    }
    old.retain(|path| !named.contains(path));
    old.truncate(FILES_MAX);
    Ok(old)
}

/// `part-{uuid}.zstd.parquet` or `sorted-{uuid}.zstd.parquet`, in a folder of a partition or in none.
fn is_ours(path: &StorePath) -> bool {
    let name = path.filename().unwrap_or_default();
    let id = [Layout::Log, Layout::Sorted].iter().find_map(|layout| name.strip_prefix(layout.prefix()));
    let id = id.and_then(|rest| rest.strip_suffix(".zstd.parquet"));
    !path.as_ref().starts_with("_delta_log") && id.is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
}
