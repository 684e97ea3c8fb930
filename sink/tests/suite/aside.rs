//! Partitions for which the log does not answer, while it does for others.
use crate::group::{Group, Lost};
use crate::harness::{Harness, Running, eventually};
use sink::Timing;
use std::sync::Arc;
use std::time::Duration;

fn harness() -> (Harness, Arc<Group>) {
    let mut harness = Harness::new(3);
    harness.config.flush_rows = 2;
    // Short, as most of these wait it out; long enough that a busy machine isn't taken for a log that hangs.
    harness.timing.answer = Duration::from_millis(200);
    let group = Group::over(&harness);
    (harness, group)
}

async fn told(running: &Running, words: &str) {
    eventually("it is told", async || running.ready().is_err_and(|told| told.contains(words))).await;
}

async fn starts_beside_a_lost_partition(lost: Lost) {
    let (harness, group) = harness();
    group.lose(1, lost);
    for partition in 0..3 {
        harness.produce(partition, &[u128::from(partition) * 10, u128::from(partition) * 10 + 1]).await;
    }
    let running = harness.start_on(group.clone());
    harness.committed(0, 0).await;
    harness.committed(2, 0).await;
    told(&running, "partition 1: log can't be read now").await;
    // They are read on, too.
    harness.produce(2, &[22, 23]).await;
    harness.committed(2, 1).await;
    assert_eq!(harness.position(1).await, None);
    group.find(1);
    harness.committed(1, 0).await;
    eventually("it is ready", async || running.ready().is_ok()).await;
    running.stop().await;
    assert_eq!(harness.ids().await, [0, 1, 10, 11, 20, 21, 22, 23]);
}

#[tokio::test]
async fn a_partition_whose_leader_is_away_at_the_start_does_not_hold_up_the_others() {
    starts_beside_a_lost_partition(Lost::Fails).await;
}

#[tokio::test]
async fn a_partition_that_hangs_at_the_start_does_not_hold_up_the_others() {
    starts_beside_a_lost_partition(Lost::Hangs).await;
}

async fn loses_a_partition_of_which_something_was_read(lost: Lost) {
    let (harness, group) = harness();
    let running = harness.start_on(group.clone());
    harness.produce(1, &[10, 11]).await;
    harness.committed(1, 0).await;
    harness.produce(1, &[12]).await;
    group.read_up_to(1, 2).await;
    group.lose(1, lost);
    harness.produce(0, &[1, 2]).await;
    harness.produce(2, &[20, 21]).await;
    harness.committed(0, 0).await;
    harness.committed(2, 0).await;
    told(&running, "partition 1: log can't be read now").await;
    // Fetched before its leader went: not taken, it comes again.
    harness.produce(1, &[13, 11]).await;
    group.read_up_to(1, 3).await;
    // A flush of the others takes nothing of it along.
    harness.produce(0, &[3]).await;
    harness.produce(0, &[4]).await;
    harness.committed(0, 1).await;
    assert_eq!(harness.position(1).await.unwrap().last, 0);
    group.find(1);
    harness.committed(1, 2).await;
    eventually("it is ready", async || running.ready().is_ok()).await;
    running.stop().await;
    assert_eq!(harness.ids().await, [1, 2, 3, 4, 10, 11, 12, 13, 20, 21]);
    assert_eq!(harness.position(1).await.unwrap().duplicates, 1);
}

#[tokio::test]
async fn a_partition_that_fails_after_records_of_it_were_read_does_not_hold_up_the_others() {
    loses_a_partition_of_which_something_was_read(Lost::Fails).await;
}

#[tokio::test]
async fn a_partition_that_hangs_after_records_of_it_were_read_does_not_hold_up_the_others() {
    loses_a_partition_of_which_something_was_read(Lost::Hangs).await;
}

/// Nothing of it was committed: only what was read tells that it is another log.
#[tokio::test]
async fn a_log_that_is_made_anew_while_it_does_not_answer_is_told_from_the_one_that_was_read() {
    let (harness, group) = harness();
    let running = harness.start_on(group.clone());
    harness.produce(1, &[10]).await;
    group.read_up_to(1, 1).await;
    group.lose(1, Lost::Fails);
    harness.produce(0, &[1, 2]).await;
    told(&running, "partition 1: log can't be read now").await;
    harness.log.faults().wipe();
    harness.produce(1, &[100, 101]).await;
    group.find(1);
    told(&running, "partition 1 stopped").await;
    let words = running.ready().unwrap_err();
    assert!(words.contains("records 0..1 of the former log never reached the lake"), "{words}");
    running.stop().await;
    assert_eq!(harness.position(1).await, None);
}

#[tokio::test]
async fn partitions_that_all_do_not_answer_are_read_when_they_do() {
    let (harness, group) = harness();
    for partition in 0..3 {
        group.lose(partition, Lost::Fails);
        harness.produce(partition, &[u128::from(partition) * 10, u128::from(partition) * 10 + 1]).await;
    }
    let running = harness.start_on(group.clone());
    told(&running, "partitions 0, 1, 2: log can't be read now").await;
    (0..3).for_each(|partition| group.find(partition));
    for partition in 0..3 {
        harness.committed(partition, 0).await;
    }
    eventually("it is ready", async || running.ready().is_ok()).await;
    running.stop().await;
    assert_eq!(harness.ids().await, [0, 1, 10, 11, 20, 21]);
}

#[tokio::test]
async fn a_sink_that_stops_leaves_what_does_not_answer_to_the_next_start() {
    let (mut harness, group) = harness();
    group.lose(1, Lost::Hangs);
    harness.produce(1, &[10]).await;
    let running = harness.start_on(group.clone());
    told(&running, "partition 1: log can't be read now").await;
    harness.produce(0, &[1]).await;
    group.read_up_to(0, 1).await;
    running.stop().await;
    assert_eq!(harness.ids().await, [1]);
    // What is slow now is the machine: a drain leaves what does not answer, however short that is.
    harness.timing.answer = Timing::default().answer;
    harness.drain().await;
    assert_eq!(harness.ids().await, [1, 10]);
}
