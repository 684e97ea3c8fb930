//! What comes after its window was closed: marked, then corrected from the table of events.
use crate::audit::audited;
use crate::harness::{Harness, NOON, SECOND, TOPIC, eventually, rollup};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use lake::upkeep::Pace;
use log::memory;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

pub const BY_DEVICE: &str = "select device_type, count(*) as n from events group by device_type";

pub fn event(id: u128, seconds: i64, device: &str) -> Value {
    json!({"event_id": Uuid::from_u128(id), "event_type": "heartbeat", "event_time": (NOON + seconds * SECOND) / 1_000,
           "session_id": "s", "device_type": device})
}

/// One revision of one window: its groups, and of what it was computed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Revision {
    pub groups: BTreeMap<String, i64>,
    pub positions: BTreeMap<u32, u64>,
}

/// By start of the window (seconds after noon) and number.
pub async fn revisions(harness: &Harness, name: &str) -> BTreeMap<(i64, i32), Revision> {
    let mut revisions = BTreeMap::<(i64, i32), Revision>::new();
    for batch in harness.rows(name).await {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let starts = column("window_start").as_primitive::<TimestampMicrosecondType>();
        let numbers = column("revision").as_primitive::<Int32Type>();
        for row in 0..batch.num_rows() {
            let at = ((starts.value(row) - NOON) / SECOND, numbers.value(row));
            let revision = revisions.entry(at).or_default();
            let device = column("device_type").as_string::<i32>().value(row).to_owned();
            let n = column("n").as_primitive::<Int64Type>().value(row);
            assert_eq!(revision.groups.insert(device, n), None, "a group stands twice in a revision");
            let positions = column("positions").as_map().value(row);
            let partitions = positions.column(0).as_primitive::<Int32Type>().values().iter();
            let next = positions.column(1).as_primitive::<Int64Type>().values().iter();
            revision.positions = partitions.zip(next).map(|(at, next)| (*at as u32, *next as u64)).collect();
        }
    }
    revisions
}

/// What a reader takes: of each window the highest revision.
pub async fn newest(harness: &Harness, name: &str) -> BTreeMap<i64, BTreeMap<String, i64>> {
    revisions(harness, name).await.into_iter().map(|((start, _), revision)| (start, revision.groups)).collect()
}

pub fn groups(of: &[(&str, i64)]) -> BTreeMap<String, i64> {
    of.iter().map(|(device, n)| ((*device).to_owned(), *n)).collect()
}

pub async fn becomes(harness: &Harness, name: &str, wanted: &BTreeMap<i64, BTreeMap<String, i64>>) {
    let all_there = async || {
        let newest = newest(harness, name).await;
        wanted.iter().all(|(start, groups)| newest.get(start) == Some(groups))
    };
    eventually("the newest revisions are right", all_there).await;
}

#[tokio::test]
async fn a_window_that_gets_late_events_is_written_whole_as_a_later_revision() {
    let harness = Harness::new(2, vec![rollup("devices", BY_DEVICE)]);
    let (running, sink) = (harness.start(), harness.start_sink(5));
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 2, "web"), event(3, 11, "tv")]).await;
    harness.produce(1, &[event(4, 11, "tv")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 1), ("web", 1)]))])).await;
    harness.produce(1, &[event(5, 3, "tv"), event(6, 4, "mobile")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 2), ("web", 1), ("mobile", 1)]))])).await;
    eventually("nothing is marked any more", async || harness.marks().await == 0).await;
    let revisions = revisions(&harness, "devices").await;
    assert_eq!(
        revisions[&(0, 1)].groups,
        groups(&[("tv", 1), ("web", 1)]),
        "the first revision stays for who cited it"
    );
    assert!(revisions[&(0, 2)].positions[&1] >= 2, "it says of what it was computed");
    running.stop().await;
    sink.stop().await;
}

#[tokio::test]
async fn late_events_wait_marked_until_the_lake_has_them_also_through_a_kill() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE), rollup("others", BY_DEVICE)]);
    let running = harness.start();
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 11, "tv")]).await;
    becomes(&harness, "others", &BTreeMap::from([(0, groups(&[("tv", 1)]))])).await;
    harness.produce(0, &[event(3, 2, "tv")]).await;
    eventually("it is marked for both", async || harness.marks().await == 2).await;
    harness.at(21);
    harness.produce(0, &[event(4, 21, "tv")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(10, groups(&[("tv", 1)]))])).await;
    running.kill().await;
    assert_eq!(newest(&harness, "devices").await[&0], groups(&[("tv", 1)]), "the lake had no events yet");
    let (running, sink) = (harness.start(), harness.start_sink(5));
    for name in ["devices", "others"] {
        becomes(&harness, name, &BTreeMap::from([(0, groups(&[("tv", 2)]))])).await;
    }
    eventually("nothing is marked any more", async || harness.marks().await == 0).await;
    running.stop().await;
    sink.stop().await;
}

#[tokio::test]
async fn a_lake_that_has_the_late_event_but_not_all_that_was_counted_corrects_nothing() {
    let mut harness = Harness::new(2, vec![rollup("devices", BY_DEVICE)]);
    let running = harness.start();
    harness.at(11);
    let (whole, behind) = (harness.log.clone(), memory::Log::new(TOPIC, 2, harness.clock.clone()));
    for log in [&whole, &behind] {
        harness.log = log.clone();
        harness.produce(0, &[event(1, 1, "tv"), event(2, 11, "tv")]).await;
    }
    harness.log = whole.clone();
    harness.produce(1, &[event(3, 2, "web"), event(4, 11, "web")]).await;
    let counted = groups(&[("tv", 1), ("web", 1)]);
    becomes(&harness, "devices", &BTreeMap::from([(0, counted.clone())])).await;
    for log in [&whole, &behind] {
        harness.log = log.clone();
        harness.produce(0, &[event(5, 3, "tv")]).await;
    }
    let sink = harness.start_sink(5);
    eventually("it is marked", async || harness.marks().await == 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(newest(&harness, "devices").await[&0], counted, "the lake has nothing of partition 1");
    sink.stop().await;
    harness.log = whole;
    let sink = harness.start_sink(5);
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 2), ("web", 1)]))])).await;
    assert_eq!(revisions(&harness, "devices").await.len(), 2);
    running.stop().await;
    sink.stop().await;
}

#[tokio::test]
async fn a_window_that_a_correction_filters_out_is_gone() {
    let harness = Harness::new(1, vec![rollup("few", &format!("{BY_DEVICE} having count(*) < 2"))]);
    let (running, sink) = (harness.start(), harness.start_sink(5));
    harness.at(21);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 11, "web"), event(3, 21, "tv")]).await;
    let of = |device| groups(&[(device, 1)]);
    becomes(&harness, "few", &BTreeMap::from([(0, of("tv")), (10, of("web"))])).await;
    harness.produce(0, &[event(4, 2, "tv")]).await;
    eventually("it is taken out", async || !newest(&harness, "few").await.contains_key(&0)).await;
    assert_eq!(newest(&harness, "few").await[&10], of("web"), "its neighbour in the same file stays");
    harness.produce(0, &[event(5, 3, "web")]).await;
    becomes(&harness, "few", &BTreeMap::from([(0, of("web"))])).await;
    running.stop().await;
    sink.stop().await;
}

#[tokio::test]
async fn tables_with_many_commits_get_checkpoints_and_small_files_become_one() {
    let mut harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let pace = Duration::from_millis(5);
    harness.pace = Pace { idle: pace, busy: pace, stopped: pace };
    let (running, sink) = (harness.start(), harness.start_sink(5));
    let commits = async || harness.table("devices").await.map_or(0, |table| table.version());
    // Each round a window closes, and a late event comes for one before.
    for round in 1..=120 {
        let before = commits().await;
        harness.at(round * 10 + 1);
        let late = event(1_000 + round as u128, (round - 1) * 10, "web");
        harness.produce(0, &[event(round as u128, round * 10, "tv"), late]).await;
        eventually("it closes", async || commits().await > before).await;
    }
    let has_checkpoint = async || {
        let mut files = std::fs::read_dir(harness.dir.path().join("lake/rollups/devices/_delta_log")).unwrap();
        files.any(|file| file.unwrap().file_name().to_string_lossy().contains("checkpoint.parquet"))
    };
    eventually("there is a checkpoint", has_checkpoint).await;
    eventually("few files are left", async || {
        harness.table("devices").await.unwrap().files().await.unwrap().len() < 20
    })
    .await;
    let wanted = (1..119).map(|window| (window * 10, groups(&[("tv", 1), ("web", 1)]))).collect();
    becomes(&harness, "devices", &wanted).await;
    running.stop().await;
    sink.stop().await;
}

/// The log, as the test wrote it: by partition and offset, each event's time (seconds after noon) and device.
pub type Written = Vec<Vec<Vec<(i64, &'static str)>>>;

/// Each revision is what the events below its positions come to, and the newest ones together count every event.
pub async fn check(harness: &Harness, written: &Written, seed: u64) -> bool {
    let count = |start: i64, positions: &dyn Fn(u32) -> u64| {
        let mut counts = BTreeMap::<String, i64>::new();
        for (partition, written) in written.iter().enumerate() {
            let records = written.iter().take(positions(partition as u32) as usize).flatten();
            for (_, device) in records.filter(|(time, _)| time.div_euclid(10) * 10 == start) {
                *counts.entry((*device).to_owned()).or_default() += 1;
            }
        }
        counts
    };
    finds_nothing_wrong(harness, seed).await;
    let revisions = revisions(harness, "devices").await;
    for ((start, number), revision) in &revisions {
        let wanted = count(*start, &|partition| revision.positions.get(&partition).copied().unwrap_or(0));
        assert_eq!(revision.groups, wanted, "seed {seed}, window {start}, revision {number}: {revision:?}");
    }
    for (((start, _), before), ((next, number), after)) in revisions.iter().zip(revisions.iter().skip(1)) {
        let knows_less = before.positions.iter().any(|(partition, at)| after.positions[partition] < *at);
        assert!(
            start != next || !knows_less,
            "seed {seed}, window {start}, revision {number} knows less than the one before"
        );
    }
    let starts: BTreeSet<i64> = written
        .iter()
        .flatten()
        .flatten()
        .map(|(time, _)| time.div_euclid(10) * 10)
        .filter(|start| *start < 1_000)
        .collect();
    let newest: BTreeMap<i64, &Revision> = revisions.iter().map(|((start, _), revision)| (*start, revision)).collect();
    starts.iter().all(|start| newest.get(start).is_some_and(|newest| newest.groups == count(*start, &|_| u64::MAX)))
}

/// An audit at this moment, beside whoever runs; how many windows it compared while others waited.
async fn finds_nothing_wrong(harness: &Harness, seed: u64) -> u64 {
    let mut compared = 0;
    for (name, of) in audited(harness).await {
        assert_eq!(of.different, BTreeMap::new(), "seed {seed}: the audit of {name} calls right windows wrong");
        compared += if of.waiting > 0 { of.windows } else { 0 };
    }
    compared
}

/// A last event of each partition closes every window; in the end all is counted, and nothing waits.
pub async fn ends_right(harness: &Harness, mut written: Written, seed: u64) {
    harness.at(1_000);
    for (partition, written) in written.iter_mut().enumerate() {
        harness.produce(partition as u32, &[event(u128::MAX - partition as u128, 1_000, "end")]).await;
        written.push(vec![(1_000, "end")]);
    }
    // Windows that were corrected often wait longer: the clock passes.
    let mut now = 1_000;
    eventually("every event is counted", async || {
        now += 30;
        harness.at(now);
        check(harness, &written, seed).await
    })
    .await;
    eventually("nothing is marked any more", async || {
        now += 30;
        harness.at(now);
        harness.marks().await == 0
    })
    .await;
    eventually("the audit compares all windows", async || {
        let of = &audited(harness).await["devices"];
        assert_eq!(of.different, BTreeMap::new(), "seed {seed}");
        of.not_compared.is_none() && of.waiting == 0 && of.windows > 10
    })
    .await;
}

/// Windows that were audited while others waited.
async fn killed_while_events_come_late(seed: u64) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let mut harness = Harness::new(2, vec![rollup("devices", BY_DEVICE)]);
    // Half of the time windows are not kept open, since there are too many.
    if random.random_bool(0.5) {
        harness.config.bounds.windows_max = random.random_range(1..3);
    }
    let mut written: Written = vec![Vec::new(), Vec::new()];
    let (mut number, mut audited) = (0, 0);
    for round in 0..6_i64 {
        // Often the lake has less than what was counted.
        let flush_age_ms = random.random_range(5..100);
        let (running, sink) = (harness.start(), random.random_bool(0.7).then(|| harness.start_sink(flush_age_ms)));
        for second in round * 20..round * 20 + 20 {
            harness.at(second);
            let mut rows = Vec::new();
            for _ in 0..random.random_range(1..4) {
                // One in three is minutes late.
                let back = if random.random_bool(0.3) { random.random_range(0..60) } else { 0 };
                rows.push(((second - back).max(0), ["tv", "web"][random.random_range(0..2)]));
            }
            let partition = random.random_range(0..2_u32);
            let events: Vec<Value> = rows
                .iter()
                .map(|(time, device)| {
                    number += 1;
                    event(number, *time, device)
                })
                .collect();
            harness.produce(partition, &events).await;
            written[partition as usize].push(rows);
            tokio::time::sleep(Duration::from_micros(random.random_range(0..4_000))).await;
            if random.random_bool(0.05) {
                audited += finds_nothing_wrong(&harness, seed).await;
            }
        }
        tokio::time::sleep(Duration::from_micros(random.random_range(0..40_000))).await;
        running.kill().await;
        if let Some(sink) = sink {
            sink.kill().await;
        }
        check(&harness, &written, seed).await;
    }
    let (running, sink) = (harness.start(), harness.start_sink(5));
    ends_right(&harness, written, seed).await;
    running.stop().await;
    sink.stop().await;
    audited
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_while_events_come_late_each_revision_is_true_and_the_newest_count_all() {
    let mut audited = 0;
    for seed in 0..8 {
        audited += killed_while_events_come_late(seed).await;
    }
    println!("{audited} windows were audited beside others that waited");
    assert!(audited > 10, "too few audits met a correction: {audited}");
}

#[tokio::test]
async fn events_of_more_windows_than_are_kept_open_are_counted_when_their_window_is_complete() {
    let mut harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    harness.config.bounds.windows_max = 2;
    harness.config.rollups[0].allowed_lateness = Duration::from_secs(60);
    let running = harness.start();
    harness.at(50);
    let ahead = [event(1, 1, "tv"), event(2, 11, "tv"), event(3, 21, "tv"), event(4, 31, "tv"), event(5, 3, "web")];
    harness.produce(0, &ahead).await;
    eventually("those of the third and fourth window are marked", async || harness.marks().await == 2).await;
    assert!(revisions(&harness, "devices").await.is_empty(), "nothing is late by 60 s");
    harness.at(85);
    harness.produce(0, &[event(6, 85, "tv")]).await;
    let first = BTreeMap::from([(0, groups(&[("tv", 1), ("web", 1)])), (10, groups(&[("tv", 1)]))]);
    becomes(&harness, "devices", &first).await;
    // What has come for the others will not be read again: whoever goes on must not open them with the rest.
    running.kill().await;
    let (running, sink) = (harness.start(), harness.start_sink(5));
    eventually("it has begun", async || running.ready().is_ok()).await;
    // The lake has what was marked, and the windows are not complete: they are not corrected yet.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((harness.marks().await, newest(&harness, "devices").await.contains_key(&20)), (3, false));
    harness.produce(0, &[event(7, 22, "web")]).await;
    harness.at(100);
    harness.produce(0, &[event(8, 100, "tv")]).await;
    let then = BTreeMap::from([(20, groups(&[("tv", 1), ("web", 1)])), (30, groups(&[("tv", 1)]))]);
    becomes(&harness, "devices", &then).await;
    assert!(revisions(&harness, "devices").await.keys().all(|(_, revision)| *revision == 1));
    running.stop().await;
    sink.stop().await;
}

#[tokio::test]
async fn of_more_memory_than_may_be_taken_the_smallest_groups_become_other_and_no_event_is_lost() {
    let mut harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    harness.config.open_bytes_max = 200_000;
    let running = harness.start();
    harness.at(5);
    for record in 0..64_u128 {
        let device = |of: u128| format!("a device whose name is long enough {record} {of}");
        let mut events: Vec<Value> = (0..100).map(|of| event(record * 1_000 + of, 1, &device(of))).collect();
        events.extend((100..200).map(|of| event(record * 1_000 + of, 2, "tv")));
        harness.produce(0, &events).await;
    }
    harness.at(11);
    harness.produce(0, &[event(1_000_000, 11, "tv")]).await;
    eventually("the window is closed", async || newest(&harness, "devices").await.contains_key(&0)).await;
    let window = newest(&harness, "devices").await.remove(&0).unwrap();
    assert_eq!((window["tv"], window.values().sum::<i64>()), (6_400, 12_800));
    assert!(
        window["(other)"] > 1_000 && window.len() < 3_000,
        "{} groups, {} in (other)",
        window.len(),
        window["(other)"]
    );
    running.stop().await;
}
