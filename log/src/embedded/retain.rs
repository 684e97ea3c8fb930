//! Retention: plans what may go, makes the new starts durable, then gives the disk space back.
//!
//! The order matters: releases and starts are fsynced before the first byte is dropped, so that a crash in between
//! leaves records that are below the start, never a start without its records.
use super::core::Core;
use super::layout;
use super::queue::Drop;
use super::store::Store;
use crate::retention::{Expired, Held};
use crate::{AppendError, ReadError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Runs retention once; one at a time.
pub(super) async fn run(core: &Arc<Core>) -> Result<(), ReadError> {
    let _one = core.retention.lock().await;
    let plan = blocking(core, |core| core.with_store(|store| plan(core, store))).await?;
    let kept = core.queue.keep(plan).map_err(unavailable)?.await;
    kept.map_err(|_| unavailable(AppendError::Stopped("log is closed".into())))?.map_err(unavailable)?;
    blocking(core, |core| core.with_store(|store| drop_tables(core, store))).await
}

fn unavailable(error: AppendError) -> ReadError {
    ReadError::Unavailable(format!("nothing was dropped: {error}"))
}

async fn blocking<T: Send + 'static>(
    core: &Arc<Core>,
    work: impl FnOnce(&Core) -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    let core = core.clone();
    let done = tokio::task::spawn_blocking(move || work(&core)).await;
    done.map_err(|error| ReadError::Corrupt(format!("retention panicked: {error}")))?
}

/// What may go now.
fn plan(core: &Core, store: &Store) -> Result<Vec<Drop>, ReadError> {
    let releases = super::lock(&core.releases).clone();
    let shown = (0..core.count()).map(|partition| {
        let state = core.partition(partition);
        let end = state.bounds().end;
        let floor = releases.values().map(|offsets| offsets[partition as usize]).min().unwrap_or(end).min(end);
        let (closed, next) = state.closed_below(floor);
        drop(state);
        // Whole segments while they last; single records only where a floor lies within one, that is at most once.
        let whole = closed
            .into_iter()
            .map(|segment| Ok(Held { offset: segment.end - 1, timestamp: segment.newest, bytes: segment.bytes }));
        whole.chain(store.values(partition, next..floor.max(next)).map(move |value| held(partition, value?)))
    });
    let mut drops: BTreeMap<u32, Drop> = BTreeMap::new();
    for expired in Expired::new(core.rule, core.clock.now(), core.queue.used_bytes(), shown) {
        let (partition, held) = expired?;
        let dropped = drops.entry(partition).or_insert(Drop { partition, start: 0, bytes: 0 });
        dropped.start = held.offset + 1;
        dropped.bytes += held.bytes;
    }
    Ok(drops.into_values().collect())
}

fn held(partition: u32, (offset, value): (u64, fjall::UserValue)) -> Result<Held, ReadError> {
    let timestamp = layout::timestamp_of_value(&value)
        .map_err(|reason| ReadError::Corrupt(format!("partition {partition}, offset {offset}: {reason}")))?;
    Ok(Held { offset, timestamp, bytes: layout::stored_bytes_of_value(&value) })
}

/// Drops tables that are below their partition's start. A table that reaches beyond it goes with a later start.
fn drop_tables(core: &Core, store: &Store) -> Result<(), ReadError> {
    let failed =
        |error: fjall::Error| ReadError::Unavailable(format!("dropped records still take disk space: {error}"));
    let mut some = false;
    for partition in 0..core.count() {
        some |= store.drop_tables_below(partition, core.bounds(partition).start).map_err(failed)?;
    }
    if some {
        store.delete_dropped_files().map_err(failed)?;
    }
    let disk_bytes = store.disk_bytes().map_err(failed)?;
    metrics::gauge!("playhead_log_disk_bytes", "topic" => core.topic.clone()).set(disk_bytes as f64);
    Ok(())
}
