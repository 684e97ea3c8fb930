//! Invariant 5: through SIGKILLs under load, with events that come late, a rollup is what its SQL gives over `events`.
use super::node::{self, audit, pause, playhead, result, with_settings};
use super::roles::eventually;
use super::rounds::random;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use lake::location::Location;
use lake::table::Table;
use rand::Rng;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use testbed::scratch;

const WINDOW_US: i64 = 2_000_000;
const KILLS: u32 = 5;
/// Late events between two kills.
const LATE: u32 = 20;
/// A load ends this long after it is told to.
const LOAD_END_MAX: Duration = Duration::from_secs(120);

/// Windows of [`WINDOW_US`].
pub const TYPES: &str = r#"
[[rollup]]
name = "types"
window = "2s"
allowed_lateness = "1s"
sql = "select event_type, count(*) as n from events group by event_type"
"#;

/// By start of the window (µs) and event type.
pub type Counts = BTreeMap<(i64, String), i64>;

async fn rows(table: &Path) -> Vec<RecordBatch> {
    let Some(table) = Table::open(&Location::Local(table.to_owned())).await.unwrap() else { return Vec::new() };
    let mut rows = Vec::new();
    for file in table.files().await.unwrap() {
        let batches = table.read_file(&file.path, None).await.unwrap();
        rows.extend(batches.try_collect::<Vec<RecordBatch>>().await.unwrap());
    }
    rows
}

fn times<'a>(batch: &'a RecordBatch, column: &str) -> impl Iterator<Item = i64> + 'a {
    batch.column_by_name(column).unwrap().as_primitive::<TimestampMicrosecondType>().values().iter().copied()
}

fn texts<'a>(batch: &'a RecordBatch, column: &str) -> impl Iterator<Item = String> + 'a {
    batch.column_by_name(column).unwrap().as_string::<i32>().iter().map(|text| text.unwrap().to_owned())
}

/// The SQL's answer over the table of events.
pub async fn of_events(lake: &Path) -> Counts {
    let mut counts = Counts::new();
    for batch in rows(&lake.join("events")).await {
        for (time, event_type) in times(&batch, "event_time").zip(texts(&batch, "event_type")) {
            *counts.entry((time.div_euclid(WINDOW_US) * WINDOW_US, event_type)).or_default() += 1;
        }
    }
    counts
}

/// What readers of the rollup take: of each window the newest revision; and which that is.
pub async fn of_rollup(lake: &Path) -> (Counts, BTreeMap<i64, i32>) {
    let mut all = BTreeMap::<(i64, i32), Counts>::new();
    for batch in rows(&lake.join("rollups/types")).await {
        let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>();
        let numbers = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>();
        let keys = times(&batch, "window_start").zip(texts(&batch, "event_type"));
        for (row, (start, event_type)) in keys.enumerate() {
            let revision = all.entry((start, revisions.value(row))).or_default();
            let twice = revision.insert((start, event_type), numbers.value(row));
            assert_eq!(twice, None, "a group stands twice in one revision");
        }
    }
    let newest: BTreeMap<i64, i32> = all.keys().copied().collect();
    (all.into_iter().filter(|((start, of), _)| newest[start] == *of).flat_map(|(_, counts)| counts).collect(), newest)
}

/// Windows that wait to be corrected.
pub async fn waiting(lake: &Path) -> usize {
    rows(&lake.join("late_windows")).await.iter().map(RecordBatch::num_rows).sum()
}

#[test]
fn killed_at_random_moments_while_events_come_late_the_newest_revisions_are_what_the_sql_gives_over_the_events() {
    let mut random = random("rollups killed");
    let temp = tempfile::tempdir().unwrap();
    let (data, acked) = (temp.path().join("data"), temp.path().join("acked.txt"));
    let ports = [scratch::port(), scratch::port()];
    let [listen, admin] = ports.each_ref().map(scratch::Port::address);
    let mut node = node::start(with_settings(&data, TYPES), &listen, &admin);
    let mut load = playhead(&data);
    // An audience whose batches are doubled and bad now and then.
    load.args(["load", "--json", "--viewers", "2000", "--speed", "20", "--batch", "20", "--seconds", "86400"]);
    load.args(["--url", &format!("http://{listen}"), "--acked"]).arg(&acked);
    let load = node::spawn(&load);
    for round in 0..KILLS {
        pause(Duration::from_millis(random.random_range(500..3_000)));
        for number in 0..LATE {
            let back_s = random.random_range(3..30);
            let event = json!({"event_type": "seek", "session_id": format!("late-{round}-{number}"),
                               "event_time": node::now_ms() as u64 - back_s * 1_000});
            assert_eq!(node.post("application/json", event.to_string().as_bytes()).0, 200);
        }
        pause(Duration::from_millis(random.random_range(0..1_500)));
        node.kill();
        node = node::start(with_settings(&data, TYPES), &listen, &admin);
    }
    pause(Duration::from_secs(2));
    node::signal(load.id(), "INT");
    let (_, report) = result(&load.output(LOAD_END_MAX).expect("the load's end"));
    println!("load: {report}");
    assert!(report["acknowledged"].as_u64().unwrap() > 1_000, "{report}");

    let (code, beside) = audit(&data, Some(&acked));
    assert_eq!((code, &beside["pending"]), (0, &0.into()), "{beside}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lake = data.join("lake");
    let wanted = runtime.block_on(of_events(&lake));
    let revisions = eventually("every window is closed and corrected", || {
        let (held, revisions) = runtime.block_on(of_rollup(&lake));
        (held == wanted).then_some(revisions)
    });
    println!("{} windows, by revision: {:?}", revisions.len(), revisions.values());
    assert!(revisions.values().any(|revision| *revision > 1), "some were corrected: {revisions:?}");
    eventually("nothing waits for a correction", || (runtime.block_on(waiting(&lake)) == 0).then_some(()));

    let mut again = with_settings(&data, TYPES);
    // What was corrected again and again waits longer each time: a window that never was.
    let (start_us, _) = revisions.iter().rfind(|(_, revision)| **revision == 1).unwrap();
    let time = |us: i64| chrono::DateTime::from_timestamp_micros(us).unwrap().to_rfc3339();
    again.args(["replay", "--table", "rollups/types", "--wait", "--json"]);
    again.args(["--from-time", &time(*start_us), "--to-time", &time(start_us + WINDOW_US)]);
    let (code, report) = result(&node::output(&again));
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["windows"], 1, "{report}");
    let (held, revisions) = runtime.block_on(of_rollup(&lake));
    assert_eq!((held == wanted, revisions[start_us]), (true, 2), "it waited until the window was computed");
    node.stop();
}
