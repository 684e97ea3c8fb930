//! A sink that is told to stop.
use crate::group::{Group, Silence};
use crate::harness::{Answers, Harness, eventually, words};
use std::sync::Arc;
use std::time::Duration;

/// Stops a sink that has read one record and is about to lose its log, and says what it told.
async fn stop_in_silence(harness: &mut Harness, silence: Silence) -> Answers {
    harness.timing.silence = Duration::from_millis(50);
    let group = Group::over(harness);
    let running = harness.start_on(Arc::clone(&group) as Arc<dyn log::Log>);
    harness.produce(0, &[1]).await;
    group.read_up_to(0, 1).await;
    group.silence(silence);
    harness.produce(0, &[2]).await;
    let answers = running.answers.clone();
    running.stop().await;
    answers
}

#[tokio::test]
async fn a_log_that_hands_out_nothing_more_does_not_keep_what_was_read_from_the_lake() {
    let mut harness = Harness::new(1);
    let answers = stop_in_silence(&mut harness, Silence::Reads).await;
    assert!(words(&answers).contains("the log did not answer"), "{}", words(&answers));
    assert_eq!(harness.ids().await, [1]);
    harness.drain().await;
    assert_eq!(harness.ids().await, [1, 2]);
}

/// Whether it is the same log still can't be asked, so nothing of it is committed; it has the records.
#[tokio::test]
async fn a_log_that_answers_nothing_ends_the_drain_and_loses_nothing() {
    let mut harness = Harness::new(1);
    let answers = stop_in_silence(&mut harness, Silence::All).await;
    assert!(words(&answers).contains("the log did not answer"), "{}", words(&answers));
    assert_eq!(harness.position(0).await, None);
    harness.drain().await;
    assert_eq!(harness.ids().await, [1, 2]);
}

/// Stops a sink whose log does not answer the question before a commit, in the way that `trouble` brings about.
async fn stop_before_a_commit(trouble: fn(&Group), told: &str) {
    let mut harness = Harness::new(1);
    harness.config.flush_rows = 1;
    harness.timing.slow = Duration::from_millis(5);
    harness.timing.silence = Duration::from_millis(50);
    let group = Group::over(&harness);
    let running = harness.start_on(Arc::clone(&group) as Arc<dyn log::Log>);
    trouble(&group);
    harness.produce(0, &[1]).await;
    eventually("it waits for the log", async || running.ready().is_err_and(|words| words.contains(told))).await;
    let answers = running.answers.clone();
    running.stop().await;
    assert!(words(&answers).contains("the log did not answer"), "{}", words(&answers));
    assert_eq!(harness.position(0).await, None);
    harness.drain().await;
    assert_eq!(harness.ids().await, [1]);
}

#[tokio::test]
async fn a_log_that_hangs_since_before_the_stop_does_not_hold_it_up() {
    stop_before_a_commit(|group| group.silence(Silence::Looks), "a look at a record is under way").await;
}

#[tokio::test]
async fn a_log_that_fails_since_before_the_stop_does_not_hold_it_up() {
    stop_before_a_commit(|group| group.fail_looks(usize::MAX), "no look, by order").await;
}

#[tokio::test]
async fn a_log_that_answers_again_after_the_stop_is_drained_to_its_end() {
    let mut harness = Harness::new(1);
    harness.config.flush_rows = 1;
    harness.timing.slow = Duration::from_millis(5);
    let group = Group::over(&harness);
    let running = harness.start_on(Arc::clone(&group) as Arc<dyn log::Log>);
    group.silence(Silence::Looks);
    harness.produce(0, &[1]).await;
    eventually("it waits for the log", async || running.ready().is_err_and(|words| words.contains("a look"))).await;
    running.shutdown.cancel();
    harness.produce(0, &[2]).await;
    group.silence(Silence::None);
    running.stop().await;
    assert_eq!(harness.ids().await, [1, 2]);
}
