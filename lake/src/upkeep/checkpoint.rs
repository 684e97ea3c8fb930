//! Checkpoints, and the deletion of commits that a checkpoint stands for.
use crate::error::{self, Error, Missing};
use crate::table::Table;
use deltalake_core::checkpoints;
use object_store::ObjectStoreExt as _;
use object_store::path::Path as StorePath;
use std::time::Instant;
use tokio::runtime::Handle;

/// Writes a checkpoint of the snapshot when `commits` were made since the last one.
pub(crate) async fn write_if_due(table: &mut Table, commits: u64) -> Result<Option<u64>, Error> {
    let version = table.version();
    let last = last_checkpoint(table).await?;
    let since = last.map_or(version + 1, |last| version.saturating_sub(last));
    if since < commits {
        return Ok(None);
    }
    let started = Instant::now();
    let mut delta = table.delta.clone();
    delta.state = Some(table.state.clone());
    let runtime = Handle::current();
    // The kernel encodes and waits in place: a blocking thread is the place for that.
    let task = tokio::task::spawn_blocking(move || runtime.block_on(checkpoints::create_checkpoint(&delta, None)));
    let written = task.await.map_err(|error| Error::broken(&table.name, format!("a checkpoint stopped: {error}")))?;
    written.map_err(|error| error::delta(&table.name, "write a checkpoint", error))?;
    metrics::histogram!("playhead_lake_checkpoint_seconds", "table" => table.label.clone())
        .record(started.elapsed().as_secs_f64());
    tracing::info!(table = table.name, version, "checkpoint");
    table.update().await?;
    Ok(Some(version))
}

/// Deletes commits that are older than the table's `delta.logRetentionDuration` and that a checkpoint stands for.
pub(crate) async fn clean_log(table: &Table) -> Result<(), Error> {
    let mut delta = table.delta.clone();
    delta.state = Some(table.state.clone());
    let cleaned = checkpoints::cleanup_metadata(&delta, None).await;
    let deleted = cleaned.map_err(|error| error::delta(&table.name, "clean its log", error))?;
    if deleted > 0 {
        tracing::info!(table = table.name, deleted, "deleted old commits");
    }
    Ok(())
}

/// Version that `_last_checkpoint` names.
pub(crate) async fn last_checkpoint(table: &Table) -> Result<Option<u64>, Error> {
    let doing = "read _last_checkpoint";
    let read = async { table.store.get(&StorePath::from("_delta_log/_last_checkpoint")).await?.bytes().await };
    let bytes = match read.await {
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        read => read.map_err(|error| error::store(&table.name, doing, &error, Missing::Passes))?,
    };
    // Only a hint in the protocol too: one that can't be read means that a new one is due.
    let hint: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    Ok(hint.and_then(|hint| hint.get("version")?.as_u64()))
}
