//! A log made anew while a sink reads it: offsets go on as if nothing were, only the records are others.
use crate::group::Group;
use crate::harness::{Harness, Running, eventually, words};
use std::sync::Arc;

/// A sink that has committed ids 1 and 2 (offsets 0 and 1) of partition 0, a flush being two rows.
async fn running() -> (Harness, Arc<Group>, Running) {
    let mut harness = Harness::new(2);
    harness.config.flush_rows = 2;
    let group = Group::over(&harness);
    let running = harness.start_on(group.clone());
    harness.produce(0, &[1]).await;
    harness.produce(0, &[2]).await;
    harness.committed(0, 1).await;
    (harness, group, running)
}

/// Deletes the log and makes it anew with more records than it had, before its reader gets to look.
async fn make_anew(harness: &Harness) {
    harness.log.faults().wipe();
    for id in 100..110 {
        harness.produce(0, &[id]).await;
    }
}

async fn stopped(running: &Running) -> String {
    eventually("it stops", async || running.ready().is_err_and(|words| words.contains("stopped"))).await;
    running.ready().unwrap_err()
}

#[tokio::test]
async fn nothing_of_a_log_made_anew_is_written_and_what_was_lost_is_named() {
    let (harness, group, running) = running().await;
    harness.produce(0, &[3]).await;
    group.read_up_to(0, 3).await;
    make_anew(&harness).await;
    harness.produce(1, &[50, 51]).await;
    let words = stopped(&running).await;
    assert!(words.contains("partition 0 stopped") && words.contains("made anew"), "{words}");
    assert!(words.contains("records 2..3 of the former log never reached the lake"), "{words}");
    assert!(!words.contains("partition 1"), "{words}");
    harness.committed(1, 0).await;
    running.stop().await;
    assert_eq!(harness.ids().await, [1, 2, 50, 51]);
    assert_eq!(harness.position(0).await.unwrap().last, 1);
}

/// Its neighbour loses a flush to another sink, and is taken up again; what has stopped is not.
#[tokio::test]
async fn what_has_stopped_stays_stopped_in_the_same_words_whatever_becomes_of_the_others() {
    let (harness, group, running) = running().await;
    harness.produce(0, &[3]).await;
    group.read_up_to(0, 3).await;
    make_anew(&harness).await;
    let words = stopped(&running).await;
    harness.produce(1, &[50]).await;
    group.read_up_to(1, 1).await;
    harness.drain().await;
    assert_eq!(harness.position(1).await.unwrap().last, 0);
    let seeks = group.seeks(1);
    harness.produce(1, &[51]).await;
    eventually("the flush is lost", async || group.seeks(1) > seeks).await;
    harness.produce(1, &[52, 53]).await;
    harness.committed(1, 2).await;
    assert_eq!(running.ready(), Err(words));
    running.stop().await;
    assert_eq!(harness.ids().await, [1, 2, 50, 51, 52, 53]);
}

#[tokio::test]
async fn a_log_made_anew_of_which_nothing_is_known_to_be_lost_says_so() {
    let (harness, _, running) = running().await;
    make_anew(&harness).await;
    let words = stopped(&running).await;
    assert!(words.contains("the lake has the former log below offset 2"), "{words}");
    running.stop().await;
    assert_eq!(harness.ids().await, [1, 2]);
}

/// The reader is behind: it knows from the log's bounds how much there was.
#[tokio::test]
async fn what_was_known_of_the_former_log_but_not_read_is_named_too() {
    let harness = Harness::new(1);
    for id in 0..3 {
        harness.produce(0, &[id]).await;
    }
    harness.drain().await;
    for id in 3..9 {
        harness.produce(0, &[id]).await;
    }
    let group = Group::over(&harness);
    let running = harness.start_on(group.clone());
    group.read_up_to(0, 5).await;
    harness.log.faults().wipe();
    let words = stopped(&running).await;
    assert!(words.contains("records 3..9 of the former log never reached the lake"), "{words}");
    running.stop().await;
}

#[tokio::test]
async fn before_anything_was_committed_the_first_record_tells() {
    let harness = Harness::new(1);
    let group = Group::over(&harness);
    let running = harness.start_on(group.clone());
    harness.produce(0, &[1]).await;
    harness.produce(0, &[2]).await;
    group.read_up_to(0, 2).await;
    make_anew(&harness).await;
    let answers = running.answers.clone();
    running.stop().await;
    let words = words(&answers);
    assert!(words.contains("records 0..2 of the former log never reached the lake"), "{words}");
    assert_eq!(harness.ids().await, [] as [u128; 0]);
}

#[tokio::test]
async fn a_position_that_retention_has_dropped_does_not_stop_what_comes_after_it() {
    let (harness, _, running) = running().await;
    harness.log.faults().drop_below(0, 2);
    harness.produce(0, &[3, 4]).await;
    harness.committed(0, 2).await;
    assert_eq!(running.ready(), Ok(()));
    running.stop().await;
    assert_eq!(harness.ids().await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_log_that_drops_what_was_read_before_it_is_committed_stops() {
    let (harness, group, running) = running().await;
    harness.produce(0, &[3]).await;
    group.read_up_to(0, 3).await;
    harness.log.faults().drop_below(0, 3);
    harness.produce(0, &[4]).await;
    let words = stopped(&running).await;
    assert!(words.contains("retention dropped records 2..4 before they were committed"), "{words}");
    running.stop().await;
    assert_eq!(harness.ids().await, [1, 2]);
}

#[tokio::test]
async fn a_log_that_does_not_answer_before_a_commit_is_waited_out() {
    let (harness, group, running) = running().await;
    group.fail_looks(3);
    harness.produce(0, &[3, 4]).await;
    harness.committed(0, 2).await;
    let told = running
        .answers
        .lock()
        .unwrap()
        .iter()
        .any(|answer| answer.as_ref().is_err_and(|words| words.contains("no look, by order")));
    assert!(told, "unready meanwhile");
    eventually("it is ready again", async || running.ready().is_ok()).await;
    running.stop().await;
    assert_eq!(harness.ids().await, [1, 2, 3, 4]);
}
