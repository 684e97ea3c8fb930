//! What maintenance tells.
use crate::compaction::Compacted;
use std::time::Duration;

/// Describes the metrics, each present from the start.
pub fn describe() {
    for name in [RUNS, ROWS, COPIES, FAILURES, EXPIRED] {
        metrics::counter!(name).increment(0);
    }
}

/// Compactions that were committed.
const RUNS: &str = "playhead_maintenance_compactions_total";
/// Rows in the files that they wrote.
const ROWS: &str = "playhead_maintenance_compacted_rows_total";
/// Copies that they removed.
const COPIES: &str = "playhead_maintenance_copies_removed_total";
/// Tries that came to nothing: the log says why.
const FAILURES: &str = "playhead_maintenance_failures_total";
/// How long they took, seconds.
const SECONDS: &str = "playhead_maintenance_compaction_seconds";
/// Bytes of files that lie unsorted.
const UNSORTED: &str = "playhead_maintenance_unsorted_bytes";

/// Rows whose dates retention ended.
const EXPIRED: &str = "playhead_maintenance_expired_rows_total";

pub(crate) fn compacted(done: &Compacted, took: Duration) {
    metrics::counter!(RUNS).increment(1);
    metrics::counter!(ROWS).increment(done.rows);
    metrics::counter!(COPIES).increment(done.copies);
    metrics::histogram!(SECONDS).record(took.as_secs_f64());
}

pub(crate) fn expired(rows: u64) {
    metrics::counter!(EXPIRED).increment(rows);
}

pub(crate) fn failed() {
    metrics::counter!(FAILURES).increment(1);
}

pub(crate) fn unsorted(bytes: u64) {
    metrics::gauge!(UNSORTED).set(bytes as f64);
}
