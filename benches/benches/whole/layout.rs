//! A hundred million events, as a sink leaves them and compacted: what "one title, one day" reads, and what a compaction takes.
//!
//! A few million events of the audience come through `up`, half an hour of it in a minute; the rest are these again, written
//! straight into the table: other ids, sessions, viewers and offsets, on one half hour of a day after the other, the same titles,
//! devices and figures.
use super::maintenance::{WITHOUT_ROLLUPS, children_cpu_s, peak_of, playhead};
use super::roles::{Process, binary};
use super::setting;
use super::table::{Fact, Table};
use arrow_array::builder::BinaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use futures::TryStreamExt;
use lake::location::Location;
use lake::table::{ActiveFile, Commit, Outcome, Table as DeltaTable};
use lake::tables::DAY_US;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

/// The events lie on so many days.
const DAYS: i64 = 4;
/// How much faster than its clock the audience lives.
const SPEED: i64 = 30;
/// Time of the audience in which nearly all of it comes, by its clock.
const LOAD_US: i64 = 90_000_000;
/// From one copy of a day to the next: longer than the load is at the speed of clocks.
const SLOT_US: i64 = SPEED * LOAD_US;

/// `BENCH_EVENTS` (default 100 million) events.
pub fn one_title_one_day(_runs: u32, table: &mut Table) {
    let wanted: u64 = setting("BENCH_EVENTS").unwrap_or(100_000_000);
    let dir = tempfile::tempdir().expect("a folder");
    let began_us = audience(dir.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let lake = dir.path().join("data/lake/events");
    let url = format!("file://{}", lake.display());
    let location = Location::parse(&url, &BTreeMap::default()).expect("a location");
    let (rows, day) = runtime.block_on(multiplied(&location, wanted, began_us));
    let fact = |what: String, unit, value, at_most| Fact { what, unit, values: vec![value], at_most };
    let bytes_an_event = || runtime.block_on(bytes(&location)) as f64 / rows as f64;
    table.fact(fact(format!("{rows} events as flushed"), "bytes an event", bytes_an_event(), None));
    let titles = titles(dir.path(), &day);
    let engines: [(&str, Engine); 2] = [("playhead sql", read), ("DuckDB", read_by_duckdb)];
    let all = engines.iter().flat_map(|engine| titles.iter().map(move |title| (engine, title)));
    let before: Vec<Read> = all.clone().map(|((_, read), title)| read(dir.path(), &day, title)).collect();
    let (since, cpu_s) = (Instant::now(), children_cpu_s());
    let peak_mb = peak_of(dir.path(), &["compact"]);
    table.fact(fact("their compaction".into(), "events/s", rows as f64 / since.elapsed().as_secs_f64(), None));
    let cpu_s = (children_cpu_s() - cpu_s) * 1e6 / rows as f64;
    table.fact(fact("its CPU".into(), "s a million events", cpu_s, None));
    table.fact(fact("its memory at most".into(), "MB", peak_mb, Some(800.0)));
    table.fact(fact("compacted".into(), "bytes an event", bytes_an_event(), Some(36.0)));
    for (((engine, read), title), before) in all.zip(before) {
        let after = read(dir.path(), &day, title);
        assert_eq!(after.rows, before.rows, "{title}");
        let what =
            format!("bytes that {engine} reads for a title of {} events on one day, of those unsorted", after.rows);
        table.fact(fact(what, "%", 100.0 * after.bytes / before.bytes, Some(5.0)));
        table.fact(fact("the time of that, before".into(), "ms", before.ms, None));
        table.fact(fact("after".into(), "ms", after.ms, None));
    }
}

/// Some two million events; when they began.
#[allow(clippy::disallowed_methods, reason = "a bench")]
fn audience(dir: &Path) -> i64 {
    let began_us = chrono::Utc::now().timestamp_micros();
    let up = Process::role("up", dir, &WITHOUT_ROLLUPS);
    let mut load = Command::new(binary());
    load.args([
        "load",
        "--url",
        &format!("http://{}", up.listen),
        "--viewers",
        "20000",
        "--speed",
        &SPEED.to_string(),
        "--seconds",
        "60",
    ]);
    assert!(load.status().expect("a load").success());
    up.stop();
    began_us
}

/// Adds the table's rows again and again, each time as others, until there are so many; how many there are, and a day of them.
async fn multiplied(location: &Location, wanted: u64, began_us: i64) -> (u64, String) {
    let mut table = DeltaTable::open(location).await.expect("a table").expect("a table");
    let all = table.files().await.expect("files");
    let mut random = StdRng::seed_from_u64(7);
    let of_day = |file: &ActiveFile| file.partition_values.get("event_date").cloned().flatten();
    let day = all.iter().filter_map(of_day).max().expect("a date");
    // Late events of other days are few, and stay as they are.
    let (base, late): (Vec<_>, Vec<_>) = all.into_iter().partition(|file| of_day(file).as_ref() == Some(&day));
    let mut rows: u64 = late.iter().filter_map(|file| file.rows).sum();
    for copy in 1_i64.. {
        if rows >= wanted {
            break;
        }
        let mut commit = Commit { data_change: true, ..Commit::default() };
        for file in &base {
            let batches = table.read_file(&file.path, None).await.expect("a file");
            let batches: Vec<RecordBatch> = batches.try_collect().await.expect("rows");
            let other = batches.iter().map(|batch| others(batch, copy, began_us, &mut random)).collect();
            let mut values = file.partition_values.clone();
            let date = values.get_mut("event_date").and_then(Option::as_mut).expect("a date");
            let parsed: chrono::NaiveDate = date.parse().expect("a date");
            *date = (parsed - chrono::Days::new((copy % DAYS).unsigned_abs())).to_string();
            commit.adds.push(table.write_file(values, vec![other]).await.expect("a file"));
            rows += file.rows.unwrap_or(0);
        }
        assert!(matches!(table.commit(&commit).await.expect("a commit"), Outcome::Committed { .. }));
    }
    // Those of the load itself lie in a minute.
    let commit = Commit { removes: base, data_change: true, ..Commit::default() };
    assert!(matches!(table.commit(&commit).await.expect("a commit"), Outcome::Committed { .. }));
    (rows, day)
}

/// A time of the audience on the day and in the half hour of the copy, at the speed of clocks.
fn at_us(time_us: i64, copy: i64, began_us: i64) -> i64 {
    let since_us = time_us - began_us;
    let midnight_us = time_us - time_us.rem_euclid(DAY_US) - copy % DAYS * DAY_US;
    let of_day_us = match (0..LOAD_US).contains(&since_us) {
        true => copy / DAYS * SLOT_US + since_us * SPEED,
        // Late.
        false => time_us,
    };
    midnight_us + of_day_us.rem_euclid(DAY_US)
}

/// The rows as those of other sessions, at another time.
fn others(rows: &RecordBatch, copy: i64, began_us: i64, random: &mut StdRng) -> RecordBatch {
    let column = |(field, column): (&arrow_schema::FieldRef, &ArrayRef)| -> ArrayRef {
        match field.name().as_str() {
            "event_id" => {
                let mut ids = BinaryBuilder::with_capacity(column.len(), 16 * column.len());
                let mut id = [0; 16];
                for _ in 0..column.len() {
                    random.fill_bytes(&mut id);
                    ids.append_value(id);
                }
                Arc::new(ids.finish())
            }
            "session_id" | "viewer_id" => {
                let of =
                    |text: Option<&str>| text.map(|text| format!("{copy:02x}{}", text.get(2..).unwrap_or_default()));
                Arc::new(column.as_string::<i32>().iter().map(of).collect::<StringArray>())
            }
            "event_time" | "sent_at" | "received_at" => {
                let times = column.as_primitive::<TimestampMicrosecondType>();
                let times: TimestampMicrosecondArray =
                    times.iter().map(|time| time.map(|time| at_us(time, copy, began_us))).collect();
                Arc::new(times.with_timezone("UTC"))
            }
            "_offset" => {
                let offsets = column.as_primitive::<Int64Type>();
                Arc::new(offsets.iter().map(|offset| offset.map(|at| at + copy * 1_000_000)).collect::<Int64Array>())
            }
            _ => column.clone(),
        }
    };
    let columns = rows.schema().fields().iter().zip(rows.columns()).map(column).collect();
    RecordBatch::try_new(rows.schema(), columns).expect("rows of the same shape")
}

async fn bytes(location: &Location) -> u64 {
    let table = DeltaTable::open(location).await.expect("a table").expect("a table");
    table.files().await.expect("files").iter().map(|file| file.bytes).sum()
}

fn sql(dir: &Path, statement: &str) -> String {
    let output = playhead(dir, &["sql", "--format", "csv", statement]).output().expect("an answer");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The title with the second most events, the one with the hundred and first most, and the one in the middle.
fn titles(dir: &Path, day: &str) -> Vec<String> {
    let statement = format!(
        "select content_id from events where event_date = '{day}' and content_id is not null group by content_id \
         order by count(*) desc, content_id"
    );
    let all: Vec<String> = sql(dir, &statement).lines().skip(1).map(str::to_owned).collect();
    [1, 100, all.len() / 2].map(|at| all[at].clone()).to_vec()
}

/// Reads one title of one day of the lake in a folder.
type Engine = fn(&Path, &str, &str) -> Read;

/// Of `playhead sql` with the start of its process and the table's log, which DuckDB's bytes are without.
struct Read {
    rows: u64,
    bytes: f64,
    ms: f64,
}

/// What a dashboard of one title asks for.
fn read(dir: &Path, day: &str, title: &str) -> Read {
    let (before, since) = (read_chars(), Instant::now());
    let statement = format!(
        "select count(*), count(distinct session_id), avg(bitrate_kbps) from events where event_date = '{day}' and content_id = '{title}'"
    );
    let answer = sql(dir, &statement);
    let ms = since.elapsed().as_secs_f64() * 1e3;
    let rows = answer.lines().nth(1).and_then(|line| line.split(',').next()?.parse().ok());
    Read { rows: rows.expect("a count"), bytes: read_chars() - before, ms }
}

/// The same of a reader that isn't ours.
fn read_by_duckdb(dir: &Path, day: &str, title: &str) -> Read {
    let python: PathBuf = setting("VENV_PYTHON").expect("VENV_PYTHON: run scripts/bench");
    let lake = dir.join("data/lake/events");
    let mut command = Command::new(python);
    command.args(["-c", include_str!("one_title.py")]).arg(lake).args([day, title]);
    let output = command.output().expect("an answer");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let figures: Vec<f64> = text.split_whitespace().map(|figure| figure.parse().expect("a figure")).collect();
    Read { rows: figures[0] as u64, bytes: figures[1], ms: figures[2] }
}

/// Bytes that children which have ended had read, from whatever cache: `rchar` of proc(5) holds them too.
fn read_chars() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("this process");
    let chars = io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse::<f64>().ok());
    chars.expect("rchar")
}
