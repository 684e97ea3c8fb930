//! Several processors that share the partitions: each window once, right, whoever has which partition when.
use crate::group::Group;
use crate::harness::{Harness, NOON, Running, SECOND, TOPIC, eventually, rollup};
use crate::late::{BY_DEVICE, Written, becomes, check, event, groups, newest, revisions};
use crate::live;
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BinaryArray, RecordBatch};
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use lake::table::{Commit, Table};
use log::memory;
use processor::live::{Live, Peers};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// So many processors, of which each has one partition.
async fn one_each(harness: &Harness, members: u32) -> (Arc<Group>, Vec<Running>) {
    let group = Group::new(harness.log.clone(), members as usize);
    let mut running = Vec::new();
    for member in 0..members {
        group.assign(member as usize, &[member]);
        running.push(harness.start_over(group.member(member as usize)));
    }
    for one in &running {
        eventually("it is ready", async || one.ready().is_ok()).await;
    }
    (group, running)
}

async fn stop(running: Vec<Running>) {
    for one in running {
        one.stop().await;
    }
}

#[tokio::test]
async fn a_window_has_the_events_of_all_processors_and_says_of_what() {
    let harness = Harness::new(2, vec![rollup("devices", BY_DEVICE)]);
    let (_group, running) = one_each(&harness, 2).await;
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 2, "web"), event(3, 11, "tv")]).await;
    harness.produce(1, &[event(4, 1, "tv")]).await;
    harness.produce(1, &[event(5, 11, "tv")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 2), ("web", 1)]))])).await;
    let revisions = revisions(&harness, "devices").await;
    assert_eq!(revisions[&(0, 1)].positions, BTreeMap::from([(0, 1), (1, 2)]));
    stop(running).await;
}

#[tokio::test]
async fn a_processor_without_events_holds_up_nobody() {
    let harness = Harness::new(3, vec![rollup("devices", BY_DEVICE)]);
    let (_group, running) = one_each(&harness, 3).await;
    harness.at(11);
    harness.produce(1, &[event(1, 1, "tv"), event(2, 11, "tv")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 1)]))])).await;
    harness.at(31);
    harness.produce(2, &[event(3, 12, "tv"), event(4, 31, "web")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(10, groups(&[("tv", 2)]))])).await;
    stop(running).await;
}

#[tokio::test]
async fn while_nothing_comes_nobody_commits() {
    let mut definition = rollup("devices", BY_DEVICE);
    definition.window = Duration::from_secs(1);
    let harness = Harness::new(2, vec![definition]);
    let (_group, running) = one_each(&harness, 2).await;
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv")]).await;
    harness.produce(1, &[event(2, 11, "tv")]).await;
    eventually("the last window is closed", async || newest(&harness, "devices").await.contains_key(&11)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let commits = async || harness.partials("devices").await.unwrap().version();
    let before = commits().await;
    // Time closes some more windows, that have nothing.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert_eq!(commits().await, before);
    stop(running).await;
}

#[tokio::test]
async fn a_busy_processor_that_is_behind_is_waited_for() {
    let harness = Harness::new(2, vec![rollup("devices", BY_DEVICE)]);
    let group = Group::new(harness.log.clone(), 2);
    group.assign(0, &[0]);
    let one = harness.start_over(group.member(0));
    harness.at(21);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 21, "tv")]).await;
    harness.produce(1, &[event(3, 2, "web"), event(4, 21, "web")]).await;
    let partials = async || harness.partial_rows("devices").await > 0;
    eventually("one has its part", partials).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(revisions(&harness, "devices").await.is_empty(), "nobody has the other partition");
    group.assign(1, &[1]);
    let other = harness.start_over(group.member(1));
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 1), ("web", 1)]))])).await;
    stop(vec![one, other]).await;
}

#[tokio::test]
async fn a_partition_that_moves_within_a_window_is_counted_once() {
    let harness = Harness::new(2, vec![rollup("devices", BY_DEVICE)]);
    let (group, running) = one_each(&harness, 2).await;
    harness.at(5);
    harness.produce(0, &[event(1, 1, "tv")]).await;
    harness.produce(1, &[event(2, 2, "tv")]).await;
    // Its position is committed, its window is open.
    eventually("it has come there", async || harness.partial_position("devices", 1).await == Some(1)).await;
    group.assign(1, &[]);
    group.assign(0, &[0, 1]);
    harness.produce(1, &[event(3, 3, "web")]).await;
    harness.at(11);
    harness.produce(0, &[event(4, 11, "tv")]).await;
    harness.produce(1, &[event(5, 11, "tv")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 2), ("web", 1)]))])).await;
    group.assign(0, &[1]);
    group.assign(1, &[0]);
    harness.produce(0, &[event(6, 12, "tv")]).await;
    harness.at(21);
    harness.produce(0, &[event(7, 21, "tv")]).await;
    harness.produce(1, &[event(8, 21, "tv")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(10, groups(&[("tv", 3)]))])).await;
    assert!(revisions(&harness, "devices").await.keys().all(|(_, revision)| *revision == 1));
    stop(running).await;
}

#[tokio::test]
async fn an_event_that_is_late_before_others_are_done_with_its_window_is_in_the_correction() {
    let harness = Harness::new(2, vec![rollup("devices", BY_DEVICE)]);
    let group = Group::new(harness.log.clone(), 2);
    group.assign(0, &[0]);
    let (one, sink) = (harness.start_over(group.member(0)), harness.start_sink(5));
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 11, "tv")]).await;
    eventually("one is past the window", async || harness.partial_rows("devices").await > 0).await;
    harness.produce(0, &[event(3, 2, "web")]).await;
    eventually("it is marked", async || harness.marks().await == 1).await;
    harness.produce(1, &[event(4, 3, "web"), event(5, 11, "web")]).await;
    group.assign(1, &[1]);
    let other = harness.start_over(group.member(1));
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 1), ("web", 2)]))])).await;
    eventually("nothing is marked any more", async || harness.marks().await == 0).await;
    stop(vec![one, other]).await;
    sink.stop().await;
}

#[tokio::test]
async fn who_gets_all_partitions_while_nothing_comes_closes_what_others_left() {
    let harness = Harness::new(2, vec![rollup("devices", BY_DEVICE)]);
    let group = Group::new(harness.log.clone(), 1);
    group.assign(0, &[0]);
    let running = harness.start_over(group.member(0));
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 10, "tv")]).await;
    eventually("its part is there", async || harness.partial_rows("devices").await > 0).await;
    // Whoever had the other one is gone before it had followed; there is nothing in it.
    group.assign(0, &[0, 1]);
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 1)]))])).await;
    running.stop().await;
}

#[tokio::test]
async fn a_rollup_that_begins_amid_the_log_has_the_windows_that_all_partitions_have_whole() {
    let harness = Harness::new(2, vec![rollup("devices", BY_DEVICE)]);
    harness.at(5);
    harness.produce(0, &[event(1, 1, "tv")]).await;
    harness.produce(0, &[event(2, 2, "tv")]).await;
    harness.log.faults().drop_below(0, 1);
    harness.produce(1, &[event(3, 3, "web"), event(4, 12, "web")]).await;
    // One begins at the end, with the windows after now; the other at the beginning.
    let (_group, running) = one_each(&harness, 2).await;
    harness.at(15);
    harness.produce(0, &[event(5, 12, "tv")]).await;
    harness.at(21);
    harness.produce(0, &[event(6, 21, "tv")]).await;
    harness.produce(1, &[event(7, 21, "web")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(10, groups(&[("tv", 1), ("web", 1)]))])).await;
    assert_eq!(newest(&harness, "devices").await.get(&0), None, "nobody has all of it");
    stop(running).await;
}

#[tokio::test]
async fn what_was_merged_is_taken_out() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let (_group, running) = one_each(&harness, 1).await;
    for window in 0..40_i64 {
        harness.at(window * 10 + 11);
        harness.produce(0, &[event(window as u128 + 1, window * 10 + 11, "tv")]).await;
        eventually("it is closed", async || harness.closed_to("devices").await >= Some(NOON + window * 10 * SECOND))
            .await;
    }
    let few = async || harness.partials("devices").await.unwrap().files().await.unwrap().len() < 30;
    eventually("few files are left", few).await;
    assert!(newest(&harness, "devices").await.len() > 35);
    stop(running).await;
}

#[tokio::test]
async fn tables_that_do_not_belong_together_are_refused_in_words() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let (group, running) = one_each(&harness, 1).await;
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 11, "tv")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 1)]))])).await;
    stop(running).await;
    let (lake, away) = (harness.dir.path().join("lake"), harness.dir.path().join("away"));
    for (table, words) in [("partials/devices", "it is gone"), ("rollups/devices", "was made anew")] {
        std::fs::rename(lake.join(table), &away).unwrap();
        let error = harness.start_over(group.member(0)).fails().await.to_string();
        assert!(error.contains(words), "{error}");
        let _ = std::fs::remove_dir_all(lake.join(table));
        std::fs::rename(&away, lake.join(table)).unwrap();
    }
    let running = harness.start_over(group.member(0));
    eventually("it goes on", async || running.ready().is_ok()).await;
    running.stop().await;
}

#[tokio::test]
async fn what_a_partition_counted_is_not_counted_again_by_who_is_behind_with_another() {
    let mut harness = Harness::new(2, vec![rollup("devices", BY_DEVICE)]);
    harness.config.rollups[0].allowed_lateness = Duration::from_secs(15);
    let group = Group::new(harness.log.clone(), 2);
    group.assign(0, &[0]);
    let one = harness.start_over(group.member(0));
    harness.at(40);
    // Its window is still open when the next one's is closed, and it stands before it.
    harness.produce(0, &[event(1, 31, "tv")]).await;
    harness.produce(0, &[event(2, 12, "tv")]).await;
    harness.produce(0, &[event(3, 36, "tv")]).await;
    eventually("one is past it", async || harness.partial_rows("devices").await > 0).await;
    group.assign(0, &[]);
    harness.produce(1, &[event(4, 12, "web"), event(5, 36, "web")]).await;
    group.assign(1, &[0, 1]);
    let other = harness.start_over(group.member(1));
    becomes(&harness, "devices", &BTreeMap::from([(10, groups(&[("tv", 1), ("web", 1)]))])).await;
    stop(vec![one, other]).await;
}

#[tokio::test]
async fn a_window_that_is_left_to_the_correction_waits_for_a_lake_that_has_all_that_others_counted() {
    let mut harness = Harness::new(3, vec![rollup("devices", BY_DEVICE)]);
    let (group, running) = one_each(&harness, 2).await;
    let (whole, behind) = (harness.log.clone(), memory::Log::new(TOPIC, 3, harness.clock.clone()));
    let both = [whole.clone(), behind.clone()];
    harness.produce(1, &[event(1, 3, "web")]).await;
    harness.at(11);
    for log in &both {
        harness.log = log.clone();
        harness.produce(0, &[event(2, 1, "tv"), event(3, 11, "tv")]).await;
    }
    eventually("both are past the window", async || harness.partial_rows("devices").await == 2).await;
    // Nobody has the third partition, so that it is not closed yet.
    for log in &both {
        harness.log = log.clone();
        harness.produce(0, &[event(4, 2, "web")]).await;
    }
    eventually("it is marked", async || harness.marks().await == 1).await;
    group.assign(1, &[1, 2]);
    let sink = harness.start_sink(5);
    eventually("W is past it", async || harness.closed_to("devices").await >= Some(NOON + 10 * SECOND)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(revisions(&harness, "devices").await.is_empty(), "the lake has nothing of partition 1");
    sink.stop().await;
    harness.log = whole;
    let sink = harness.start_sink(5);
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 1), ("web", 2)]))])).await;
    stop(running).await;
    sink.stop().await;
}

/// Those that answer are looked at as over a network.
struct Neighbours(Vec<Arc<Live>>);

#[async_trait]
impl Peers for Neighbours {
    async fn parts(&self, rollup: &str) -> Vec<Bytes> {
        let mut parts = Vec::new();
        for live in &self.0 {
            let mut watcher = live.watch_part(rollup).unwrap();
            if let Ok(part) = tokio::time::timeout(Duration::from_millis(500), watcher.next()).await {
                parts.push(part.to_bytes().unwrap().into());
            }
        }
        parts
    }
}

#[tokio::test]
async fn whoever_is_looked_at_shows_what_all_have_open() {
    let harness =
        Harness::new(2, vec![rollup("types", "select event_type, count(*) as n from events group by event_type")]);
    let group = Group::new(harness.log.clone(), 2);
    let lives = [Live::new(&harness.config.rollups), Live::new(&harness.config.rollups)];
    let start = |member: usize| {
        group.assign(member, &[member as u32]);
        // One is asked as its own neighbour, too.
        let peers = Arc::new(Neighbours(lives[member.min(1 - member)..].to_vec()));
        harness.start_with(group.member(member), lives[member].clone(), Some(peers))
    };
    let mut running = vec![start(0), start(1)];
    let mut watchers = lives.each_ref().map(|live| live.watch("types").unwrap());
    harness.at(5);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 2, "tv")]).await;
    harness.produce(1, &[event(3, 3, "tv")]).await;
    for watcher in &mut watchers {
        live::becomes(watcher, &[(0, 3, true)]).await;
    }
    // One is past the window, the other is not: it is open, and whole.
    harness.at(11);
    harness.produce(0, &[event(4, 11, "tv")]).await;
    for watcher in &mut watchers {
        live::becomes(watcher, &[(0, 3, true), (10, 1, true)]).await;
    }
    harness.produce(1, &[event(5, 11, "tv")]).await;
    for watcher in &mut watchers {
        live::becomes(watcher, &[(0, 3, false), (10, 2, true)]).await;
    }
    running.remove(1).kill().await;
    drop(watchers);
    let mut watcher = lives[0].watch("types").unwrap();
    group.assign(0, &[0, 1]);
    live::becomes(&mut watcher, &[(0, 3, false), (10, 2, true)]).await;
    stop(running).await;
}

#[tokio::test]
async fn who_has_only_some_of_the_partitions_and_nobody_to_ask_says_which_are_missing() {
    let harness = Harness::new(3, vec![rollup("devices", BY_DEVICE)]);
    let group = Group::new(harness.log.clone(), 1);
    group.assign(0, &[1]);
    let running = harness.start_over(group.member(0));
    assert_eq!(harness.live.watch("devices").unwrap().next().await.missing, [0, 2]);
    running.stop().await;
}

#[tokio::test]
async fn who_is_overtaken_while_it_begins_takes_no_log_for_cut_off() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let (group, running) = one_each(&harness, 1).await;
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv")]).await;
    harness.produce(0, &[event(2, 11, "tv")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 1)]))])).await;
    stop(running).await;
    // As it was when it asked; then another one read on, and committed.
    group.outdated(0..1);
    let running = harness.start_over(group.member(0));
    eventually("it is ready", async || running.ready().is_ok()).await;
    harness.at(21);
    harness.produce(0, &[event(3, 21, "tv")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(10, groups(&[("tv", 1)]))])).await;
    running.stop().await;
}

#[tokio::test]
async fn two_that_take_a_partition_for_theirs_count_every_event_once() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let group = Group::new(harness.log.clone(), 2);
    let mut running = Vec::new();
    for member in 0..2 {
        group.assign(member, &[0]);
        running.push(harness.start_over(group.member(member)));
    }
    for second in 0..100 {
        harness.at(second);
        harness.produce(0, &[event(second as u128 + 1, second, "tv")]).await;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    becomes(&harness, "devices", &(0..9).map(|window| (window * 10, groups(&[("tv", 10)]))).collect()).await;
    assert!(revisions(&harness, "devices").await.keys().all(|(_, revision)| *revision == 1));
    stop(running).await;
}

/// As if another version had written them.
async fn rewrite(partials: &mut Table) {
    let (files, mut batches) = (partials.files().await.unwrap(), Vec::new());
    for file in &files {
        let read = partials.read_file(&file.path, None).await.unwrap();
        for batch in read.try_collect::<Vec<RecordBatch>>().await.unwrap() {
            let groups = batch.column_by_name("groups").unwrap().as_binary::<i32>();
            let other = groups.iter().map(|bytes| bytes.map(of_another_version));
            let mut columns = batch.columns().to_vec();
            *columns.last_mut().unwrap() = Arc::new(other.collect::<BinaryArray>()) as ArrayRef;
            batches.push(RecordBatch::try_new(batch.schema(), columns).unwrap());
        }
    }
    let file = partials.write_file(BTreeMap::new(), vec![batches]).await.unwrap();
    let commit = Commit { adds: vec![file], removes: files, data_change: true, ..Commit::default() };
    partials.commit(&commit).await.unwrap();
}

fn of_another_version(bytes: &[u8]) -> Vec<u8> {
    let (name, mut bytes) = (b"datafusion ", bytes.to_vec());
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    bytes[at] = b'9';
    bytes
}

#[tokio::test]
async fn windows_with_partials_of_another_version_are_computed_from_the_events() {
    let harness = Harness::new(2, vec![rollup("devices", BY_DEVICE)]);
    let group = Group::new(harness.log.clone(), 2);
    group.assign(0, &[0]);
    let one = harness.start_over(group.member(0));
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 11, "tv")]).await;
    harness.produce(1, &[event(3, 3, "web"), event(4, 11, "web")]).await;
    eventually("one has its part", async || harness.partial_rows("devices").await > 0).await;
    one.stop().await;
    rewrite(&mut harness.partials("devices").await.unwrap()).await;
    group.assign(0, &[0, 1]);
    let (other, sink) = (harness.start_over(group.member(0)), harness.start_sink(5));
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 1), ("web", 1)]))])).await;
    eventually("nothing is marked any more", async || harness.marks().await == 0).await;
    other.stop().await;
    sink.stop().await;
}

const MEMBERS: usize = 3;
const PARTITIONS: u32 = 3;

/// Each partition to somebody; some members may have none.
fn shares(random: &mut StdRng) -> Vec<Vec<u32>> {
    let mut shares = vec![Vec::new(); MEMBERS];
    (0..PARTITIONS).for_each(|partition| shares[random.random_range(0..MEMBERS)].push(partition));
    shares
}

/// Gives partitions to others; sometimes who had one is told later than who gets it.
async fn rebalance(group: &Group, random: &mut StdRng) {
    let (shares, mut members) = (shares(random), (0..MEMBERS).collect::<Vec<usize>>());
    members.shuffle(random);
    for member in members {
        group.assign(member, &shares[member]);
        if random.random_bool(0.5) {
            tokio::time::sleep(Duration::from_micros(random.random_range(0..20_000))).await;
        }
    }
}

async fn killed_and_rebalanced_while_events_come_late(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut harness = Harness::new(PARTITIONS, vec![rollup("devices", BY_DEVICE)]);
    if random.random_bool(0.3) {
        harness.config.bounds.windows_max = random.random_range(1..3);
    }
    let mut written: Written = vec![Vec::new(); PARTITIONS as usize];
    let group = Group::new(harness.log.clone(), MEMBERS);
    let mut running: Vec<Option<Running>> =
        (0..MEMBERS).map(|member| Some(harness.start_over(group.member(member)))).collect();
    let mut number = 0;
    for round in 0..10_i64 {
        rebalance(&group, &mut random).await;
        let flush_age_ms = random.random_range(5..100);
        let sink = random.random_bool(0.7).then(|| harness.start_sink(flush_age_ms));
        for second in round * 20..round * 20 + 20 {
            harness.at(second);
            let mut rows = Vec::new();
            for _ in 0..random.random_range(1..4) {
                let back = if random.random_bool(0.2) { random.random_range(0..60) } else { 0 };
                rows.push(((second - back).max(0), ["tv", "web"][random.random_range(0..2)]));
            }
            let partition = random.random_range(0..PARTITIONS);
            let of_row = |(time, device): &(i64, &'static str)| {
                number += 1;
                event(number, *time, device)
            };
            let events: Vec<Value> = rows.iter().map(of_row).collect();
            harness.produce(partition, &events).await;
            written[partition as usize].push(rows);
            tokio::time::sleep(Duration::from_micros(random.random_range(0..6_000))).await;
            if random.random_bool(0.1) {
                let victim = random.random_range(0..MEMBERS);
                if let Some(victim) = running[victim].take() {
                    victim.kill().await;
                }
                running[victim] = Some(harness.start_over(group.member(victim)));
            }
            if random.random_bool(0.05) {
                rebalance(&group, &mut random).await;
            }
        }
        if let Some(sink) = sink {
            sink.kill().await;
        }
        check(&harness, &written, seed).await;
    }
    let sink = harness.start_sink(5);
    harness.at(1_000);
    for partition in 0..PARTITIONS {
        harness.produce(partition, &[event(u128::MAX - u128::from(partition), 1_000, "end")]).await;
        written[partition as usize].push(vec![(1_000, "end")]);
    }
    let mut now = 1_000;
    eventually("every event is counted", async || {
        now += 30;
        harness.at(now);
        check(&harness, &written, seed).await
    })
    .await;
    eventually("nothing is marked any more", async || {
        now += 30;
        harness.at(now);
        harness.marks().await == 0
    })
    .await;
    assert!(newest(&harness, "devices").await.len() > 15);
    stop(running.into_iter().flatten().collect()).await;
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_rebalanced_at_any_moment_each_revision_is_true_and_the_newest_count_all() {
    for seed in 0..6 {
        killed_and_rebalanced_while_events_come_late(seed).await;
    }
}
