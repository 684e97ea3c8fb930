//! What every log promises about what it keeps, what it drops, and when it is full.
use super::settings;
use crate::harness::{
    Harness, Settings, append, bounds, read_from, reader_at, record, release, soon, text, texts_from,
};
use log::{AppendError, Next, ReadError};

pub async fn retention_never_passes_the_slowest_reader<H: Harness>() {
    let harness = H::new(settings(|settings| settings.readers = vec!["sink".into(), "processor".into()]));
    let log = harness.open().await;
    append(&log, 0, &["a", "b", "c", "d"]).await;
    harness.clock().advance_ms(100_000);
    log.retain().await.unwrap();
    assert_eq!(bounds(&log, 0).await, 0..4, "nobody has released anything");
    release(&log, "sink", 0, 4).await;
    log.retain().await.unwrap();
    assert_eq!(bounds(&log, 0).await, 0..4, "the processor has not");
    release(&log, "processor", 0, 3).await;
    log.retain().await.unwrap();
    assert_eq!(bounds(&log, 0).await, 3..4);
    assert_eq!(texts_from(&log, 0, 3).await, ["d"]);
}

pub async fn retention_without_readers_goes_by_age<H: Harness>() {
    let harness = H::new(settings(|settings| settings.readers.clear()));
    let log = harness.open().await;
    append(&log, 0, &["a", "b"]).await;
    harness.clock().advance_ms(1_001);
    append(&log, 0, &["c"]).await;
    log.retain().await.unwrap();
    assert_eq!(bounds(&log, 0).await, 2..3);
}

pub async fn a_released_record_stays_until_it_is_old<H: Harness>() {
    let harness = H::new(Settings::default());
    let log = harness.open().await;
    append(&log, 0, &["a", "b"]).await;
    release(&log, "sink", 0, 2).await;
    harness.clock().advance_ms(1_000);
    log.retain().await.unwrap();
    assert_eq!(bounds(&log, 0).await, 0..2);
    harness.clock().advance_ms(1);
    log.retain().await.unwrap();
    assert_eq!(bounds(&log, 0).await, 2..2);
}

pub async fn releases_only_go_up_and_survive_a_restart<H: Harness>() {
    let harness = H::new(Settings::default());
    let log = harness.open().await;
    append(&log, 0, &["a", "b", "c"]).await;
    release(&log, "sink", 0, 2).await;
    release(&log, "sink", 0, 1).await;
    let log = harness.reopen(log).await;
    harness.clock().advance_ms(100_000);
    log.retain().await.unwrap();
    assert_eq!(bounds(&log, 0).await, 2..3);
}

pub async fn a_release_past_the_end_is_refused<H: Harness>() {
    let log = H::new(Settings::default()).open().await;
    append(&log, 0, &["a"]).await;
    let mut reader = log.reader(Some("sink")).await.unwrap();
    assert!(matches!(reader.release(0, 2).await, Err(ReadError::OutOfRange { offset: 2, end: 1, .. })));
    assert!(log.reader(None).await.unwrap().release(0, 1).await.is_err(), "a bystander has nothing to release");
}

pub async fn a_bystander_that_retention_passed_is_told<H: Harness>() {
    let harness = H::new(Settings::default());
    let log = harness.open().await;
    append(&log, 0, &["a", "b", "c"]).await;
    let mut bystander = reader_at(&log, None, 0, 0).await;
    assert!(matches!(soon(bystander.next()).await.unwrap(), Next::Record(entry) if entry.offset == 0));
    release(&log, "sink", 0, 2).await;
    harness.clock().advance_ms(100_000);
    log.retain().await.unwrap();
    for _ in 0..2 {
        let told = soon(bystander.next()).await.unwrap_err();
        assert!(matches!(told, ReadError::OutOfRange { partition: 0, offset: 1, start: 2, end: 3 }), "{told}");
    }
    bystander.seek(0, 2).await.unwrap();
    assert!(matches!(soon(bystander.next()).await.unwrap(), Next::Record(entry) if text(&entry) == "c"));
}

pub async fn a_log_that_lost_all_its_records_keeps_its_offsets_and_its_time<H: Harness>() {
    let harness = H::new(Settings::default());
    harness.clock().set(50);
    let log = harness.open().await;
    append(&log, 0, &["a", "b", "c"]).await;
    release(&log, "sink", 0, 3).await;
    harness.clock().advance_ms(100_000);
    log.retain().await.unwrap();
    let log = harness.reopen(log).await;
    assert_eq!(bounds(&log, 0).await, 3..3);
    harness.clock().set(0);
    assert_eq!(append(&log, 0, &["d"]).await, [3]);
    assert_eq!(read_from(&log, 0, 3).await[0].timestamp, 50);
    let log = harness.reopen(log).await;
    assert_eq!(texts_from(&log, 0, 3).await, ["d"]);
}

pub async fn a_full_log_refuses_and_recovers_when_readers_release<H: Harness>() {
    let harness = H::new(settings(|settings| settings.disk_bytes_max = 20_000));
    let log = harness.open().await;
    let writer = log.writer();
    let payload = "x".repeat(1_000);
    let mut taken = 0;
    let refused = loop {
        match writer.append(taken % 2, record(payload.clone())).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, AppendError::Full(words) if words.contains("20000")), "{refused}");
    assert!((15..20).contains(&taken), "{taken} records of 1 kB were taken");
    log.retain().await.unwrap();
    assert!(
        matches!(writer.append(0, record(payload.clone())).await, Err(AppendError::Full(_))),
        "nothing is released"
    );
    assert_eq!(bounds(&log, 0).await.start, 0, "nothing was dropped");
    let log = harness.reopen(log).await;
    assert!(matches!(log.writer().append(0, record(payload.clone())).await, Err(AppendError::Full(_))));
    release(&log, "sink", 0, 5).await;
    log.retain().await.unwrap();
    log.writer().append(0, record(payload)).await.unwrap();
}

pub async fn room_is_made_before_the_log_is_full<H: Harness>() {
    let harness = H::new(settings(|settings| settings.disk_bytes_max = 20_000));
    let log = harness.open().await;
    let payload = "x".repeat(1_000);
    for n in 0..60 {
        log.writer().append(0, record(payload.clone())).await.unwrap();
        release(&log, "sink", 0, n + 1).await;
        log.retain().await.unwrap();
    }
    let held = bounds(&log, 0).await;
    assert!(held.end == 60 && (10..=16).contains(&(held.end - held.start)), "four fifths stay: {held:?}");
}
