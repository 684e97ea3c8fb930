//! Reading what others wrote, dropped or took offsets for.
use super::{client, drop_below, member, next, open_on};
use crate::harness::{append, reader_at, record, soon, text, texts_from};
use log::{Log, Next, ReadError, Reader};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::sync::Arc;
use std::time::Duration;
use testbed::kafka::Broker;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_kafkas_console_producer_is_read() {
    let broker = Broker::shared();
    let (options, log) = open_on(broker, 1).await;
    let args = ["--topic", &options.topic, "--property", "parse.headers=true"];
    let input = "content-type:application/json,x:\t{\"a\":1}\n";
    broker.expect_tool("org.apache.kafka.tools.ConsoleProducer", &args, input);
    let mut reader = reader_at(&log, None, 0, 0).await;
    let Next::Record(entry) = soon(reader.next()).await.unwrap() else { panic!("a record is there") };
    assert_eq!(text(&entry), "{\"a\":1}");
    assert_eq!(entry.record.header("content-type"), Some(&b"application/json"[..]));
    assert_eq!(reader.fingerprint_at(0, 0).await.unwrap(), Some(entry.record.fingerprint()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_is_found_by_the_brokers_time() {
    let (_, log) = open_on(Broker::shared(), 1).await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    assert_eq!(reader.offset_at(0, 0).await.unwrap(), None, "the topic is empty");
    let mut times = Vec::new();
    for n in 0..3 {
        // Each in a millisecond of its own.
        tokio::time::sleep(Duration::from_millis(5)).await;
        append(&log, 0, &[&n.to_string()]).await;
        let entry = loop {
            if let Next::Record(entry) = soon(reader.next()).await.unwrap() {
                break entry;
            }
        };
        times.push(entry.timestamp);
    }
    assert!(times.is_sorted_by(|a, b| a < b) && times[0] > 1_600_000_000_000_000, "{times:?}");
    for (time, expected) in [
        (i64::MIN, Some(0)),
        (times[0], Some(0)),
        (times[0] + 1, Some(1)),
        (times[2], Some(2)),
        (times[2] + 1, None),
        (i64::MAX, None),
    ] {
        assert_eq!(reader.offset_at(0, time).await.unwrap(), expected, "at {time} of {times:?}");
    }
}

/// More than a reader holds: 32 MiB, and 16 MiB of one answer.
const BACKLOG: u64 = 80;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_retention_passed_is_told_each_time_and_other_partitions_go_on() {
    let (options, log) = open_on(Broker::shared(), 2).await;
    let large = "x".repeat(900_000);
    for _ in 0..BACKLOG / 8 {
        append(&log, 0, &[large.as_str(); 8]).await;
    }
    let mut reader = log.reader(None).await.unwrap();
    assert!(matches!(next(&mut reader).await, Ok(Next::Assigned(_))));
    reader.seek(0, 0).await.unwrap();
    reader.seek(1, 0).await.unwrap();
    while !matches!(next(&mut reader).await, Ok(Next::Record(_))) {}
    drop_below(&options, 0, BACKLOG as i64).await;
    assert!(matches!(reader.seek(0, 5).await, Err(ReadError::OutOfRange { offset: 5, start: BACKLOG, .. })));
    let (mut expected, mut told) = (1, 0);
    while told < 2 {
        match soon(reader.next()).await {
            // Fetched before it was dropped.
            Ok(Next::Record(entry)) => {
                assert_eq!((entry.partition, entry.offset, told), (0, expected, 0));
                expected += 1;
            }
            Ok(Next::CaughtUp { partition: 1, end: 0 }) => {}
            Err(ReadError::OutOfRange { partition: 0, offset, start: BACKLOG, end: BACKLOG }) => {
                assert!(offset == expected && offset < BACKLOG, "{offset}, after {expected}");
                told += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    append(&log, 1, &["d"]).await;
    loop {
        match soon(reader.next()).await {
            Ok(Next::Record(entry)) => break assert_eq!((entry.partition, text(&entry)), (1, "d")),
            Ok(Next::CaughtUp { .. }) | Err(ReadError::OutOfRange { partition: 0, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    reader.seek(0, BACKLOG).await.unwrap();
    append(&log, 0, &["e"]).await;
    loop {
        match soon(reader.next()).await.unwrap() {
            Next::Record(entry) => break assert_eq!((text(&entry), entry.offset), ("e", BACKLOG)),
            Next::CaughtUp { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Others' transactions end with a marker, which takes an offset.
struct Transactions(BaseProducer, String);

impl Transactions {
    fn new(options: &log::kafka::Options) -> Self {
        let producer: BaseProducer = client(options).set("transactional.id", &options.topic).create().unwrap();
        producer.init_transactions(Duration::from_secs(30)).unwrap();
        Self(producer, options.topic.clone())
    }

    fn write(&self, text: &str) {
        let record: BaseRecord<'_, (), str> = BaseRecord::to(&self.1).partition(0).payload(text);
        self.0.send(record).map_err(|(error, _)| error).unwrap();
        self.0.flush(Duration::from_secs(30)).unwrap();
    }

    fn committed(&self, text: &str) {
        self.0.begin_transaction().unwrap();
        self.write(text);
        self.0.commit_transaction(Duration::from_secs(30)).unwrap();
    }

    fn aborted(&self, text: &str) {
        self.0.begin_transaction().unwrap();
        self.write(text);
        self.0.abort_transaction(Duration::from_secs(30)).unwrap();
    }
}

/// Waits for a marker: a broker answers that a transaction has ended before it writes it.
async fn end_at(log: &Arc<dyn Log>, end: u64) {
    let mut reader = log.reader(None).await.unwrap();
    soon(async { while reader.bounds(0).await.unwrap().end < end {} }).await;
    assert_eq!(reader.bounds(0).await.unwrap(), 0..end);
}

/// Records, with their offsets, until the end of partition 0 is said to be `end` or more.
async fn until_end(reader: &mut Box<dyn Reader>, end: u64) -> Vec<(u64, String)> {
    until_said(reader, end).await.0
}

async fn until_said(reader: &mut Box<dyn Reader>, end: u64) -> (Vec<(u64, String)>, u64) {
    let mut records = Vec::new();
    loop {
        match soon(reader.next()).await.unwrap() {
            Next::Record(entry) if entry.partition == 0 => records.push((entry.offset, text(&entry).to_owned())),
            Next::CaughtUp { partition: 0, end: said } if said >= end => return (records, said),
            Next::CaughtUp { .. } | Next::Record(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn pairs(records: &[(u64, &str)]) -> Vec<(u64, String)> {
    records.iter().map(|(offset, text)| (*offset, text.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_of_transactions_take_offsets_and_are_no_records() {
    let (options, log) = open_on(Broker::shared(), 1).await;
    let others = Transactions::new(&options);
    append(&log, 0, &["a"]).await;
    others.committed("b");
    others.aborted("never");
    end_at(&log, 5).await;
    append(&log, 0, &["c"]).await;
    others.committed("d");
    // 0 a, 1 b, 2 marker, 3 never, 4 marker, 5 c, 6 d, 7 marker.
    end_at(&log, 8).await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    assert_eq!(until_end(&mut reader, 8).await, pairs(&[(0, "a"), (1, "b"), (5, "c"), (6, "d")]));
    for (offset, expected) in [(1, Some("b")), (2, None), (3, None), (5, Some("c")), (7, None)] {
        let expected = expected.map(|text| rdkafka_record(text).fingerprint());
        let found = reader.fingerprint_at(0, offset).await.unwrap();
        // Ours have a header.
        let expected = if offset == 5 { Some(record("c").fingerprint()) } else { expected };
        assert_eq!(found, expected, "{offset}");
    }
    let mut in_between = reader_at(&log, None, 0, 2).await;
    assert_eq!(until_end(&mut in_between, 8).await, pairs(&[(5, "c"), (6, "d")]));
}

fn rdkafka_record(text: &str) -> log::Record {
    log::Record { headers: Vec::new(), payload: text.to_owned().into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_behind_a_marker_is_said_once_somebody_has_seen_it() {
    let (options, log) = open_on(Broker::shared(), 1).await;
    let others = Transactions::new(&options);
    let mut reader = reader_at(&log, None, 0, 0).await;
    assert_eq!(until_end(&mut reader, 0).await, []);
    for round in 0..2 {
        others.committed("a");
        let (read, said) = until_said(&mut reader, round * 2 + 1).await;
        assert_eq!(read, pairs(&[(round * 2, "a")]));
        soon(async { while reader.bounds(0).await.unwrap().end < round * 2 + 2 {} }).await;
        // A machine that is slow enough has fetched anew, and said it already.
        if said < round * 2 + 2 {
            assert_eq!(until_end(&mut reader, round * 2 + 2).await, []);
        }
    }
    append(&log, 0, &["b"]).await;
    assert_eq!(until_end(&mut reader, 5).await, pairs(&[(4, "b")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_behind_a_marker_is_said_whatever_comes_of_other_partitions() {
    let (options, log) = open_on(Broker::shared(), 2).await;
    let others = Transactions::new(&options);
    let mut reader = reader_at(&log, None, 0, 0).await;
    reader.seek(1, 0).await.unwrap();
    others.committed("a");
    end_at(&log, 2).await;
    let (_, said) = until_said(&mut reader, 1).await;
    let busy = tokio::spawn(async move {
        loop {
            append(&log, 1, &["x"]).await;
        }
    });
    while !matches!(soon(reader.next()).await.unwrap(), Next::Record(entry) if entry.partition == 1) {}
    assert_eq!(reader.bounds(0).await.unwrap().end, 2);
    // As above.
    if said < 2 {
        assert_eq!(soon(until_end(&mut reader, 2)).await, []);
    }
    busy.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_under_way_holds_readers_back_and_bounds_with_them() {
    let (options, log) = open_on(Broker::shared(), 1).await;
    let others = Transactions::new(&options);
    append(&log, 0, &["a"]).await;
    others.0.begin_transaction().unwrap();
    others.write("b");
    append(&log, 0, &["c"]).await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    assert_eq!(reader.bounds(0).await.unwrap(), 0..1);
    assert_eq!(until_end(&mut reader, 1).await, pairs(&[(0, "a")]));
    others.0.commit_transaction(Duration::from_secs(30)).unwrap();
    let mut records = Vec::new();
    while records.len() < 2 {
        if let Next::Record(entry) = soon(reader.next()).await.unwrap() {
            records.push(text(&entry).to_owned());
        }
    }
    assert_eq!(records, ["b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_with_large_records_are_read_whole() {
    let (_, log) = open_on(Broker::shared(), 8).await;
    let large = "x".repeat(900_000);
    for partition in 0..8 {
        append(&log, partition, &[large.as_str(); 8]).await;
    }
    let mut reader: Box<dyn Reader> = log.reader(None).await.unwrap();
    assert!(matches!(next(&mut reader).await, Ok(Next::Assigned(_))));
    for partition in 0..8 {
        reader.seek(partition, 0).await.unwrap();
    }
    let (mut expected, mut ends) = ([0; 8], 0);
    while ends < 8 {
        match soon(reader.next()).await.unwrap() {
            Next::Record(entry) => {
                let next = &mut expected[entry.partition as usize];
                assert_eq!((entry.offset, entry.record.payload.len()), (*next, 900_000));
                *next += 1;
            }
            Next::CaughtUp { end, .. } => {
                assert_eq!(end, 8);
                ends += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(expected, [8; 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kafkas_own_tools_see_what_was_released() {
    let broker = Broker::shared();
    let (options, log) = open_on(broker, 1).await;
    append(&log, 0, &["a", "b", "c"]).await;
    let (mut reader, _) = member(&log).await;
    reader.release(0, 2).await.unwrap();
    let group = format!("{}-sink", options.group_id);
    let seen = soon(async {
        loop {
            // A commit is answered while the member is polled; nobody waits for it.
            let _ = tokio::time::timeout(Duration::from_millis(200), reader.next()).await;
            let args = ["--describe", "--group", &group];
            let said = broker.expect_tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &args, "");
            let line = said.lines().find(|line| line.contains(&options.topic)).map(str::to_owned);
            let columns: Vec<String> =
                line.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect();
            if columns.get(3).is_some_and(|committed| committed != "-") {
                return columns;
            }
        }
    })
    .await;
    // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG ...
    assert_eq!(seen[2..6], ["0", "2", "3", "1"], "{seen:?}");
    assert_eq!(texts_from(&log, 0, 0).await, ["a", "b", "c"], "nothing is dropped by a release");
    let mut again = member_elsewhere(&log).await;
    assert!(soon(again.seek(0, 0)).await.is_ok(), "positions never come from the group");
}

async fn member_elsewhere(log: &Arc<dyn Log>) -> Box<dyn Reader> {
    log.reader(Some("processor")).await.unwrap()
}
