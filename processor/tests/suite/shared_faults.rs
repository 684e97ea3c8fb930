//! Processors that share the partitions, while they are killed, rebalanced, overtaken, or find other tables than they left.
use crate::group::Group;
use crate::harness::{Harness, Running, eventually, rollup};
use crate::late::{BY_DEVICE, Written, becomes, check, ends_right, event, groups, newest, revisions};
use crate::shared::{one_each, stop};
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BinaryArray, RecordBatch};
use futures::TryStreamExt;
use lake::table::{Commit, Table};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn tables_that_do_not_belong_together_are_refused_in_words() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let (group, running) = one_each(&harness, 1).await;
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 11, "tv")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 1)]))])).await;
    stop(running).await;
    let (lake, away) = (harness.dir.path().join("lake"), harness.dir.path().join("away"));
    for (table, words) in [("partials/devices", "it is gone"), ("rollups/devices", "is gone, or was made anew")] {
        std::fs::rename(lake.join(table), &away).unwrap();
        let error = harness.start_over(group.member(0)).fails().await.to_string();
        assert!(error.contains(words), "{error}");
        assert!(!lake.join(table).exists(), "what was moved away can be put back");
        std::fs::rename(&away, lake.join(table)).unwrap();
    }
    let running = harness.start_over(group.member(0));
    eventually("it goes on", async || running.ready().is_ok()).await;
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
    ends_right(&harness, written, seed).await;
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
