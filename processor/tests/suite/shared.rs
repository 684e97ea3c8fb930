//! Several processors that share the partitions: each window once, right, whoever has which partition when.
use crate::group::Group;
use crate::harness::{Harness, NOON, Running, SECOND, TOPIC, eventually, rollup};
use crate::late::{BY_DEVICE, becomes, event, groups, newest, revisions};
use log::memory;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// So many processors, of which each has one partition.
pub async fn one_each(harness: &Harness, members: u32) -> (Arc<Group>, Vec<Running>) {
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

pub async fn stop(running: Vec<Running>) {
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
