//! The sink's metrics. Names are a promise to dashboards; units are in the names.
use crate::flush::Totals;
use event::clock::Micros;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::time::Duration;

const ROWS: &str = "playhead_sink_rows_total";
const DUPLICATES: &str = "playhead_sink_duplicates_total";
const DEAD_LETTERS: &str = "playhead_sink_dead_letters_total";
const FLUSH_SECONDS: &str = "playhead_sink_flush_seconds";
const FLUSH_ROWS: &str = "playhead_sink_flush_rows";
const FLUSH_BYTES: &str = "playhead_sink_flush_bytes";
const LAG: &str = "playhead_sink_lag_records";
const LAG_SECONDS: &str = "playhead_sink_lag_seconds";
const ASSIGNED: &str = "playhead_sink_partitions_assigned";
const ASSIGNMENTS: &str = "playhead_sink_assignments_total";
const REVOCATIONS: &str = "playhead_sink_revocations_total";
const COMMITTED: &str = "playhead_sink_committed_offset";
const FRESHNESS: &str = "playhead_sink_freshness_seconds";
const SUPERSEDED: &str = "playhead_sink_superseded_total";
const WINDOWS_CUT: &str = "playhead_sink_dedup_windows_cut_total";
const STOPPED: &str = "playhead_sink_partitions_stopped";

/// Says what each metric is, and begins the counters at 0: a counter that appears with its first value has not grown to
/// Prometheus.
pub(crate) fn describe() {
    for name in [ROWS, DUPLICATES, DEAD_LETTERS, ASSIGNMENTS, REVOCATIONS, SUPERSEDED, WINDOWS_CUT] {
        counter!(name).increment(0);
    }
    describe_counter!(ROWS, "Rows committed to events");
    describe_counter!(DUPLICATES, "Rows dropped because their id was among the previous rows of the dedup window");
    describe_counter!(DEAD_LETTERS, "Rows and records that could not be decoded, committed to dead_letters");
    describe_histogram!(FLUSH_SECONDS, "Time from sealing the buffers to the commit of events");
    describe_histogram!(FLUSH_ROWS, "Rows of one flush");
    describe_histogram!(FLUSH_BYTES, "Memory that the rows of one flush took");
    describe_gauge!(LAG, "Records of the partition that are not in the lake yet; 0 where it is another sink's");
    describe_gauge!(
        LAG_SECONDS,
        "Age of the oldest record of the partition that is not in the lake yet; 0 when all are, and where it is another \
         sink's"
    );
    describe_gauge!(ASSIGNED, "Partitions that are this sink's");
    describe_counter!(ASSIGNMENTS, "Partitions given to this sink");
    describe_counter!(REVOCATIONS, "Partitions taken from this sink; what it had read of them is read again by others");
    describe_gauge!(COMMITTED, "Last offset of the partition that events holds");
    describe_gauge!(FRESHNESS, "Age of the newest committed row at its commit, since it was received");
    describe_counter!(SUPERSEDED, "Flushes thrown away because another sink had committed the same partitions");
    describe_counter!(WINDOWS_CUT, "Dedup windows that could not be rebuilt whole: retention had dropped their start");
    describe_gauge!(STOPPED, "Partitions that stopped and wait for an operator");
}

/// One commit.
pub(crate) fn committed(totals: Totals, bytes: usize, took: Duration) {
    counter!(ROWS).increment(totals.rows);
    counter!(DUPLICATES).increment(totals.duplicates);
    counter!(DEAD_LETTERS).increment(totals.dead_letters);
    histogram!(FLUSH_SECONDS).record(took.as_secs_f64());
    histogram!(FLUSH_ROWS).record(totals.rows as f64);
    histogram!(FLUSH_BYTES).record(bytes as f64);
}

/// Partitions were given to this sink, which has so many now.
pub(crate) fn assigned(more: usize, all: usize) {
    counter!(ASSIGNMENTS).increment(more as u64);
    gauge!(ASSIGNED).set(all as f64);
}

/// Partitions were taken from this sink, which has so many now.
pub(crate) fn revoked(fewer: usize, all: usize) {
    counter!(REVOCATIONS).increment(fewer as u64);
    gauge!(ASSIGNED).set(all as f64);
}

/// The newest committed row is this old.
pub(crate) fn freshness(age: Micros) {
    gauge!(FRESHNESS).set(age as f64 / 1e6);
}

/// A partition's position.
pub(crate) fn position(partition: u32, last: u64) {
    gauge!(COMMITTED, "partition" => partition.to_string()).set(last as f64);
}

/// A partition's lag, in records and in time.
pub(crate) fn lag(partition: u32, records: u64, age: Micros) {
    gauge!(LAG, "partition" => partition.to_string()).set(records as f64);
    gauge!(LAG_SECONDS, "partition" => partition.to_string()).set(age as f64 / 1e6);
}

/// A compare-and-swap was lost.
pub(crate) fn superseded() {
    counter!(SUPERSEDED).increment(1);
}

/// A window is short.
pub(crate) fn window_cut() {
    counter!(WINDOWS_CUT).increment(1);
}

/// Partitions that stopped.
pub(crate) fn stopped(partitions: usize) {
    gauge!(STOPPED).set(partitions as f64);
}
