//! What keeps the tables: replay, compaction, and commits of a table that was committed to ten thousand times.
use super::limits::thread_cpu_s;
use super::load::{Load, Outcome, SATURATION};
use super::roles::{Process, binary};
use super::table::{Fact, Row, Table};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, Int32Array, Int64Array, PrimitiveArray, RecordBatch, StringArray, new_null_array};
use datafusion::arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use lake::location::Location;
use lake::table::{Commit, Outcome as Committed, Table as DeltaTable};
use lake::upkeep::{Options, Upkeep};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const WITHOUT_ROLLUPS: [(&str, &str); 1] = [("PLAYHEAD_ROLLUP_DEFAULTS", "false")];
/// Of the order of compacted files.
const HOUR_US: i64 = 3_600_000_000;
const UNIT: &str = "CPU-s a million events";

/// Two million events: the sink's way into an empty lake beside a replay of all, then their compaction beside its bare work.
pub fn replay_and_compaction(runs: u32, table: &mut Table) {
    let (mut replays, mut compactions) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let dir = tempfile::tempdir().expect("a folder");
        let up = Process::role("up", dir.path(), &WITHOUT_ROLLUPS);
        let load = Load { events_per_s: 100_000, batch: 100, connections: 8, seconds: 20 };
        let events = load.on(&up).acknowledged;
        up.wait_metric("playhead_sink_rows_total", events);
        up.stop();
        std::fs::remove_dir_all(dir.path().join("data/lake")).expect("the lake");
        let up = Process::role("up", dir.path(), &WITHOUT_ROLLUPS);
        up.wait_metric("playhead_sink_rows_total", events);
        let sink = up.usage().cpu_s * 1e6 / events;
        up.stop();
        replays.push((sink, command(dir.path(), &["replay", "--all"]) * 1e6 / events));
        let files = parquet_files(&dir.path().join("data/lake/events"));
        let before = thread_cpu_s();
        read_sort_write(&files, &dir.path().join("sorted.parquet"));
        let bare = (thread_cpu_s() - before) * 1e6 / events;
        compactions.push((bare, command(dir.path(), &["compact"]) * 1e6 / events));
    }
    let row = |step: &str, limit: &str, pairs, goal| Row {
        step: step.into(),
        limit: limit.into(),
        unit: UNIT,
        pairs,
        goal: Some(goal),
    };
    table.row(row("replay of all, embedded log", "`up` without load, the lake empty", replays, 0.8));
    table.row(row("compaction", "read, sort, write of the same files, in memory", compactions, 0.6));
}

/// A command on this folder's data.
pub fn playhead(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("--data").arg(dir.join("data")).args(arguments).envs(WITHOUT_ROLLUPS).current_dir(dir);
    command
}

/// CPU-seconds that a command takes.
fn command(dir: &Path, arguments: &[&str]) -> f64 {
    let before = children_cpu_s();
    let status = playhead(dir, arguments).stdout(Stdio::null()).status().expect("it runs");
    assert!(status.success(), "{arguments:?}: {status}");
    children_cpu_s() - before
}

/// What a saturated node takes by itself, and while the same two million events are replayed again and again.
pub fn live_beside_replay(runs: u32, table: &mut Table) {
    let mut pairs = Vec::new();
    for run in 0..runs {
        let dir = tempfile::tempdir().expect("a folder");
        let up = Process::role("up", dir.path(), &WITHOUT_ROLLUPS);
        let mut held = Load { events_per_s: 100_000, batch: 100, connections: 8, seconds: 20 }.on(&up).acknowledged;
        up.wait_metric("playhead_sink_rows_total", held);
        let until = now();
        let load = Load { events_per_s: SATURATION, batch: 100, connections: 8, seconds: 15 };
        let (mut alone, mut beside) = (0.0, 0.0);
        // Every other run the other way round, since the lake grows.
        for with_replay in if run % 2 == 0 { [false, true] } else { [true, false] } {
            let taken = if with_replay { beside_replays(dir.path(), &until, &up, &load) } else { load.on(&up) };
            *(if with_replay { &mut beside } else { &mut alone }) = taken.events_per_s;
            held += taken.acknowledged;
            up.wait_metric("playhead_sink_rows_total", held);
        }
        up.stop();
        pairs.push((1e6 / alone, 1e6 / beside));
    }
    table.row(Row {
        step: "events taken at saturation beside a replay".into(),
        limit: "without one".into(),
        unit: "s a million events",
        pairs,
        goal: Some(0.7),
    });
}

/// This moment as a command takes it.
#[allow(clippy::disallowed_methods, reason = "a bench has no clock that it is given")]
fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A load while what the log took before a moment is replayed again and again.
fn beside_replays(dir: &Path, until: &str, up: &Process, load: &Load) -> Outcome {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                command(dir, &["replay", "--from-time", "2026-01-01", "--to-time", until]);
            }
        });
        // By then it has begun.
        std::thread::park_timeout(Duration::from_secs(2));
        let taken = load.on(up);
        is_over.store(true, Ordering::Relaxed);
        taken
    })
}

/// Runs a command to its end; its memory at most, MB.
pub fn peak_of(dir: &Path, arguments: &[&str]) -> f64 {
    let mut child = playhead(dir, arguments).stdout(Stdio::null()).spawn().expect("it runs");
    let mut peak_kb = 0.0_f64;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        peak_kb = peak_kb.max(peak.unwrap_or(0.0));
        if let Some(status) = child.try_wait().expect("it ends") {
            assert!(status.success(), "{arguments:?}: {status}");
            return peak_kb * 1024.0 / 1e6;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// User and system time of children that have ended: fields 16 and 17 of proc(5).
pub fn children_cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this process");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse::<f64>().expect("a number"));
    ticks.sum::<f64>() / 100.0
}

fn parquet_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("_delta_log") {
            files.extend(parquet_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path);
        }
    }
    files
}

/// What a compaction can't do without: on one thread, all of it in memory, without a search for copies.
fn read_sort_write(files: &[PathBuf], into: &Path) {
    let mut batches: Vec<RecordBatch> = Vec::new();
    for file in files {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).expect("a file")).expect("Parquet");
        batches.extend(reader.build().expect("a reader").map(|batch| batch.expect("rows")));
    }
    let schema = batches[0].schema();
    let rows = concat_batches(&schema, &batches).expect("rows");
    drop(batches);
    let column = |name: &str| rows.column_by_name(name).expect(name).clone();
    let times = column("event_time").as_primitive::<TimestampMicrosecondType>().unary(|time| time / HOUR_US);
    let hours: PrimitiveArray<Int64Type> = times;
    let order = [column("content_id"), Arc::new(hours), column("session_id"), column("event_time")];
    let order = order.map(|values| SortColumn { values, options: None });
    let order = lexsort_to_indices(&order, None).expect("an order");
    let sorted = take_record_batch(&rows, &order).expect("sorted rows");
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("a level")))
        .set_max_row_group_row_count(Some(256 << 10))
        .build();
    let mut writer =
        ArrowWriter::try_new(File::create(into).expect("a file"), schema, Some(properties)).expect("a writer");
    writer.write(&sorted).expect("rows are written");
    writer.close().expect("a file");
}

/// Ten thousand commits of a small file each, as sinks make them in a day, with upkeep beside.
pub fn commits(_runs: u32, table: &mut Table) {
    const COMMITS: usize = 10_000;
    const BETWEEN_PASSES: usize = 5;
    let dir = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let took_ms: Vec<f64> = runtime.block_on(async {
        let location = Location::Local(dir.path().join("events"));
        let spec = lake::tables::events(4, 1_000_000);
        let mut written = DeltaTable::open_or_create(&location, &spec).await.expect("a table");
        let mut kept = DeltaTable::open(&location).await.expect("a table").expect("a table");
        let mut upkeep = Upkeep::new(Options::default());
        let mut took_ms = Vec::new();
        for number in 0..COMMITS {
            let values = BTreeMap::from([("event_date".to_owned(), Some("2026-11-22".to_owned()))]);
            let rows = row(&written, number as i64);
            let file = written.write_file(values, vec![vec![rows]]).await.expect("a file");
            let commit = Commit { adds: vec![file], data_change: true, ..Commit::default() };
            let since = Instant::now();
            let outcome = written.commit(&commit).await.expect("a commit");
            took_ms.push(since.elapsed().as_secs_f64() * 1e3);
            assert!(matches!(outcome, Committed::Committed { .. }));
            if number % BETWEEN_PASSES == 0 {
                // Ten seconds a commit.
                upkeep.pass(&mut kept, 1_795_305_600_000 + 10_000 * number as i64).await.expect("a pass");
            }
        }
        took_ms
    });
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&took_ms[..100]), mean(&took_ms[COMMITS - 100..]));
    let fact = |what: &str, unit, value, at_most| Fact { what: what.into(), unit, values: vec![value], at_most };
    table.fact(fact("a commit, mean of the first hundred of 10,000", "ms", first, None));
    table.fact(fact("the last hundred beside them, with upkeep", "times", last / first, Some(1.5)));
}

/// One row; all that may be null is.
fn row(table: &DeltaTable, offset: i64) -> RecordBatch {
    let schema = table.data_schema();
    let column = |field: &arrow_schema::FieldRef| -> ArrayRef {
        let of = |array: ArrayRef| datafusion::arrow::compute::cast(&array, field.data_type()).expect("a column");
        match field.name().as_str() {
            "_partition" => Arc::new(Int32Array::from(vec![0])),
            "_offset" => Arc::new(Int64Array::from(vec![offset])),
            _ if field.is_nullable() => new_null_array(field.data_type(), 1),
            "event_id" | "event_type" | "tenant_id" | "_topic" => {
                of(Arc::new(StringArray::from(vec!["0123456789abcdef"])))
            }
            _ => of(Arc::new(Int64Array::from(vec![1]))),
        }
    };
    let columns: Vec<ArrayRef> = schema.fields().iter().map(column).collect();
    RecordBatch::try_new(schema.clone(), columns).expect("a row")
}
