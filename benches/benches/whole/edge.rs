//! The edge: HTTP to the log.
use super::limits;
use super::load::{Load, Outcome, SATURATION};
use super::roles::{Process, pause};
use super::table::{Fact, Row, Table};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use testbed::kafka::Broker;

const SECONDS: u32 = 10;
const CPU_S: &str = "CPU-s a million events";

/// CPU-seconds a million that serde_json into plain Arrow builders takes of one core, in bodies of a hundred events.
pub fn parsing() -> f64 {
    let events = 400_000;
    let bodies = limits::bodies(events);
    let rows =
        |bodies: &[bytes::Bytes]| bodies.iter().map(|body| limits::parse_to_arrow(body).num_rows()).sum::<usize>();
    rows(&bodies[..500]);
    let before = limits::thread_cpu_s();
    assert_eq!(rows(&bodies), events as usize);
    (limits::thread_cpu_s() - before) * 1e6 / f64::from(events)
}

/// Loads a process and gives what it took of the CPU for a million events.
pub fn cost(process: &Process, load: &Load) -> (f64, Outcome) {
    // The first connections, pages and buffers are not what an event costs.
    Load { seconds: 2, ..*load }.on(process);
    let before = process.usage();
    let outcome = load.on(process);
    let took = process.usage().cpu_s - before.cpu_s;
    (took * 1e6 / outcome.acknowledged, outcome)
}

/// Settings of a role over this broker, with a topic of its own.
pub fn over(broker: &Broker, partitions: u32) -> Vec<(&'static str, String)> {
    static TOPICS: AtomicU32 = AtomicU32::new(0);
    let topic = format!("bench-{}", TOPICS.fetch_add(1, Ordering::Relaxed));
    vec![
        ("PLAYHEAD_KAFKA__BROKERS", broker.bootstrap()),
        ("PLAYHEAD_KAFKA__TOPIC", topic),
        ("PLAYHEAD_KAFKA__PARTITIONS", partitions.to_string()),
    ]
}

pub fn as_text<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

const HUNDRED: Load = Load { events_per_s: SATURATION, batch: 100, connections: 16, seconds: SECONDS };

pub fn kafka(runs: u32, table: &mut Table) {
    let broker = Broker::start();
    let (mut pairs, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = over(&broker, 4);
        let ingest = Process::role("ingest", dir.path(), &as_text(&settings));
        let limit = parsing();
        let (ours, outcome) = cost(&ingest, &HUNDRED);
        pairs.push((limit, ours));
        rates.push(outcome.events_per_s / 1e3);
        ingest.stop();
    }
    let step = "ingest over Kafka, 100 events a request".to_owned();
    table.fact(Fact { what: format!("{step}, at saturation"), unit: "k events/s", values: rates, at_most: None });
    table.row(Row { step, limit: "serde_json to Arrow".into(), unit: CPU_S, pairs, goal: Some(0.6) });
}

pub fn embedded(runs: u32, table: &mut Table) {
    let mut pairs = Vec::new();
    for _ in 0..runs {
        let dir = tempfile::tempdir().expect("a folder");
        let edge = Process::child(&["embedded", &dir.path().join("log").to_string_lossy()]);
        let limit = parsing();
        pairs.push((limit, cost(&edge, &HUNDRED).0));
        edge.stop();
    }
    let step = "edge over the embedded log, 100 events a request".to_owned();
    table.row(Row { step, limit: "serde_json to Arrow".into(), unit: CPU_S, pairs, goal: Some(0.6) });
}

/// One event a request, as players send them.
pub fn one_event_a_request(runs: u32, table: &mut Table) {
    let broker = Broker::start();
    let load = Load { events_per_s: SATURATION / 4, batch: 1, connections: 64, seconds: SECONDS };
    let (mut pairs, mut rates, mut p50, mut p99, mut p999) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = over(&broker, 4);
        let ingest = Process::role("ingest", dir.path(), &as_text(&settings));
        let floor = Process::child(&["204"]);
        let limit = cost(&floor, &load).0;
        let (ours, outcome) = cost(&ingest, &load);
        pairs.push((limit, ours));
        rates.push(outcome.events_per_s / 1e3);
        // At half of saturation: what is there of latency is not the queue's.
        let half = Load { events_per_s: (outcome.events_per_s / 2.0) as u32, ..load };
        let appends = ingest.metric("playhead_ingest_append_seconds_count");
        let began = Instant::now();
        let ours = half.on(&ingest);
        let records_per_s =
            (ingest.metric("playhead_ingest_append_seconds_count") - appends) / began.elapsed().as_secs_f64();
        let floor_ms = half.on(&floor);
        let topic = &settings[1].1;
        let broker_ms = limits::produce(&broker.bootstrap(), topic, records_per_s, SECONDS);
        p50.push((floor_ms.p50_ms + broker_ms.0, ours.p50_ms));
        p99.push((floor_ms.p99_ms + broker_ms.1, ours.p99_ms));
        p999.push((floor_ms.p999_ms + broker_ms.2, ours.p999_ms));
        ingest.stop();
        floor.stop();
        pause(Duration::from_millis(100));
    }
    let step = "ingest over Kafka, 1 event a request, 64 connections".to_owned();
    table.fact(Fact { what: format!("{step}, at saturation"), unit: "k events/s", values: rates, at_most: None });
    table.row(Row { step, limit: "answers 204, reads nothing".into(), unit: CPU_S, pairs, goal: Some(0.7) });
    for (name, pairs, goal) in [("p50", p50, None), ("p99", p99, Some(0.5)), ("p99.9", p999, None)] {
        let step = format!("{name} at half of saturation, 1 event a request");
        table.row(Row { step, limit: "204 server + broker".into(), unit: "ms", pairs, goal });
    }
}
