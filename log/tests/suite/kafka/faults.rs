//! A broker that hangs, dies and comes back, and a topic that goes.
use super::{append_at_last, delete, make, member, next, open_on};
use crate::harness::{Kafka, append, read_from, reader_at, record, soon, text};
use log::kafka::{Options, open};
use log::{AppendError, Next, ReadError};
use std::time::Duration;
use testbed::kafka::Broker;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_longer_than_a_delivery_may_take_leaves_outcomes_unknown_and_nothing_hangs() {
    let broker = Broker::start();
    let options = Options { delivery_timeout_ms: 2_000, ..Kafka::options(&broker, 2) };
    let log = open(options).await.unwrap();
    append(&log, 0, &["a"]).await;
    broker.pause();
    let writer = log.writer();
    let appends = (0..4).map(|n| writer.append(n % 2, record(format!("hung-{n}"))));
    for outcome in soon(futures::future::join_all(appends)).await {
        assert!(matches!(&outcome, Err(AppendError::Unknown(words)) if words.contains("2000 ms")), "{outcome:?}");
    }
    broker.resume();
    append_at_last(&log, 0, "after").await;
    append_at_last(&log, 1, "after").await;
    let texts: Vec<_> = read_from(&log, 0, 0).await.iter().map(|entry| text(entry).to_owned()).collect();
    assert_eq!((texts.first().unwrap().as_str(), texts.last().unwrap().as_str()), ("a", "after"));
    let hung = texts.iter().filter(|text| text.starts_with("hung")).count();
    assert!(hung <= 2, "each was written once or not at all: {texts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_says_that_a_hung_broker_does_not_answer_and_goes_on_when_it_does() {
    let broker = Broker::start();
    let (_, log) = open_on(&broker, 1).await;
    append(&log, 0, &["a"]).await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    assert!(matches!(soon(reader.next()).await, Ok(Next::Record(_))));
    broker.pause();
    let words = soon(async {
        loop {
            if let Err(ReadError::Unavailable(words)) = reader.next().await {
                return words;
            }
        }
    })
    .await;
    assert!(!words.is_empty());
    assert!(matches!(soon(reader.bounds(0)).await, Err(ReadError::Unavailable(_))));
    assert!(matches!(soon(reader.fingerprint_at(0, 0)).await, Err(ReadError::Unavailable(_))), "unknown is not none");
    broker.resume();
    append_at_last(&log, 0, "b").await;
    loop {
        match next(&mut reader).await.unwrap() {
            Next::Record(entry) => break assert_eq!(entry.offset, 1),
            Next::CaughtUp { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(soon(reader.fingerprint_at(0, 0)).await.unwrap(), Some(record("a").fingerprint()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_loses_and_repeats_nothing_that_was_acknowledged() {
    let mut broker = Broker::start();
    let options = Options { delivery_timeout_ms: 2_000, ..Kafka::options(&broker, 1) };
    let log = open(options).await.unwrap();
    let (mut reader, _) = member(&log).await;
    reader.seek(0, 0).await.unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        for n in 0..20 {
            acknowledged.push(append_at_last(&log, 0, &format!("{round}-{n}")).await);
        }
        broker.kill();
        let down = soon(log.writer().append(0, record("down"))).await;
        assert!(matches!(&down, Err(AppendError::Unknown(_) | AppendError::Full(_))), "{down:?}");
        broker.restart();
    }
    acknowledged.push(append_at_last(&log, 0, "last").await);
    let last = *acknowledged.last().unwrap();
    let mut expected = 0;
    while expected <= last {
        match next(&mut reader).await.unwrap() {
            Next::Record(entry) => {
                assert_eq!(entry.offset, expected);
                expected += 1;
            }
            Next::CaughtUp { .. } => {}
            // The group may have been lost with the broker, and is there again.
            Next::Revoked(_) => {}
            Next::Assigned(_) => reader.seek(0, expected).await.unwrap(),
        }
    }
    assert!(acknowledged.is_sorted_by(|a, b| a < b));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_is_told_by_its_offsets_or_its_fingerprints() {
    let broker = Broker::start();
    let (options, log) = open_on(&broker, 1).await;
    append(&log, 0, &["a", "b", "c"]).await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    let mut read = 0;
    while read < 3 {
        if let Next::Record(entry) = next(&mut reader).await.unwrap() {
            read = entry.offset + 1;
        }
    }
    let mark = record("c").fingerprint();
    assert_eq!(reader.fingerprint_at(0, 2).await.unwrap(), Some(mark));
    delete(&options).await;
    make(&options, 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let anew = open(options.clone()).await.unwrap();
    // Fewer records than were read: the position is past its end.
    append_at_last(&anew, 0, "z").await;
    let told = soon(async {
        loop {
            match reader.next().await {
                Ok(Next::CaughtUp { .. }) | Err(ReadError::Unavailable(_)) => {}
                told => return told,
            }
        }
    })
    .await;
    assert!(matches!(&told, Err(ReadError::OutOfRange { offset: 3, start: 0, end: 1, .. })), "{told:?}");
    assert_eq!(soon(fingerprint(&mut reader, 2)).await, None);
    // As many and more: only the fingerprint tells.
    for text in ["y", "x", "w"] {
        append_at_last(&anew, 0, text).await;
    }
    let found = soon(fingerprint(&mut reader, 2)).await;
    assert!(found.is_some_and(|found| found != mark), "{found:?}");
    // What the reader hands out now begins at its position: never a record below it.
    match next(&mut reader).await {
        Ok(Next::Record(entry)) => assert_eq!((entry.offset, text(&entry)), (3, "w")),
        Err(ReadError::OutOfRange { offset: 3, .. }) => {}
        other => panic!("{other:?}"),
    }
}

async fn fingerprint(reader: &mut Box<dyn log::Reader>, offset: u64) -> Option<i64> {
    loop {
        match reader.fingerprint_at(0, offset).await {
            Ok(found) => return found,
            Err(ReadError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_makes_reading_unavailable_in_words_and_appends_unacknowledged() {
    let broker = Broker::start();
    let options = Options { delivery_timeout_ms: 2_000, ..Kafka::options(&broker, 1) };
    let log = open(options.clone()).await.unwrap();
    append(&log, 0, &["a"]).await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    assert!(matches!(soon(reader.next()).await, Ok(Next::Record(_))));
    delete(&options).await;
    let words = soon(async {
        loop {
            match reader.next().await {
                Err(ReadError::Unavailable(words)) => return words,
                Ok(Next::CaughtUp { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert!(!words.is_empty());
    let appended = soon(log.writer().append(0, record("b"))).await;
    assert!(matches!(&appended, Err(AppendError::Unknown(_) | AppendError::Full(_))), "{appended:?}");
}

/// Where the broker keeps a partition's first segment.
fn segment(broker: &Broker, topic: &str) -> std::path::PathBuf {
    let said = broker.expect_tool("org.apache.kafka.tools.LogDirsCommand", &["--describe", "--topic-list", topic], "");
    let dir = said.split("\"logDir\":\"").nth(1).unwrap().split('"').next().unwrap();
    std::path::Path::new(dir).join(format!("{topic}-0")).join("00000000000000000000.log")
}

/// Breaks the checksum of the batch that holds `second`, in partition 0.
fn break_second(broker: &Broker, topic: &str) {
    let path = segment(broker, topic);
    let content = std::fs::read(&path).unwrap();
    let at = content.windows(6).position(|bytes| bytes == b"second").unwrap() as u64;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"5econd", at).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_broken_on_the_brokers_disk_is_never_passed_over() {
    let broker = Broker::start();
    let (options, log) = open_on(&broker, 1).await;
    append(&log, 0, &["first", "second", "third"]).await;
    break_second(&broker, &options.topic);
    let mut reader = reader_at(&log, None, 0, 0).await;
    let (mut read, mut passing) = (Vec::new(), 0);
    let words = soon(async {
        loop {
            match reader.next().await {
                Ok(Next::Record(entry)) => read.push(text(&entry).to_owned()),
                Err(ReadError::Unavailable(_)) => passing += 1,
                Err(ReadError::Corrupt(words)) => return words,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert!(words.contains("CRC") && words.contains("offset 1"), "{words}");
    assert_eq!(read, ["first"], "nor is anything after it read");
    assert!(passing > 0, "what a network broke may come whole the next time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_batch_is_told_however_busy_another_partition_is() {
    let broker = Broker::start();
    let (options, log) = open_on(&broker, 2).await;
    append(&log, 0, &["first", "second", "third"]).await;
    break_second(&broker, &options.topic);
    let mut reader = reader_at(&log, None, 1, 0).await;
    let busy = tokio::spawn(async move {
        loop {
            append(&log, 1, &["x"]).await;
        }
    });
    while !matches!(soon(reader.next()).await.unwrap(), Next::Record(_)) {}
    reader.seek(0, 0).await.unwrap();
    let (mut read, mut passing) = (Vec::new(), 0);
    let words = soon(async {
        loop {
            match reader.next().await {
                Ok(Next::Record(entry)) if entry.partition == 0 => read.push(text(&entry).to_owned()),
                Ok(Next::Record(_) | Next::CaughtUp { partition: 1, .. }) => {}
                Err(ReadError::Unavailable(_)) => passing += 1,
                Err(ReadError::Corrupt(words)) => return words,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    busy.abort();
    assert!(words.contains("CRC") && words.contains("offset 1"), "{words}");
    assert_eq!(read, ["first"], "nor is anything after it read");
    assert!(passing >= 2, "each fetch but the last may have been a network's fault");
}
