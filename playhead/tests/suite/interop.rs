//! Kafka's own tools and other clients beside ours: they see the same, and what they write is read.
use super::node;
use super::roles::{Place, SOON, eventually, post};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use testbed::kafka::Broker;

/// Offsets by partition as one of Kafka's tools prints them: `fields` says which words of a line are partition and offset.
fn offsets(printed: &str, fields: impl Fn(&str) -> Option<(u64, u64)>) -> Vec<(u64, u64)> {
    let mut offsets: Vec<(u64, u64)> = printed.lines().filter_map(fields).collect();
    offsets.sort_unstable();
    offsets
}

#[test]
fn kafka_s_own_tools_agree_on_ends_and_lag() {
    let place = Place::new();
    let broker = Broker::shared();
    let (ingest, sink) = (place.ready("ingest"), place.ready("sink"));
    let ids = post(&ingest);
    place.assert_exact(&ids);
    let ours = |name: &str| -> Vec<(u64, u64)> {
        let status = place.status();
        let partitions = status["partitions"].as_array().unwrap();
        partitions.iter().map(|p| (p["partition"].as_u64().unwrap(), p[name].as_u64().unwrap())).collect()
    };
    let printed = broker.expect_tool("org.apache.kafka.tools.GetOffsetShell", &["--topic", &place.topic], "");
    let theirs = offsets(&printed, |line| {
        let mut parts = line.rsplit(':');
        let (offset, partition) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((partition, offset))
    });
    assert_eq!(ours("log_end"), theirs, "{printed}");

    let group = place.status()["log"]["group"].as_str().unwrap().to_owned();
    let lags = || {
        let printed = broker.expect_tool(
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            &["--describe", "--group", &group],
            "",
        );
        // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG ...
        let lags = offsets(&printed, |line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let lag = || Some((words.get(2)?.parse().ok()?, words.get(5)?.parse().ok()?));
            (words.get(1) == Some(&place.topic.as_str())).then(lag).flatten()
        });
        (lags, printed)
    };
    // What the group commits is advisory, and follows the lake.
    eventually("Kafka's tools see no lag", || (lags().0 == ours("lag_records")).then_some(()));
    assert!(ours("lag_records").iter().all(|(_, lag)| *lag == 0));
    drop(sink);
    post(&ingest);
    let (theirs, printed) = lags();
    assert_eq!(theirs, ours("lag_records"), "{printed}");
    assert!(theirs.iter().any(|(_, lag)| *lag > 0), "{printed}");
}

#[test]
fn a_record_of_the_console_producer_arrives_as_a_row() {
    let place = Place::new();
    let (mut ingest, mut sink) = (place.ready("ingest"), place.ready("sink"));
    let ids: Vec<String> = (0..3).map(|_| node::id()).collect();
    let mut lines: Vec<String> = ids.iter().map(|id| node::event(id, "s1")).collect();
    lines.push("no event at all".into());
    let input = lines.join("\n") + "\n";
    Broker::shared().expect_tool("org.apache.kafka.tools.ConsoleProducer", &["--topic", &place.topic], &input);
    let report = place.assert_exact(&ids);
    assert_eq!((&report["rows"], &report["dead_letters"]), (&3.into(), &1.into()), "{report}");
    ingest.stop();
    sink.stop();
}

/// One transaction for each event, to partition 0; every other one is given up.
fn transactions(place: &Place, events: &[String]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", Broker::shared().bootstrap()).set("transactional.id", &place.topic);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(SOON).unwrap();
    for (number, event) in events.iter().enumerate() {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<(), str>::to(&place.topic).partition(0).payload(event)).unwrap();
        producer.flush(SOON).unwrap();
        if number % 2 == 0 {
            producer.commit_transaction(SOON).unwrap();
        } else {
            producer.abort_transaction(SOON).unwrap();
        }
    }
}

#[test]
fn offsets_that_transactions_took_are_no_gaps() {
    let place = Place::new();
    let (mut ingest, mut sink) = (place.ready("ingest"), place.ready("sink"));
    let ids: Vec<String> = (0..10).map(|_| node::id()).collect();
    let events: Vec<String> = ids.iter().map(|id| node::event(id, id)).collect();
    let committed: Vec<String> = ids.iter().step_by(2).cloned().collect();
    transactions(&place, &events);
    // The log ends with a marker: no record will ever bring the lake there.
    let report = place.assert_exact(&committed);
    assert_eq!((&report["rows"], &report["gaps"]), (&5.into(), &0.into()), "{report}");
    let first = &report["partitions"][0];
    assert_eq!((&first["log_end"], &first["offsets_unused"]), (&20.into(), &15.into()), "{report}");
    // It goes on behind the markers, in this sink and in the next one.
    let mut all = [committed, post(&ingest)].concat();
    place.assert_exact(&all);
    sink.stop();
    let mut sink = place.ready("sink");
    transactions(&place, &events[..2]);
    all.extend(post(&ingest));
    let report = place.assert_exact(&all);
    assert_eq!(report["partitions"][0]["duplicates_dropped"], 1, "{report}");
    ingest.stop();
    sink.stop();
}
