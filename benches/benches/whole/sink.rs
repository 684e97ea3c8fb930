//! The sink: the log to Parquet.
use super::edge::{as_text, over};
use super::limits;
use super::load::Load;
use super::roles::Process;
use super::table::{Fact, Row, Table};
use std::path::Path;
use testbed::kafka::Broker;

/// Brings a topic that is full into a fresh lake, run by run.
pub fn drains(runs: u32, table: &mut Table) {
    let broker = Broker::start();
    let dir = tempfile::tempdir().expect("a folder");
    let settings = over(&broker, 4);
    let ingest = Process::role("ingest", dir.path(), &as_text(&settings));
    let load = Load { events_per_s: 100_000, batch: 100, connections: 8, seconds: 20 };
    let events = load.on(&ingest).acknowledged;
    ingest.stop();
    let records = limits::records(&broker.bootstrap(), &settings[1].1);
    let batches = limits::batches(&records);
    let in_log: usize = records.iter().map(event::record::Record::bytes).sum();
    let (mut pairs, mut in_lake) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let dir = tempfile::tempdir().expect("a folder");
        let before = limits::thread_cpu_s();
        limits::write_parquet(&batches);
        let limit = (limits::thread_cpu_s() - before) * 1e6 / events;
        pairs.push((limit, drain(&settings, dir.path(), events)));
        in_lake.push(parquet_bytes(&dir.path().join("lake/events")) / events);
    }
    let step = "sink from Kafka to a lake on disk, from its start".to_owned();
    table.row(Row {
        step,
        limit: "ArrowWriter, zstd-1".into(),
        unit: "CPU-s a million events",
        pairs,
        goal: Some(0.6),
    });
    let fact = |what: &str, values, at_most| Fact { what: what.into(), unit: "bytes an event", values, at_most };
    table.fact(fact("in the log, every id random", vec![in_log as f64 / events], Some(130.0)));
    table.fact(fact("in the lake, every id random", in_lake, None));
}

/// CPU-seconds a million that a sink takes to bring a topic of so many events into the lake at `dir`.
pub fn drain(settings: &[(&'static str, String)], dir: &Path, events: f64) -> f64 {
    let lake = lake_url(dir);
    let mut settings = as_text(settings);
    settings.push(("PLAYHEAD_LAKE__URL", &lake));
    let sink = Process::role("sink", dir, &settings);
    sink.wait_metric("playhead_sink_rows_total", events);
    let cpu_s = sink.usage().cpu_s;
    sink.stop();
    cpu_s * 1e6 / events
}

/// The lake in that folder.
pub fn lake_url(dir: &Path) -> String {
    format!("file://{}", dir.join("lake").display())
}

/// Bytes of the Parquet files below a folder.
fn parquet_bytes(folder: &Path) -> f64 {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let bytes = |path: std::path::PathBuf| match path.is_dir() {
        true => parquet_bytes(&path),
        false if path.extension().is_some_and(|extension| extension == "parquet") => {
            std::fs::metadata(&path).expect("a file").len() as f64
        }
        false => 0.0,
    };
    entries.map(bytes).sum()
}
