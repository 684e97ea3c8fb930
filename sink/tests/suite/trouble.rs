//! Trouble that passes: waited out, unready, with nothing lost.
use crate::group::{Group, Silence};
use crate::harness::{DATE, Harness, eventually};
use crate::pipe::Pipe;
use lake::location::Location;
use log::ReadError;
use std::fs;
use std::time::Duration;

#[tokio::test]
async fn a_lake_that_does_not_take_files_is_waited_out_with_what_is_buffered() {
    let mut harness = Harness::new(1);
    harness.drain().await;
    harness.config.flush_rows = 1;
    let Location::Local(events) = harness.lake().events else { panic!("the harness is local") };
    let obstacle = events.join(format!("event_date={DATE}"));
    fs::write(&obstacle, "a file where a folder belongs").unwrap();
    let running = harness.start();
    harness.produce(0, &[1]).await;
    harness.produce(0, &[2]).await;
    let told = "lake is unavailable";
    eventually("it is told", async || running.ready().is_err_and(|words| words.contains(told))).await;
    fs::remove_file(&obstacle).unwrap();
    harness.committed(0, 1).await;
    eventually("it is ready again", async || running.ready().is_ok()).await;
    running.stop().await;
    assert_eq!(harness.places().await, [(0, 0, 0, 1), (0, 1, 0, 2)]);
}

#[tokio::test]
async fn a_store_that_hangs_within_a_flush_is_told() {
    let mut harness = Harness::new(1);
    harness.drain().await;
    harness.config.flush_rows = 1;
    harness.timing.slow = Duration::from_millis(20);
    let running = harness.start();
    eventually("it is ready", async || running.ready().is_ok()).await;
    let pipe = Pipe::before_the_next_commit(&harness).await;
    harness.produce(0, &[1]).await;
    let told = "a flush is under way for more than 20ms: the lake's store does not answer";
    eventually("it is told", async || running.ready().is_err_and(|words| words.contains(told))).await;
    // Lets the reader go, so that the runtime can end.
    pipe.open();
    eventually("it is ready again", async || running.ready().is_ok()).await;
    running.stop().await;
    assert_eq!(harness.ids().await, [1]);
}

#[tokio::test]
async fn a_log_that_hangs_after_a_commit_is_told() {
    let mut harness = Harness::new(1);
    harness.config.flush_rows = 1;
    harness.timing.slow = Duration::from_millis(20);
    let group = Group::over(&harness);
    group.silence(Silence::Releases);
    let running = harness.start_on(group.clone());
    harness.produce(0, &[1]).await;
    let told = "a release is under way for more than 20ms: the log does not answer";
    eventually("it is told", async || running.ready().is_err_and(|words| words.contains(told))).await;
    group.silence(Silence::None);
    eventually("it is ready again", async || running.ready().is_ok()).await;
    running.stop().await;
    assert_eq!(harness.ids().await, [1]);
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_asked_again() {
    let harness = Harness::new(1);
    harness.produce(0, &[1]).await;
    for read in 1..4 {
        harness.log.faults().fail_read(read, ReadError::Unavailable("by order".to_owned()));
    }
    let running = harness.start();
    eventually("it is told", async || {
        running
            .answers
            .lock()
            .unwrap()
            .iter()
            .any(|answer| answer.as_ref().is_err_and(|words| words.contains("by order")))
    })
    .await;
    eventually("it is ready again", async || running.ready().is_ok()).await;
    running.stop().await;
    assert_eq!(harness.ids().await, [1]);
}

#[tokio::test]
async fn a_corrupt_log_stops_the_sink() {
    let harness = Harness::new(1);
    harness.log.faults().fail_read(2, ReadError::Corrupt("by order".to_owned()));
    harness.produce(0, &[1]).await;
    assert!(matches!(harness.fail().await, sink::Error::Log(ReadError::Corrupt(_))));
}
