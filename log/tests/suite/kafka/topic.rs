//! Topics: how they are made, which are refused, which are warned of.
use super::{admin, make, open_on};
use crate::harness::{Kafka, append, soon, texts_from};
use crate::warnings::Warnings;
use log::kafka::{OpenError, Options, open, open_existing};
use rdkafka::admin::{AdminOptions, ResourceSpecifier};
use std::collections::BTreeMap;
use std::net::TcpListener;
use testbed::kafka::Broker;

async fn refusal(options: &Options) -> String {
    match open(options.clone()).await {
        Err(OpenError::Refused(words)) => words,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}

async fn settings(options: &Options) -> BTreeMap<String, String> {
    let topic = [ResourceSpecifier::Topic(&options.topic)];
    let described = admin(options).describe_configs(&topic, &AdminOptions::new()).await.unwrap();
    let entries = described.into_iter().flat_map(|resource| resource.unwrap().entries);
    entries.filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_made_as_it_must_be() {
    let broker = Broker::shared();
    let (options, log) = open_on(broker, 3).await;
    assert_eq!((log.topic(), log.cluster()), (options.topic.as_str(), broker.cluster_id().as_str()));
    assert_eq!((log.writer().partitions(), log.is_gapless()), (3, false));
    let settings = settings(&options).await;
    for (name, value) in [
        ("message.timestamp.type", "LogAppendTime"),
        ("cleanup.policy", "delete"),
        ("retention.ms", "86400000"),
        ("max.message.bytes", "1048588"),
    ] {
        assert_eq!(settings[name], value, "{name}");
    }
    append(&log, 2, &["a"]).await;
    let again = open_existing(options).await.unwrap();
    assert_eq!(texts_from(&again, 2, 0).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_make_a_topic_at_once_share_it() {
    let options = Kafka::options(Broker::shared(), 2);
    let (one, other) = futures::join!(open(options.clone()), open(options));
    append(&one.unwrap(), 0, &["a"]).await;
    assert_eq!(texts_from(&other.unwrap(), 0, 0).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_makes_no_topic() {
    let options = Kafka::options(Broker::shared(), 2);
    for _ in 0..2 {
        let refused = open_existing(options.clone()).await.err().unwrap();
        assert!(matches!(&refused, OpenError::Refused(words) if words.contains(&options.topic)), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_would_break_a_promise_is_refused_and_the_command_in_the_words_mends_it() {
    let broker = Broker::shared();
    let options = Kafka::options(broker, 2);
    let wrong =
        [("cleanup.policy", "compact"), ("max.message.bytes", "1000000"), ("message.timestamp.type", "CreateTime")];
    make(&options, 2, &wrong).await;
    for (name, _) in wrong {
        assert!(refusal(&options).await.contains(name), "{name}");
    }
    for left in (0..wrong.len()).rev() {
        let words = refusal(&options).await;
        let command = words.split("kafka-configs.sh ").nth(1).unwrap().split("; ").next().unwrap();
        let args: Vec<&str> = command.split(' ').skip(2).collect();
        broker.expect_tool("kafka.admin.ConfigCommand", &args, "");
        if left > 0 {
            // The broker tells its change a moment later than the tool.
            let named = args.last().unwrap().split('=').next().unwrap();
            soon(async { while refusal(&options).await.contains(named) {} }).await;
        }
    }
    soon(async { while open(options.clone()).await.is_err() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_partitions_is_refused() {
    let options = Kafka::options(Broker::shared(), 4);
    open(options.clone()).await.unwrap();
    let words = refusal(&Options { partitions: 3, ..options }).await;
    assert!(words.contains("has 4 partitions") && words.contains("kafka.partitions = 4"), "{words}");
}

#[tokio::test]
async fn a_topic_that_risks_events_is_warned_of_and_used() {
    let options = Kafka::options(Broker::shared(), 1);
    let risky = [
        ("message.timestamp.type", "LogAppendTime"),
        ("retention.ms", "60000"),
        ("retention.bytes", "1000000"),
        ("unclean.leader.election.enable", "true"),
    ];
    make(&options, 1, &risky).await;
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    open(options).await.unwrap();
    let said = warnings.said();
    for (name, _) in &risky[1..] {
        assert!(
            said.iter().any(|words| words.contains(name) && words.contains("kafka-configs.sh")),
            "{name}: {said:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_may_come_yet() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = Options { brokers: vec![port.to_string()], ..Kafka::options(Broker::shared(), 1) };
    let unavailable = soon(open(options)).await.err().unwrap();
    let words = unavailable.to_string();
    assert!(matches!(unavailable, OpenError::Unavailable(_)) && words.contains(&port.to_string()), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_that_breaks_a_promise_is_refused_before_a_broker_is_asked() {
    let mut options = Kafka::options(Broker::shared(), 1);
    options.properties.insert("acks".into(), "1".into());
    assert!(refusal(&options).await.contains("acks"));
}
