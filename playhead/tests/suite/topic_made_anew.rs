//! Invariant 4: the lake holds a prefix of one log. A topic that is deleted and made anew is another log, whatever its
//! name and however long: its partitions stop, in words, and nothing of it is written.
use super::cluster::{Cluster, RECOVERY_MAX, SESSION_TIMEOUT_MS, Setup, receipts};
use super::node::{self, pause};
use super::process::Process;
use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use testbed::kafka::Broker;

const PARTITIONS: u32 = 2;
/// Records of the former topic that the lake gets, and of the new one: more, so that offsets alone tell nothing.
const FORMER: usize = 20;
const NEW: usize = 60;
/// Records of the former topic that the sink has read and not yet written when the topic dies.
const UNWRITTEN: usize = 5;
/// Of the cluster: soon.
const FLUSH_AGE_MS: u64 = 1_000;
/// Of a sink under which the topic dies: what it has read by then is not written before, and its flush, where it asks the
/// log whether it is the same one, comes well within [`RECOVERY_MAX`].
const FLUSH_AGE_LATER_MS: u64 = 25_000;
/// A sink that would write the new topic's records has written them by then, or does at its end.
const TIME_TO_DO_WRONG: Duration = Duration::from_millis(FLUSH_AGE_MS + 2_000);

fn cluster(session_timeout_ms: u64) -> Cluster {
    let shared = Setup::on(Broker::shared().bootstrap());
    Cluster::new(&Setup { partitions: PARTITIONS, session_timeout_ms, flush_age_ms: FLUSH_AGE_MS, ..shared })
}

/// Deletes the topic and makes it anew with the settings that a log needs.
fn make_anew(cluster: &Cluster) {
    let bootstrap = Broker::shared().bootstrap();
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let limits = AdminOptions::new().request_timeout(Some(RECOVERY_MAX)).operation_timeout(Some(RECOVERY_MAX));
    let deleted = block_on(admin.delete_topics(&[&cluster.topic], &limits)).unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    let partitions = i32::try_from(PARTITIONS).unwrap();
    let topic = NewTopic::new(&cluster.topic, partitions, TopicReplication::Fixed(1));
    let topic = topic.set("message.timestamp.type", "LogAppendTime");
    let made = block_on(admin.create_topics([&topic], &limits)).unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
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

/// Another sink in the place of one that has nothing to write.
fn that_flushes_later(cluster: &Cluster, mut sink: Process) -> Process {
    sink.stop();
    let age = [("PLAYHEAD_SINK__FLUSH_AGE_MS", &*FLUSH_AGE_LATER_MS.to_string())];
    let mut sink = cluster.sink_with("sink-that-waits", &age);
    sink.wait_ready(RECOVERY_MAX);
    sink
}

/// The topic gets some more records, which the sink reads and does not write yet. The last offset of each partition.
fn read_and_not_written(ingest: &Process, sink: &Process, last: &Offsets) -> Offsets {
    let lost = post(ingest, UNWRITTEN);
    // Read is what the sink's gauge of lag shows.
    let wanted: u64 = lost.iter().map(|(partition, offset)| offset - last[partition]).sum();
    let since = Instant::now();
    while sink.metric("playhead_sink_lag_records") < wanted as f64 {
        assert!(since.elapsed() < RECOVERY_MAX, "the sink does not read {wanted} records");
        pause(Duration::from_millis(50));
    }
    lost
}

/// The topic dies, and the new one is longer. What the sink must say of the records that it has lost.
fn die_with(lost: &Offsets, cluster: &Cluster, ingest: &mut Process, last: &Offsets) -> Vec<String> {
    ingest.stop();
    make_anew(cluster);
    ingest.restart();
    ingest.wait_ready(RECOVERY_MAX);
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
    assert_eq!(&held(cluster), before, "nothing of the new topic may be written at the end");
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
    ingest.wait_ready(RECOVERY_MAX);
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
    let (mut ingest, sink, last) = in_the_lake(&cluster);
    let mut sink = that_flushes_later(&cluster, sink);
    let before = held(&cluster);
    let lost = read_and_not_written(&ingest, &sink, &last);
    let lost = die_with(&lost, &cluster, &mut ingest, &last);
    let words = assert_stops(&cluster, &mut sink, &before);
    assert!(lost.iter().all(|range| words.contains(range)), "{lost:?} in {words}");
    ingest.stop();
}

#[test]
fn a_longer_topic_made_anew_while_the_sink_looked_away_is_noticed_before_anything_is_written() {
    // A session longer than the pause: the sink stays in its group and is told nothing, and where it reads on there are
    // records already.
    let cluster = cluster(120_000);
    let (mut ingest, sink, last) = in_the_lake(&cluster);
    let mut sink = that_flushes_later(&cluster, sink);
    let before = held(&cluster);
    let lost = read_and_not_written(&ingest, &sink, &last);
    let frozen = Instant::now();
    sink.freeze();
    let lost = die_with(&lost, &cluster, &mut ingest, &last);
    // It wakes within its session, and with its flush due.
    pause(Duration::from_millis(FLUSH_AGE_LATER_MS).saturating_sub(frozen.elapsed()));
    sink.thaw();
    let words = assert_stops(&cluster, &mut sink, &before);
    assert!(lost.iter().all(|range| words.contains(range)), "{lost:?} in {words}");
    ingest.stop();
}
