//! How far behind a sink says that it is.
use crate::group::{Group, Silence};
use crate::harness::{DATE, Harness, NOON, eventually};
use crate::recorder::Recorded;
use lake::location::Location;
use log::Next;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

const SECOND: i64 = 1_000_000;

fn harness() -> Harness {
    let mut harness = Harness::new(2);
    harness.timing.lag = Duration::from_millis(2);
    harness
}

fn set(harness: &Harness, seconds: i64) {
    harness.clock.0.store(NOON + seconds * SECOND, Ordering::SeqCst);
}

async fn lags(recorded: &Recorded, partition: &'static str, seconds: f64) {
    let lag = async || recorded.value("playhead_sink_lag_seconds", &[("partition", partition)]) == Some(seconds);
    eventually("the lag is told", lag).await;
}

#[tokio::test]
async fn the_age_of_the_oldest_record_that_is_not_in_the_lake_is_told_until_it_is() {
    let recorded = Recorded::default();
    let _recorder = metrics::set_default_local_recorder(&recorded);
    let mut harness = harness();
    harness.config.flush_rows = 3;
    let group = Group::over(&harness);
    let running = harness.start_on(group.clone());
    harness.produce(0, &[1]).await;
    group.read_up_to(0, 1).await;
    set(&harness, 60);
    lags(&recorded, "0", 60.0).await;
    harness.produce(0, &[2]).await;
    group.read_up_to(0, 2).await;
    set(&harness, 90);
    lags(&recorded, "0", 90.0).await;
    lags(&recorded, "1", 0.0).await;
    assert_eq!(recorded.value("playhead_sink_lag_records", &[("partition", "0")]), Some(2.0));
    harness.produce(0, &[3]).await;
    harness.committed(0, 2).await;
    lags(&recorded, "0", 0.0).await;
    assert_eq!(recorded.value("playhead_sink_lag_records", &[("partition", "0")]), Some(0.0));
    running.stop().await;
}

#[tokio::test]
async fn the_lag_grows_while_the_lake_is_down() {
    let recorded = Recorded::default();
    let _recorder = metrics::set_default_local_recorder(&recorded);
    let mut harness = harness();
    harness.drain().await;
    harness.config.flush_rows = 1;
    let Location::Local(events) = harness.lake().events else { panic!("the harness is local") };
    let obstacle = events.join(format!("event_date={DATE}"));
    fs::write(&obstacle, "a file where a folder belongs").unwrap();
    let running = harness.start();
    harness.produce(0, &[1]).await;
    let told = "lake is unavailable";
    eventually("it is told", async || running.ready().is_err_and(|words| words.contains(told))).await;
    for seconds in [60, 600] {
        set(&harness, seconds);
        lags(&recorded, "0", seconds as f64).await;
    }
    fs::remove_file(&obstacle).unwrap();
    lags(&recorded, "0", 0.0).await;
    running.stop().await;
}

#[tokio::test]
async fn the_lag_grows_while_the_log_is_silent() {
    let recorded = Recorded::default();
    let _recorder = metrics::set_default_local_recorder(&recorded);
    let harness = harness();
    let group = Group::over(&harness);
    let running = harness.start_on(group.clone());
    harness.produce(0, &[1]).await;
    group.read_up_to(0, 1).await;
    group.silence(Silence::All);
    for seconds in [60, 600] {
        set(&harness, seconds);
        lags(&recorded, "0", seconds as f64).await;
    }
    group.silence(Silence::None);
    running.stop().await;
    lags(&recorded, "0", 0.0).await;
}

#[tokio::test]
async fn a_stopped_partition_lags_more_and_more() {
    let recorded = Recorded::default();
    let _recorder = metrics::set_default_local_recorder(&recorded);
    let harness = harness();
    harness.produce(0, &[1]).await;
    harness.drain().await;
    harness.log.faults().wipe();
    let running = harness.start();
    eventually("it stops", async || running.ready().is_err_and(|words| words.contains("stopped"))).await;
    set(&harness, 60);
    lags(&recorded, "0", 60.0).await;
    running.stop().await;
}

#[tokio::test]
async fn a_partition_that_is_another_sinks_has_no_lag_here_and_rebalances_are_counted() {
    let recorded = Recorded::default();
    let _recorder = metrics::set_default_local_recorder(&recorded);
    let harness = harness();
    let group = Group::over(&harness);
    let running = harness.start_on(group.clone());
    harness.produce(0, &[1]).await;
    group.read_up_to(0, 1).await;
    set(&harness, 60);
    lags(&recorded, "0", 60.0).await;
    assert_eq!(recorded.value("playhead_sink_partitions_assigned", &[]), Some(2.0));
    group.order(Next::Revoked(vec![0])).await;
    set(&harness, 90);
    lags(&recorded, "0", 0.0).await;
    assert_eq!(recorded.value("playhead_sink_lag_records", &[("partition", "0")]), Some(0.0));
    assert_eq!(recorded.value("playhead_sink_partitions_assigned", &[]), Some(1.0));
    assert_eq!(recorded.value("playhead_sink_assignments_total", &[]), Some(2.0));
    assert_eq!(recorded.value("playhead_sink_revocations_total", &[]), Some(1.0));
    running.stop().await;
}
