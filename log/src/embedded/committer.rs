//! The one thread that writes. It takes whatever appends wait, of all partitions, writes them as one batch, fsyncs
//! once, shows them to readers, and answers them; meanwhile the next group gathers.
//!
//! After a write or fsync that failed nothing is known of the disk any more (a second fsync may succeed over lost
//! pages: Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020): the log stops, and says so.
use super::core::Core;
use super::layout;
use super::partition::{Segment, Tail};
use super::queue::{Append, Drop as Dropped, Group, Keep};
use super::store::{Commit, Store};
use crate::AppendError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tracing::error;

/// Runs until the log is closed or stops.
pub(super) fn run(core: &Arc<Core>) {
    let _answer = AnswerAll(core);
    while let Some(group) = core.queue.take() {
        let done = match group {
            Group::Appends(appends) => commit_appends(core, appends),
            Group::Keep(keep) => commit_keep(core, keep),
        };
        if let Err(reason) = done {
            stop(core, &reason);
            return;
        }
    }
    if core.queue.stopped().is_none()
        && let Err(reason) = commit(core, |commit| write_releases(core, commit))
    {
        stop(core, &reason);
    }
}

/// Whatever ends the thread, a panic too: nobody waits for an answer for ever.
struct AnswerAll<'a>(&'a Core);

impl Drop for AnswerAll<'_> {
    fn drop(&mut self) {
        let reason = if std::thread::panicking() { "committer has panicked" } else { "log is closed" };
        self.0.queue.stop(reason);
        self.0.changed();
    }
}

fn stop(core: &Core, reason: &str) {
    error!(
        topic = core.topic,
        reason, "the log has stopped: a write or fsync failed, so nothing more is acknowledged; restart the process"
    );
    core.queue.stop(reason);
    core.changed();
}

/// Writes and fsyncs; an error says why the log must stop.
fn commit(core: &Core, write: impl FnOnce(&mut Commit<'_>)) -> Result<(), String> {
    let store = core.store.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    let Some(store) = store.as_ref() else { return Err("log is closed".into()) };
    store.wait_for_room().map_err(|reason| format!("{} can't take more: {reason}", core.dir))?;
    let started = Instant::now();
    let mut commit = Store::commit(store);
    write(&mut commit);
    commit.sync().map_err(|error| format!("write to {} failed: {error}", core.dir))?;
    metrics::histogram!("playhead_log_fsync_seconds", "topic" => core.topic.clone())
        .record(started.elapsed().as_secs_f64());
    Ok(())
}

/// What a group makes of one partition.
struct Staged {
    tail: Tail,
    closed: Vec<Segment>,
}

fn commit_appends(core: &Core, appends: Vec<Append>) -> Result<(), String> {
    let now = core.clock.now();
    let mut staged: BTreeMap<u32, Staged> = BTreeMap::new();
    let mut replies = Vec::with_capacity(appends.len());
    let committed = commit(core, |commit| {
        for Append { partition, record, bytes, reply } in appends {
            let stage = staged
                .entry(partition)
                .or_insert_with(|| Staged { tail: core.partition(partition).tail(), closed: Vec::new() });
            let (offset, timestamp, closed) = stage.tail.append(now, bytes);
            commit.record(partition, offset, layout::encode_record(timestamp, &record));
            if let Some(segment) = closed {
                commit.meta(layout::segment_key(partition, segment.start), layout::encode_segment(&segment));
                stage.closed.push(segment);
            }
            replies.push((reply, offset));
        }
    });
    if let Err(reason) = committed {
        for (reply, _) in replies {
            let _gone = reply.send(Err(AppendError::Stopped(reason.clone())));
        }
        return Err(reason);
    }
    for (partition, Staged { tail, closed }) in staged {
        let end = {
            let mut state = core.partition(partition);
            state.extend(tail, closed);
            state.bounds().end
        };
        core.gauge_end(partition, end);
    }
    core.changed();
    metrics::counter!("playhead_log_append_records_total", "topic" => core.topic.clone())
        .increment(replies.len() as u64);
    for (reply, offset) in replies {
        let _gone = reply.send(Ok(offset));
    }
    core.gauge_bytes();
    Ok(())
}

fn write_releases(core: &Core, commit: &mut Commit<'_>) {
    for (reader, offsets) in super::lock(&core.releases).iter() {
        for (partition, &offset) in offsets.iter().enumerate().filter(|(_, offset)| **offset > 0) {
            commit.meta(layout::release_key(partition as u32, reader), layout::encode_release(offset));
        }
    }
}

fn commit_keep(core: &Core, keep: Keep) -> Result<(), String> {
    let mut after = Vec::with_capacity(keep.drops.len());
    let committed = commit(core, |commit| {
        write_releases(core, commit);
        for Dropped { partition, start, bytes } in &keep.drops {
            let mut state = core.partition(*partition).clone();
            let (gone, cut) = state.drop_below(*start, *bytes);
            commit.meta(layout::start_key(*partition), layout::encode_start(*start, state.newest()));
            gone.into_iter().for_each(|segment| commit.remove_meta(layout::segment_key(*partition, segment)));
            if let Some(segment) = cut {
                commit.meta(layout::segment_key(*partition, segment.start), layout::encode_segment(&segment));
            }
            after.push((*partition, state));
        }
    });
    if let Err(reason) = committed {
        let _gone = keep.reply.send(Err(AppendError::Stopped(reason.clone())));
        return Err(reason);
    }
    for (partition, state) in after {
        *core.partition(partition) = state;
    }
    core.queue.free(keep.drops.iter().map(|dropped| dropped.bytes).sum());
    core.changed();
    core.gauge_bytes();
    let _gone = keep.reply.send(Ok(()));
    Ok(())
}
