//! The faults that a log in memory does by order.
use crate::harness::{HandClock, append, bounds, reader_at, record, soon, text, texts_from};
use event::clock::Clock;
use futures::FutureExt;
use log::memory::{Faults, Log as MemoryLog};
use log::{AppendError, Log, Next, ReadError};
use std::sync::Arc;
use std::time::Duration;

fn log() -> (Arc<dyn Log>, Faults) {
    let clock: Arc<dyn Clock> = Arc::new(HandClock::default());
    let log = MemoryLog::new("events", 2, clock);
    let faults = log.faults();
    (log, faults)
}

#[tokio::test]
async fn an_append_fails_when_it_is_its_turn_and_writes_nothing() {
    let (log, faults) = log();
    faults.fail_append(2, AppendError::Unknown("time-out".into()));
    append(&log, 0, &["a"]).await;
    assert!(matches!(log.writer().append(0, record("b")).await, Err(AppendError::Unknown(_))));
    append(&log, 0, &["c"]).await;
    assert_eq!(texts_from(&log, 0, 0).await, ["a", "c"]);
}

#[tokio::test]
async fn all_appends_fail_until_recovery() {
    let (log, faults) = log();
    faults.fail_appends(AppendError::Full("disk".into()));
    for _ in 0..3 {
        assert!(matches!(log.writer().append(0, record("x")).await, Err(AppendError::Full(_))));
    }
    faults.recover();
    assert_eq!(append(&log, 0, &["a"]).await, [0]);
}

#[tokio::test]
async fn a_lost_reply_leaves_the_record_written() {
    let (log, faults) = log();
    faults.lose_reply(1);
    assert!(matches!(log.writer().append(0, record("a")).await, Err(AppendError::Unknown(_))));
    assert_eq!(texts_from(&log, 0, 0).await, ["a"]);
}

#[tokio::test]
async fn a_delayed_append_is_read_before_it_is_answered() {
    let (log, faults) = log();
    faults.delay_append(1, Duration::from_millis(20));
    let writer = log.writer();
    let mut delayed = writer.append(0, record("a"));
    assert!((&mut delayed).now_or_never().is_none());
    assert_eq!(texts_from(&log, 0, 0).await, ["a"]);
    assert_eq!(soon(delayed).await.unwrap(), 0);
}

#[tokio::test]
async fn a_hung_log_writes_in_order_when_it_is_released() {
    let (log, faults) = log();
    faults.hold_appends();
    let writer = log.writer();
    let (mut first, mut second) = (writer.append(0, record("a")), writer.append(0, record("b")));
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    drop(first);
    assert_eq!(bounds(&log, 0).await, 0..0);
    faults.release_appends();
    assert_eq!(soon(second).await.unwrap(), 1);
    assert_eq!(texts_from(&log, 0, 0).await, ["a", "b"], "a caller that has gone changes nothing");
}

#[tokio::test]
async fn readers_do_not_see_what_is_written_but_not_durable() {
    let (log, faults) = log();
    append(&log, 0, &["a"]).await;
    faults.hold_sync();
    let writer = log.writer();
    let mut append = writer.append(0, record("b"));
    assert!((&mut append).now_or_never().is_none());
    let mut reader = reader_at(&log, None, 0, 1).await;
    assert_eq!(reader.bounds(0).await.unwrap(), 0..1);
    assert_eq!(reader.next().await.unwrap(), Next::CaughtUp { partition: 0, end: 1 });
    assert!(reader.next().now_or_never().is_none());
    assert_eq!(reader.offset_at(0, 0).await.unwrap(), Some(0));
    faults.sync();
    assert_eq!(soon(append).await.unwrap(), 1);
    assert!(matches!(soon(reader.next()).await.unwrap(), Next::Record(entry) if text(&entry) == "b"));
}

#[tokio::test]
async fn a_power_loss_takes_what_was_not_durable() {
    let (log, faults) = log();
    append(&log, 0, &["a"]).await;
    faults.hold_sync();
    let writer = log.writer();
    let mut lost = writer.append(0, record("b"));
    assert!((&mut lost).now_or_never().is_none());
    faults.power_loss();
    assert!(matches!(soon(lost).await, Err(AppendError::Unknown(_))));
    faults.release_sync();
    assert_eq!(append(&log, 0, &["c"]).await, [1], "the offset goes to another record");
}

#[tokio::test]
async fn a_reader_above_a_log_that_was_cut_off_or_made_anew_is_told() {
    let (log, faults) = log();
    append(&log, 0, &["a", "b", "c"]).await;
    let mut reader = reader_at(&log, None, 0, 3).await;
    faults.truncate(0, 1);
    assert!(matches!(reader.next().await, Err(ReadError::OutOfRange { offset: 3, start: 0, end: 1, .. })));
    faults.wipe();
    assert!(matches!(reader.next().await, Err(ReadError::OutOfRange { offset: 3, start: 0, end: 0, .. })));
    assert_eq!(append(&log, 0, &["z"]).await, [0]);
}

#[tokio::test]
async fn a_broker_drops_records_that_a_reader_needs() {
    let (log, faults) = log();
    append(&log, 0, &["a", "b", "c"]).await;
    let mut reader = reader_at(&log, Some("sink"), 0, 0).await;
    faults.drop_below(0, 2);
    assert!(matches!(reader.next().await, Err(ReadError::OutOfRange { offset: 0, start: 2, end: 3, .. })));
}

#[tokio::test]
async fn a_read_fails_when_it_is_its_turn_and_loses_nothing() {
    let (log, faults) = log();
    append(&log, 0, &["a", "b"]).await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    faults.fail_read(2, ReadError::Unavailable("broker".into()));
    assert!(matches!(reader.next().await.unwrap(), Next::Record(entry) if entry.offset == 0));
    assert!(matches!(reader.next().await, Err(ReadError::Unavailable(_))));
    assert!(matches!(reader.next().await.unwrap(), Next::Record(entry) if entry.offset == 1));
}

#[tokio::test]
async fn what_was_released_can_be_asked() {
    let (log, faults) = log();
    append(&log, 0, &["a"]).await;
    log.reader(Some("sink")).await.unwrap().release(0, 1).await.unwrap();
    assert_eq!(
        (faults.released("sink", 0), faults.released("sink", 1), faults.released("tail", 0)),
        (Some(1), Some(0), None)
    );
}
