//! A sink that is told to stop.
use crate::group::{Group, Silence};
use crate::harness::{Answers, Harness, words};
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
