//! What an event costs as what is around it grows: partitions, connections, files of the table.
//!
//! The limit of each row is the same step with the least number, of the same run.
use super::edge::{as_text, cost, over};
use super::load::Load;
use super::roles::{Process, pause};
use super::sink::{drain, lake_url};
use super::table::{Row, Table};
use lake::location::Location;
use lake::table::{Commit, DataFile, Outcome, Table as DeltaTable};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use testbed::kafka::Broker;

/// An event may cost so much more where the number is largest.
const GROWTH_MAX: f64 = 1.5;

const PARTITIONS: u32 = 64;
const CONNECTIONS: u32 = 10_000;
const FILES: usize = 20_000;
/// Larger than what upkeep merges: files of a table that is in order.
const FILE_BYTES: u64 = 100 << 20;

fn row(table: &mut Table, step: &str, limit: &str, pairs: Vec<(f64, f64)>) {
    table.row(Row {
        step: step.into(),
        limit: limit.into(),
        unit: "CPU-s a million events",
        pairs,
        goal: Some(1.0 / GROWTH_MAX),
    });
}

/// Ingest and sink with one partition and with many, at a rate that both keep.
pub fn partitions(runs: u32, table: &mut Table) {
    let broker = Broker::start();
    // More clients than there are requests under way: with few, each waiting for its answer, they are the bound.
    let load = Load { events_per_s: 100_000, batch: 100, connections: 256, seconds: 10 };
    let mut pairs = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let [one, many] = [1, PARTITIONS].map(|partitions| {
            let dir = tempfile::tempdir().expect("a folder");
            let settings = over(&broker, partitions);
            let ingest = Process::role("ingest", dir.path(), &as_text(&settings));
            let (edge, outcome) = cost(&ingest, &load);
            let events = ingest.metric("playhead_ingest_events_total");
            assert!(outcome.acknowledged <= events);
            ingest.stop();
            (edge, drain(&settings, dir.path(), events))
        });
        pairs.0.push((one.0, many.0));
        pairs.1.push((one.1, many.1));
    }
    row(table, &format!("ingest over Kafka, {PARTITIONS} partitions"), "1 partition", pairs.0);
    row(table, &format!("sink from Kafka, {PARTITIONS} partitions"), "1 partition", pairs.1);
}

/// Ingest with one connection and with ten thousand that take turns, at the same rate.
pub fn connections(runs: u32, table: &mut Table) {
    /// Nearly each connection has had its first request after so long.
    const OPENING_S: u32 = 25;
    const MEASURED_S: u32 = 10;
    let broker = Broker::start();
    let load = |connections| Load { events_per_s: 10_000, batch: 10, connections, seconds: OPENING_S + MEASURED_S + 2 };
    let mut pairs = Vec::new();
    for _ in 0..runs {
        let dir = tempfile::tempdir().expect("a folder");
        let ingest = Process::role("ingest", dir.path(), &as_text(&over(&broker, 4)));
        let measure = |connections: u32| {
            std::thread::scope(|scope| {
                let loading = scope.spawn(|| load(connections).on(&ingest));
                pause(Duration::from_secs(OPENING_S.into()));
                let open = ingest.metric("playhead_ingest_connections");
                assert!(open >= 0.99 * f64::from(connections), "{open} of {connections} are open: raise `ulimit -n`");
                let (events, cpu_s) = (ingest.metric("playhead_ingest_events_total"), ingest.usage().cpu_s);
                pause(Duration::from_secs(MEASURED_S.into()));
                let events = ingest.metric("playhead_ingest_events_total") - events;
                let cost = (ingest.usage().cpu_s - cpu_s) * 1e6 / events;
                loading.join().expect("a load");
                cost
            })
        };
        pairs.push((measure(1), measure(CONNECTIONS)));
        ingest.stop();
    }
    row(table, "ingest over Kafka, 10,000 connections, 10 events a request", "1 connection", pairs);
}

/// The sink into an empty table, and into one of many files.
pub fn files(runs: u32, table: &mut Table) {
    let broker = Broker::start();
    let mut pairs = Vec::new();
    for _ in 0..runs {
        let dirs = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
        let settings = over(&broker, 4);
        let ingest = Process::role("ingest", dirs[0].path(), &as_text(&settings));
        // The tables are the topic's, made by a sink that found nothing in it.
        for dir in &dirs {
            let lake = lake_url(dir.path());
            let mut settings = as_text(&settings);
            settings.push(("PLAYHEAD_LAKE__URL", &lake));
            Process::role("sink", dir.path(), &settings).stop();
        }
        let load = Load { events_per_s: 100_000, batch: 100, connections: 8, seconds: 15 };
        let events = load.on(&ingest).acknowledged;
        ingest.stop();
        fill(&dirs[1].path().join("lake/events"));
        let [few, many] = dirs.each_ref().map(|dir| drain(&settings, dir.path(), events));
        pairs.push((few, many));
    }
    row(table, "sink from Kafka, 20,000 files in the table", "an empty table", pairs);
}

/// Commits many files to the table in that folder. They are of their size, and hold nothing: nobody reads them.
fn fill(folder: &Path) {
    const FILES_OF_COMMIT: usize = 1_000;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut table = DeltaTable::open(&Location::Local(folder.to_owned())).await.expect("a table").expect("a table");
        for commit in 0..FILES / FILES_OF_COMMIT {
            let adds = (0..FILES_OF_COMMIT).map(|file| hollow_file(folder, commit * FILES_OF_COMMIT + file)).collect();
            let commit = Commit { adds, data_change: true, ..Commit::default() };
            let outcome = table.commit(&commit).await.expect("a commit");
            assert!(matches!(outcome, Outcome::Committed { .. }));
        }
    });
}

fn hollow_file(folder: &Path, number: usize) -> DataFile {
    // A month of dates, over by now.
    let date = format!("2026-10-{:02}", 1 + number % 31);
    let path = format!("event_date={date}/part-{number:05}.zstd.parquet");
    let file = folder.join(&path);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    std::fs::File::create(&file).and_then(|file| file.set_len(FILE_BYTES)).expect("a file");
    DataFile {
        path,
        partition_values: BTreeMap::from([("event_date".to_owned(), Some(date))]),
        bytes: FILE_BYTES,
        rows: 1_000_000,
        oldest_ms: None,
        stats: r#"{"numRecords":1000000}"#.to_owned(),
    }
}
