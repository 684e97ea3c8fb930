//! The processor's metrics. Names are a promise to dashboards; units are in the names.
use crate::fold::{Fold, WindowRows};
use crate::kept::Counted;
use crate::rollup::Definition;
use event::clock::Micros;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::time::Duration;
use tokio::time::Instant;

const EVENTS: &str = "playhead_processor_events_total";
const DUPLICATES: &str = "playhead_processor_duplicates_total";
const LATE: &str = "playhead_processor_late_events_total";
const BEYOND: &str = "playhead_processor_beyond_events_total";
const FAILED: &str = "playhead_processor_failed_values_total";
const OTHER: &str = "playhead_processor_groups_as_other_total";
const CLOSED: &str = "playhead_processor_windows_closed_total";
const ROWS: &str = "playhead_processor_rows_total";
const LATE_WINDOWS: &str = "playhead_processor_late_windows";
const LATE_ENDED: &str = "playhead_processor_late_windows_ended_total";
const CORRECTED: &str = "playhead_processor_windows_corrected_total";
const CORRECTIONS_FAILED: &str = "playhead_processor_corrections_failed_total";
const DAYS: &str = "playhead_processor_days_total";
const DAYS_FAILED: &str = "playhead_processor_days_failed_total";
const SUPERSEDED: &str = "playhead_processor_superseded_total";
const WINDOWS_CUT: &str = "playhead_processor_dedup_windows_cut_total";
const LAG: &str = "playhead_processor_lag_records";
const LAG_SECONDS: &str = "playhead_processor_lag_seconds";
const SHOWN: &str = "playhead_processor_shown_seconds";
const CLOSE_DELAY: &str = "playhead_processor_close_delay_seconds";
const CLOSED_TO: &str = "playhead_processor_closed_to_seconds";
const WATERMARK: &str = "playhead_processor_watermark_seconds";
const OPEN: &str = "playhead_processor_open_windows";
const GROUPS: &str = "playhead_processor_open_groups";
const BYTES: &str = "playhead_processor_open_bytes";

/// Says what each metric is, and begins the counters at 0: one that appears with its first value has not grown to Prometheus.
pub(crate) fn describe(rollups: &[Definition]) {
    for rollup in rollups {
        for name in [LATE, BEYOND, FAILED, OTHER, CLOSED, ROWS, CORRECTED, LATE_ENDED, DAYS, DAYS_FAILED] {
            counter!(name, "rollup" => rollup.name.clone()).increment(0);
        }
    }
    for name in [EVENTS, DUPLICATES, SUPERSEDED, WINDOWS_CUT, CORRECTIONS_FAILED] {
        counter!(name).increment(0);
    }
    describe_counter!(EVENTS, "Events read that are no copies");
    describe_counter!(
        DUPLICATES,
        "Events passed over because their id was among the previous rows of the dedup window"
    );
    describe_counter!(LATE, "Events of windows that had been closed before they came, once a window");
    describe_counter!(
        BEYOND,
        "Events of windows that were not kept open because too many were: counted when their window is corrected"
    );
    describe_gauge!(
        LATE_WINDOWS,
        "Windows of the rollup that wait to be computed from events: late events came for them, or they are filled in"
    );
    describe_counter!(
        LATE_ENDED,
        "Windows that late events came for after retention had ended their date: not computed again"
    );
    describe_counter!(CORRECTED, "Windows computed again from the table events, since late events had come for them");
    describe_counter!(
        CORRECTIONS_FAILED,
        "Tries to correct late windows that failed for another reason than a lake that does not answer"
    );
    describe_counter!(FAILED, "Values that are null because their expression failed on the event or the group");
    describe_counter!(OTHER, "Groups that were put together as (other) because a window had too many");
    describe_counter!(CLOSED, "Windows whose rows were committed");
    describe_counter!(ROWS, "Rows committed to the rollup's table");
    describe_counter!(DAYS, "Days put together of their windows, a day once more after each correction");
    describe_counter!(
        DAYS_FAILED,
        "Tries to put days together that failed for another reason than a lake that does not answer"
    );
    describe_counter!(SUPERSEDED, "Times that reading began again because another processor had committed");
    describe_counter!(WINDOWS_CUT, "Dedup windows that could not be rebuilt whole: retention had dropped their start");
    describe_gauge!(LAG, "Records of the partition that were not read yet, as its end said last");
    describe_gauge!(
        LAG_SECONDS,
        "Age of the newest record that was read of the partition while there is more, since it was received; else 0"
    );
    describe_histogram!(SHOWN, "Age of the oldest record that a look shows for the first time, since it was received");
    describe_histogram!(
        CLOSE_DELAY,
        "From when a window was due (its end and the allowed lateness) to the commit of its rows"
    );
    describe_gauge!(WATERMARK, "Up to when the rollup's events are taken for complete, since 1970");
    describe_gauge!(
        CLOSED_TO,
        "W of the rollup: windows that end at or before it are in its table, since 1970; told by who closes them"
    );
    describe_gauge!(OPEN, "Windows of the rollup that are open");
    describe_gauge!(GROUPS, "Groups in the rollup's open windows");
    describe_gauge!(BYTES, "Memory that the rollup's open windows take");
}

/// A record was read.
pub(crate) fn read(events: usize, duplicates: u64) {
    counter!(EVENTS).increment(events as u64);
    counter!(DUPLICATES).increment(duplicates);
}

/// A rollup took a record.
pub(crate) fn counted(rollup: &str, counted: Counted) {
    let Counted { late, failed, beyond, new: _ } = counted;
    // Nearly always none: a label is a string that is made.
    if beyond > 0 {
        counter!(BEYOND, "rollup" => rollup.to_owned()).increment(beyond);
    }
    if late > 0 {
        counter!(LATE, "rollup" => rollup.to_owned()).increment(late);
    }
    if failed > 0 {
        counter!(FAILED, "rollup" => rollup.to_owned()).increment(failed);
    }
}

/// Days of a rollup were computed.
pub(crate) fn days(rollup: &str, days: usize) {
    counter!(DAYS, "rollup" => rollup.to_owned()).increment(days as u64);
}

/// They could not be.
pub(crate) fn days_failed(rollup: &str) {
    counter!(DAYS_FAILED, "rollup" => rollup.to_owned()).increment(1);
}

/// What a rollup holds now.
pub(crate) fn open(rollup: &str, fold: &Fold, watermark_us: i64) {
    let label = || rollup.to_owned();
    if watermark_us > i64::MIN {
        gauge!(WATERMARK, "rollup" => label()).set(watermark_us as f64 / 1e6);
    }
    gauge!(OPEN, "rollup" => label()).set(fold.windows() as f64);
    gauge!(GROUPS, "rollup" => label()).set(fold.held() as f64);
    gauge!(BYTES, "rollup" => label()).set(fold.bytes() as f64);
}

/// W of a rollup was committed.
pub(crate) fn closed_to(rollup: &str, watermark_us: i64) {
    if watermark_us > i64::MIN {
        gauge!(CLOSED_TO, "rollup" => rollup.to_owned()).set(watermark_us as f64 / 1e6);
    }
}

/// Windows of a rollup were committed now; each was due at its end and the lateness.
pub(crate) fn closed(rollup: &str, windows: &[WindowRows], allowed_lateness: Duration, now: Micros) {
    let due = |window: &WindowRows| window.end_us.saturating_add(allowed_lateness.as_micros() as i64);
    windows.iter().for_each(|window| histogram!(CLOSE_DELAY).record(seconds(now - due(window))));
    let label = || rollup.to_owned();
    let sum = |of: fn(&WindowRows) -> u64| windows.iter().map(of).sum::<u64>();
    counter!(CLOSED, "rollup" => label()).increment(windows.len() as u64);
    counter!(ROWS, "rollup" => label()).increment(sum(|window| window.rows.num_rows() as u64));
    counter!(OTHER, "rollup" => label()).increment(sum(|window| window.grouped_as_other));
    counter!(FAILED, "rollup" => label()).increment(sum(|window| window.failed));
}

fn seconds(us: Micros) -> f64 {
    us.max(0) as f64 / 1e6
}

/// How far a partition's end is away, which was reached or has just moved on.
pub(crate) fn lag(partition: u32, records: u64) {
    gauge!(LAG, "partition" => partition.to_string()).set(records as f64);
    if records == 0 {
        lag_seconds(partition, 0);
    }
}

/// How old the newest record is that was read of a partition that has more.
pub(crate) fn lag_seconds(partition: u32, age: Micros) {
    gauge!(LAG_SECONDS, "partition" => partition.to_string()).set(seconds(age));
}

/// A rollup is shown, with events of which the oldest is this old; `None`: no new ones.
pub(crate) fn shown(age: Option<Micros>) {
    if let Some(age) = age {
        histogram!(SHOWN).record(seconds(age));
    }
}

/// A dedup window is short.
pub(crate) fn window_cut() {
    counter!(WINDOWS_CUT).increment(1);
}

/// Another processor was first.
pub(crate) fn superseded() {
    counter!(SUPERSEDED).increment(1);
}

/// A window of a date that has ended is not corrected.
pub(crate) fn late_windows_ended(rollup: &str) {
    counter!(LATE_ENDED, "rollup" => rollup.to_owned()).increment(1);
}

/// Windows of a rollup wait for a correction.
pub(crate) fn late_windows(rollup: &str, windows: usize) {
    gauge!(LATE_WINDOWS, "rollup" => rollup.to_owned()).set(windows as f64);
}

/// Windows of a rollup were corrected.
pub(crate) fn corrected(rollup: &str, windows: usize, rows: &[WindowRows]) {
    let label = || rollup.to_owned();
    counter!(CORRECTED, "rollup" => label()).increment(windows as u64);
    counter!(OTHER, "rollup" => label()).increment(rows.iter().map(|window| window.grouped_as_other).sum());
    counter!(FAILED, "rollup" => label()).increment(rows.iter().map(|window| window.failed).sum());
}

/// A try to correct failed.
pub(crate) fn correction_failed() {
    counter!(CORRECTIONS_FAILED).increment(1);
}

/// Something that is told once when it lasts.
#[derive(Default)]
pub(crate) struct Lasting {
    /// Since when it holds; and whether that was told.
    since: Option<(Instant, bool)>,
}

impl Lasting {
    /// Whether it has held for so long, and was not told yet.
    pub(crate) fn is_to_be_told(&mut self, holds: bool, most: Duration) -> bool {
        if !holds {
            self.since = None;
            return false;
        }
        let (since, is_told) = self.since.get_or_insert((Instant::now(), false));
        since.elapsed() >= most && !std::mem::replace(is_told, true)
    }
}
