//! Invariant 4: the lake holds a prefix of one log. A topic that is deleted and made anew is another log, whatever its
//! name and however long: its partitions stop, in words, and nothing of it is written.
use super::cluster::{Cluster, RECOVERY_MAX, SESSION_TIMEOUT_MS, Setup, receipts};
use super::node::{self, pause};
use super::process::Process;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use testbed::kafka::Broker;

const TOPIC_COMMAND: &str = "org.apache.kafka.tools.TopicCommand";
const PARTITIONS: u32 = 2;
/// Records of the former topic that the lake gets, and of the new one: more, so that offsets alone tell nothing.
const FORMER: usize = 20;
const NEW: usize = 60;
/// Records of the former topic that the sink has read and not yet written when the topic dies.
const UNWRITTEN: usize = 5;
/// Long enough that what is read before the topic dies is not written before that.
const FLUSH_AGE_MS: u64 = 6_000;
/// A sink that would write the new topic's records has written them by then.
const TIME_TO_DO_WRONG: Duration = Duration::from_millis(FLUSH_AGE_MS + 2_000);

fn cluster(session_timeout_ms: u64) -> Cluster {
    let shared = Setup::on(Broker::shared().bootstrap());
    Cluster::new(&Setup { partitions: PARTITIONS, session_timeout_ms, flush_age_ms: FLUSH_AGE_MS, ..shared })
}

/// Deletes the topic and makes it anew with the settings that a log needs, by Kafka's own tool.
fn make_anew(cluster: &Cluster) {
    let broker = Broker::shared();
    broker.expect_tool(TOPIC_COMMAND, &["--delete", "--topic", &cluster.topic], "");
    broker.create_topic(&cluster.topic, PARTITIONS, &["message.timestamp.type=LogAppendTime"]);
}

/// Posts one request after the other, each of them a record in each partition; returns the last offset of each.
fn post(ingest: &Process, requests: usize) -> Offsets {
    let mut last = Offsets::new();
    for _ in 0..requests {
        let events: Vec<String> = (0..16).map(|session| node::event(&node::id(), &format!("s{session}"))).collect();
        let (status, body) = ingest.post(&events).expect("an answer");
        assert_eq!(status, 200, "{body}");
        last.extend(receipts(&serde_json::from_str(&body).unwrap()));
    }
    assert_eq!(last.len(), PARTITIONS as usize, "each partition gets records");
    last
}

/// Partition and offset.
type Offsets = BTreeMap<u32, u64>;

/// An ingest that filled the topic, and a sink that has brought all of it to the lake: the last offset of each partition.
fn in_the_lake(cluster: &Cluster) -> (Process, Process, Offsets) {
    let ingest = cluster.ingest("ingest");
    let mut sink = cluster.sink("sink");
    sink.wait_ready(RECOVERY_MAX);
    let last = post(&ingest, FORMER);
    cluster.wait_for_lake(&last.iter().map(|(p, o)| (*p, *o)).collect::<Vec<_>>(), RECOVERY_MAX);
    (ingest, sink, last)
}

/// The topic gets some more records, which the sink reads and can't write any more before the topic is made anew. The
/// last offset of each partition, and what the sink must say of them.
fn die_with_unwritten_records(
    cluster: &Cluster,
    ingest: &mut Process,
    sink: &Process,
    frozen: bool,
    last: &Offsets,
) -> Vec<String> {
    let lost = post(ingest, UNWRITTEN);
    // Read is what the sink's gauge of lag shows.
    let wanted: u64 = lost.iter().map(|(partition, offset)| offset - last[partition]).sum();
    let since = Instant::now();
    while sink.metric("playhead_sink_lag_records") < wanted as f64 {
        assert!(since.elapsed() < Duration::from_millis(FLUSH_AGE_MS / 2), "the sink does not read {wanted} records");
        pause(Duration::from_millis(50));
    }
    if frozen {
        sink.freeze();
    }
    ingest.stop();
    make_anew(cluster);
    ingest.restart();
    ingest.wait_ready(node::READY_MAX);
    let new = post(ingest, NEW);
    assert!(lost.iter().all(|(partition, offset)| new[partition] > *offset), "{lost:?} {new:?}");
    lost.iter()
        .map(|(partition, offset)| format!("records {}..{} of the former log", last[partition] + 1, offset + 1))
        .collect()
}

/// What the lake holds: rows, and the next offset of each partition.
fn held(cluster: &Cluster) -> (Value, Vec<Value>) {
    let status = cluster.status().expect("status");
    let next = status["partitions"].as_array().unwrap().iter().map(|p| p["lake_next"].clone()).collect();
    (status["events"]["rows"].clone(), next)
}

/// The sink says that both partitions stopped, writes nothing, and does not end as if all were well. Its words.
fn assert_stops(cluster: &Cluster, sink: &mut Process, before: &(Value, Vec<Value>)) -> String {
    let words = sink.wait_unready(RECOVERY_MAX, |words| {
        (0..PARTITIONS).all(|partition| words.contains(&format!("partition {partition} stopped")))
    });
    println!("{words}");
    pause(TIME_TO_DO_WRONG);
    assert_eq!(&held(cluster), before, "nothing of the new topic may be written");
    let (code, report) = cluster.audit(&cluster.acked_file(&[]), Duration::ZERO);
    assert_eq!((code, &report["ok"]), (1, &false.into()), "the audit notices it too: {report}");
    println!("audit: {}", report["findings"]);
    sink.assert_alive();
    let ended = sink.end();
    assert!(!ended.success(), "a sink with stopped partitions ended as if all were in the lake");
    words
}

#[test]
fn a_topic_made_anew_while_the_sink_is_stopped_is_noticed_when_it_starts() {
    let cluster = cluster(SESSION_TIMEOUT_MS);
    let (mut ingest, mut sink, last) = in_the_lake(&cluster);
    ingest.stop();
    sink.stop();
    let before = held(&cluster);
    make_anew(&cluster);
    ingest.restart();
    ingest.wait_ready(node::READY_MAX);
    let new = post(&ingest, NEW);
    assert!(last.iter().all(|(partition, offset)| new[partition] > *offset), "{last:?} {new:?}");
    sink.restart();
    let words = assert_stops(&cluster, &mut sink, &before);
    for offset in last.values() {
        assert!(words.contains(&format!("below offset {}", offset + 1)), "{words}");
    }
    ingest.stop();
}

#[test]
fn an_empty_topic_made_anew_while_the_sink_is_stopped_is_noticed_when_it_starts() {
    let cluster = cluster(SESSION_TIMEOUT_MS);
    let (mut ingest, mut sink, _) = in_the_lake(&cluster);
    ingest.stop();
    sink.stop();
    let before = held(&cluster);
    make_anew(&cluster);
    sink.restart();
    assert_stops(&cluster, &mut sink, &before);
}

#[test]
fn a_topic_made_anew_under_a_running_sink_is_noticed_and_what_it_lost_is_named() {
    let cluster = cluster(SESSION_TIMEOUT_MS);
    let (mut ingest, mut sink, last) = in_the_lake(&cluster);
    let before = held(&cluster);
    let lost = die_with_unwritten_records(&cluster, &mut ingest, &sink, false, &last);
    let words = assert_stops(&cluster, &mut sink, &before);
    assert!(lost.iter().all(|range| words.contains(range)), "{lost:?} in {words}");
    ingest.stop();
}

#[test]
fn a_longer_topic_made_anew_while_the_sink_looked_away_is_noticed_before_anything_is_written() {
    // A session longer than the pause: the sink stays in its group and is told nothing, and where it reads on there are
    // records already.
    let cluster = cluster(45_000);
    let (mut ingest, mut sink, last) = in_the_lake(&cluster);
    let before = held(&cluster);
    let lost = die_with_unwritten_records(&cluster, &mut ingest, &sink, true, &last);
    sink.thaw();
    let words = assert_stops(&cluster, &mut sink, &before);
    assert!(lost.iter().all(|range| words.contains(range)), "{lost:?} in {words}");
    ingest.stop();
}
