//! Deletes files of ours that no snapshot within the safety window names: of a kill between writing and commit, of a rewrite
//! that lost its race, and what a commit removed whose removal the log has forgotten.
//!
//! A listing of the whole table, so once a day. Safe beside whoever writes: a file that is not committed yet is younger than
//! `orphan_ms`, which is days; a commit follows its files within minutes. A file whose removal the log still tells is left to
//! [`super::retire`], so readers of older snapshots have what they need. Other programs' files are left alone.
use super::Options;
use super::retire::delete;
use crate::error::{self, Error, Missing};
use crate::file::Layout;
use crate::table::Table;
use futures::TryStreamExt as _;
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
    /// Deletes orphans if it is time; how many. What fails is only logged: they cost space, and nothing waits for it.
    pub(crate) async fn pass(&mut self, table: &Table, now_ms: i64, options: &Options) -> usize {
        if self.at_ms.is_some_and(|at| now_ms.saturating_sub(at) < EVERY_MS) {
            return 0;
        }
        self.at_ms = Some(now_ms);
        let (deleted, failure) = match old_orphans(table, now_ms, options.orphan_ms).await {
            Ok(orphans) => {
                let (deleted, failure) = delete(table, orphans).await;
                (deleted, failure.map(|error| error.to_string()))
            }
            Err(error) => (0, Some(error.to_string())),
        };
        if let Some(error) = failure {
            tracing::warn!(table = table.name, error, "files that no commit names stay until tomorrow's vacuum");
        }
        if deleted > 0 {
            tracing::info!(table = table.name, deleted, "vacuum: deleted files that no commit names");
        }
        deleted
    }
}

/// A file of the store that neither the snapshot nor a removal names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Path relative to the table.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock, ms since 1970.
    pub written_ms: i64,
}

/// Files of ours that no snapshot within the safety window names; those that somebody is about to commit are among them. Also the
/// time of the newest file of all, by the store's clock.
///
/// # Errors
/// [`Error::Unavailable`]: the store does not answer.
pub async fn orphans(table: &Table) -> Result<(Vec<Orphan>, i64), Error> {
    let (mut ours, mut newest_ms) = (Vec::new(), i64::MIN);
    let mut listed = table.store.list(None);
    let failed = |error: object_store::Error| error::store(&table.name, "list it", &error, Missing::Passes);
    while let Some(file) = listed.try_next().await.map_err(failed)? {
        let written_ms = file.last_modified.timestamp_millis();
        newest_ms = newest_ms.max(written_ms);
        if is_ours(&file.location) {
            ours.push(Orphan { path: file.location.to_string(), bytes: file.size, written_ms });
        }
    }
    let mut named: HashSet<String> = HashSet::new();
    for view in table.views() {
        named.insert(table.store_path(&view.path())?.to_string());
    }
    let mut tombstones = table.state.all_tombstones(table.log.as_ref());
    let unread = |error| error::delta(&table.name, "read removed files", error);
    while let Some(tombstone) = tombstones.try_next().await.map_err(unread)? {
        named.insert(table.store_path(&tombstone.path())?.to_string());
    }
    ours.retain(|file| !named.contains(&file.path));
    Ok((ours, newest_ms))
}

/// Those that are `orphan_ms` old. The snapshot is older than the listing: what was committed between is young. By the store's own
/// clock, too: a machine whose clock is ahead would take files for old that somebody is about to commit.
async fn old_orphans(table: &Table, now_ms: i64, orphan_ms: i64) -> Result<Vec<StorePath>, Error> {
    let (orphans, newest_ms) = orphans(table).await?;
    let until_ms = now_ms.min(newest_ms).saturating_sub(orphan_ms);
    let old = orphans.iter().filter(|file| file.written_ms <= until_ms).take(FILES_MAX);
    old.map(|file| table.store_path(&file.path)).collect()
}

/// `part-{uuid}.zstd.parquet` or `sorted-{uuid}.zstd.parquet`, in a folder of a partition or in none.
fn is_ours(path: &StorePath) -> bool {
    let name = path.filename().unwrap_or_default();
    let id = [Layout::Log, Layout::Sorted].iter().find_map(|layout| name.strip_prefix(layout.prefix()));
    let id = id.and_then(|rest| rest.strip_suffix(".zstd.parquet"));
    !path.as_ref().starts_with("_delta_log") && id.is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
}
