//! What every log promises. Each function takes a kind of log by its harness.
use crate::harness::{Harness, Settings, append, bounds, read_from, reader_at, record, soon, text, texts_from};
use bytes::Bytes;
use event::limits::RECORD_BYTES_MAX;
use futures::FutureExt;
use futures::future::poll_fn;
use log::{AppendError, Next, ReadError, Record};
use std::collections::BTreeSet;
use std::task::Poll;

mod retention;
pub use retention::*;

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings);
    settings
}

pub async fn offsets_begin_at_zero_and_have_no_gaps<H: Harness>() {
    let log = H::new(Settings::default()).open().await;
    assert_eq!(append(&log, 0, &["a", "b"]).await, [0, 1]);
    assert_eq!(append(&log, 1, &["c"]).await, [0]);
    assert_eq!(append(&log, 0, &["d"]).await, [2]);
    assert_eq!(texts_from(&log, 0, 0).await, ["a", "b", "d"]);
    assert_eq!(texts_from(&log, 1, 0).await, ["c"]);
}

pub async fn concurrent_appends_keep_the_order_of_their_first_poll<H: Harness>() {
    let log = H::new(Settings::default()).open().await;
    let writer = log.writer();
    let mut appends: Vec<_> = (0..200).map(|n| writer.append(n % 2, record(n.to_string()))).collect();
    let mut done = vec![None; appends.len()];
    for (append, done) in appends.iter_mut().zip(&mut done) {
        *done = poll_fn(|context| match append.poll_unpin(context) {
            Poll::Ready(offset) => Poll::Ready(Some(offset)),
            Poll::Pending => Poll::Ready(None),
        })
        .await;
    }
    // Answers are fetched in another order than the appends were made.
    for (n, (append, done)) in appends.into_iter().zip(done).enumerate().rev() {
        let offset = match done {
            Some(offset) => offset,
            None => append.await,
        };
        assert_eq!(offset.unwrap(), n as u64 / 2);
    }
    for partition in 0..2 {
        let expected: Vec<_> = (0..100).map(|n| (2 * n + partition).to_string()).collect();
        assert_eq!(texts_from(&log, partition, 0).await, expected);
    }
}

pub async fn many_writers_lose_and_repeat_nothing<H: Harness>() {
    let log = H::new(Settings::default()).open().await;
    let tasks = (0..8).map(|task| {
        let writer = log.writer();
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0..50 {
                let text = format!("{task}-{n}");
                let offset = writer.append(task % 2, record(text.clone())).await.unwrap();
                acknowledged.push((task % 2, offset, text));
            }
            acknowledged
        })
    });
    let mut acknowledged = BTreeSet::new();
    for task in tasks.collect::<Vec<_>>() {
        let mine = task.await.unwrap();
        assert!(mine.is_sorted_by_key(|(_, offset, _)| *offset), "one writer's appends are in its order");
        acknowledged.extend(mine);
    }
    let mut read = BTreeSet::new();
    for partition in 0..2 {
        read.extend(read_from(&log, partition, 0).await.iter().map(|e| (partition, e.offset, text(e).to_owned())));
    }
    assert_eq!(read, acknowledged);
}

pub async fn a_reader_gets_its_partitions_first_and_no_record_before_a_seek<H: Harness>() {
    let log = H::new(Settings::default()).open().await;
    append(&log, 1, &["a"]).await;
    let mut reader = log.reader(None).await.unwrap();
    assert_eq!(reader.next().await.unwrap(), Next::Assigned(vec![0, 1]));
    assert!(reader.next().now_or_never().is_none(), "nothing was sought");
    reader.seek(1, 0).await.unwrap();
    assert!(matches!(soon(reader.next()).await.unwrap(), Next::Record(entry) if text(&entry) == "a"));
}

pub async fn reading_begins_at_any_offset<H: Harness>() {
    let log = H::new(Settings::default()).open().await;
    append(&log, 0, &["a", "b", "c"]).await;
    for (offset, expected) in [(0, vec!["a", "b", "c"]), (1, vec!["b", "c"]), (2, vec!["c"]), (3, vec![])] {
        assert_eq!(texts_from(&log, 0, offset).await, expected);
    }
    let mut reader = reader_at(&log, None, 0, 2).await;
    assert!(matches!(soon(reader.next()).await.unwrap(), Next::Record(entry) if entry.offset == 2));
    reader.seek(0, 1).await.unwrap();
    assert!(matches!(soon(reader.next()).await.unwrap(), Next::Record(entry) if entry.offset == 1), "a seek goes back");
}

pub async fn a_seek_outside_of_the_log_is_refused<H: Harness>() {
    let log = H::new(Settings::default()).open().await;
    append(&log, 0, &["a"]).await;
    let mut reader = log.reader(None).await.unwrap();
    let refused = reader.seek(0, 2).await.unwrap_err();
    assert!(matches!(refused, ReadError::OutOfRange { partition: 0, offset: 2, start: 0, end: 1 }), "{refused}");
    assert!(reader.seek(7, 0).await.is_err(), "there is no such partition");
    assert!(matches!(log.writer().append(7, record("x")).await, Err(AppendError::Stopped(_))));
}

pub async fn the_end_is_said_once_and_then_the_reader_waits<H: Harness>() {
    let log = H::new(Settings::default()).open().await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    assert_eq!(soon(reader.next()).await.unwrap(), Next::CaughtUp { partition: 0, end: 0 });
    assert!(reader.next().now_or_never().is_none());
    let waiting = tokio::spawn(async move {
        let next = reader.next().await;
        (reader, next)
    });
    append(&log, 0, &["a"]).await;
    let (mut reader, next) = soon(waiting).await.unwrap();
    assert!(matches!(next.unwrap(), Next::Record(entry) if entry.offset == 0));
    assert_eq!(soon(reader.next()).await.unwrap(), Next::CaughtUp { partition: 0, end: 1 });
    assert!(reader.next().now_or_never().is_none());
}

pub async fn a_reader_never_sees_past_the_end<H: Harness>() {
    let log = H::new(Settings::default()).open().await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    let writer = log.writer();
    let appending = tokio::spawn(async move {
        for n in 0..200 {
            assert_eq!(writer.append(0, record(n.to_string())).await.unwrap(), n);
        }
    });
    let mut expected = 0;
    while expected < 200 {
        match soon(reader.next()).await.unwrap() {
            Next::Record(entry) => {
                assert_eq!(entry.offset, expected);
                expected += 1;
            }
            Next::CaughtUp { end, .. } => assert_eq!(end, expected),
            other => panic!("{other:?}"),
        }
        assert!(reader.bounds(0).await.unwrap().end >= expected);
    }
    appending.await.unwrap();
}

pub async fn partitions_take_turns<H: Harness>() {
    let log = H::new(Settings::default()).open().await;
    append(&log, 0, &["a"; 20]).await;
    append(&log, 1, &["b"; 3]).await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    reader.seek(1, 0).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..6 {
        let Next::Record(entry) = soon(reader.next()).await.unwrap() else { panic!("records are left") };
        seen.push(entry.partition);
    }
    assert_eq!(seen.iter().filter(|partition| **partition == 1).count(), 3, "{seen:?}");
}

pub async fn a_dropped_next_loses_nothing<H: Harness>() {
    let log = H::new(Settings::default()).open().await;
    append(&log, 0, &["a", "b", "c", "d", "e"]).await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    let mut seen = Vec::new();
    let mut dropped = 0;
    soon(async {
        while seen.len() < 5 {
            // Polled once, then dropped, whatever it was about to do.
            match reader.next().now_or_never() {
                Some(Ok(Next::Record(entry))) => seen.push(text(&entry).to_owned()),
                Some(other) => panic!("{other:?}"),
                None => {
                    dropped += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
    })
    .await;
    assert_eq!(seen, ["a", "b", "c", "d", "e"], "after {dropped} dropped calls");
}

pub async fn an_offset_is_found_by_time<H: Harness>() {
    let harness = H::new(Settings::default());
    let log = harness.open().await;
    let mut reader = log.reader(None).await.unwrap();
    assert_eq!(reader.offset_at(0, 0).await.unwrap(), None, "the log is empty");
    for now in [10, 10, 20, 40] {
        harness.clock().set(now);
        append(&log, 0, &["x"]).await;
    }
    for (time, expected) in [(i64::MIN, Some(0)), (10, Some(0)), (11, Some(2)), (40, Some(3)), (41, None)] {
        assert_eq!(reader.offset_at(0, time).await.unwrap(), expected, "at {time}");
    }
}

pub async fn timestamps_do_not_follow_a_clock_that_jumps_back<H: Harness>() {
    let harness = H::new(Settings::default());
    harness.clock().set(1_000);
    let log = harness.open().await;
    append(&log, 0, &["a"]).await;
    harness.clock().set(10);
    append(&log, 0, &["b"]).await;
    let log = harness.reopen(log).await;
    append(&log, 0, &["c"]).await;
    harness.clock().set(2_000);
    append(&log, 0, &["d"]).await;
    let times: Vec<_> = read_from(&log, 0, 0).await.iter().map(|entry| entry.timestamp).collect();
    assert_eq!(times, [1_000, 1_000, 1_000, 2_000]);
}

fn sized(bytes: usize) -> Record {
    let headers = vec![("name".to_owned(), Bytes::from_static(b"value"))];
    Record { payload: vec![7; bytes - 9].into(), headers }
}

pub async fn a_record_at_the_limit_is_taken_and_one_over_it_refused<H: Harness>() {
    let log = H::new(Settings::default()).open().await;
    let writer = log.writer();
    let refused = writer.append(0, sized(RECORD_BYTES_MAX + 1)).await.unwrap_err();
    assert!(matches!(refused, AppendError::TooLarge { bytes, max } if bytes == max + 1 && max == RECORD_BYTES_MAX));
    assert_eq!(writer.append(0, sized(RECORD_BYTES_MAX)).await.unwrap(), 0, "what was refused took no offset");
    assert_eq!(read_from(&log, 0, 0).await[0].record, sized(RECORD_BYTES_MAX));
}

pub async fn headers_and_payload_come_back_as_they_were<H: Harness>() {
    let harness = H::new(Settings::default());
    let log = harness.open().await;
    let headers = vec![("b".to_owned(), Bytes::from_static(b"\0\xff")), ("a".to_owned(), Bytes::new())];
    let records = [
        Record { headers, payload: Bytes::from_static(b"\0payload") },
        Record { headers: Vec::new(), payload: Bytes::new() },
    ];
    for record in &records {
        log.writer().append(1, record.clone()).await.unwrap();
    }
    let log = harness.reopen(log).await;
    let read: Vec<_> = read_from(&log, 1, 0).await.into_iter().map(|entry| entry.record).collect();
    assert_eq!(read, records);
}

pub async fn a_fingerprint_is_that_of_the_record_that_stands_there<H: Harness>() {
    let log = H::new(Settings::default()).open().await;
    append(&log, 0, &["a", "b", "b"]).await;
    append(&log, 1, &["c"]).await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    for (partition, offset, text) in [(0, 1, "b"), (0, 0, "a"), (1, 0, "c"), (0, 2, "b"), (0, 2, "b")] {
        let fingerprint = reader.fingerprint_at(partition, offset).await.unwrap();
        assert_eq!(fingerprint, Some(record(text).fingerprint()), "{partition}, {offset}");
    }
    for (partition, offset) in [(0, 3), (0, 4), (0, 1_000_000), (1, 1)] {
        assert_eq!(reader.fingerprint_at(partition, offset).await.unwrap(), None, "{partition}, {offset}");
    }
    assert!(reader.fingerprint_at(7, 0).await.is_err(), "there is no such partition");
    assert!(matches!(soon(reader.next()).await.unwrap(), Next::Record(entry) if entry.offset == 0), "it did not move");
}

pub async fn a_restart_keeps_everything<H: Harness>() {
    let harness = H::new(Settings::default());
    harness.clock().set(5);
    let mut log = harness.open().await;
    for round in 0..3 {
        append(&log, 0, &[&format!("a{round}"), &format!("b{round}")]).await;
        let before = read_from(&log, 0, 0).await;
        log = harness.reopen(log).await;
        assert_eq!(read_from(&log, 0, 0).await, before);
    }
    assert_eq!(append(&log, 0, &["next"]).await, [6]);
    assert_eq!(append(&log, 1, &["first"]).await, [0]);
}

pub async fn closing_answers_what_is_under_way_and_takes_no_more<H: Harness>() {
    let harness = H::new(Settings::default());
    let log = harness.open().await;
    let (writer, mut reader) = (log.writer(), reader_at(&log, None, 0, 0).await);
    let mut under_way: Vec<_> = (0..20).map(|n| writer.append(0, record(n.to_string()))).collect();
    let mut answers = Vec::new();
    for append in &mut under_way {
        answers.extend(append.now_or_never());
    }
    soon(log.close()).await.unwrap();
    assert!(matches!(writer.append(0, record("late")).await, Err(AppendError::Stopped(_))));
    assert!(matches!(soon(reader.next()).await, Err(ReadError::Unavailable(_))));
    drop(under_way);
    drop((writer, reader));
    let log = harness.reopen(log).await;
    assert_eq!(bounds(&log, 0).await, 0..20);
}
