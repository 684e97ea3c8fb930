//! The log in Apache Kafka: what it promises beside what every log does.
use crate::harness::{Kafka, soon};
use log::kafka::{Options, open};
use log::{Log, Next, ReadError, Reader};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;
use testbed::kafka::Broker;

mod faults;
mod membership;
mod reading;
mod topic;

async fn open_on(broker: &Broker, partitions: u32) -> (Options, Arc<dyn Log>) {
    let options = Kafka::options(broker, partitions);
    let log = open(options.clone()).await.unwrap();
    (options, log)
}

fn client(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", options.brokers.join(","));
    config
}

fn admin(options: &Options) -> AdminClient<DefaultClientContext> {
    client(options).create().unwrap()
}

fn limits() -> AdminOptions {
    let limit = Duration::from_secs(30);
    AdminOptions::new().request_timeout(Some(limit)).operation_timeout(Some(limit))
}

/// Makes the options' topic with these settings.
async fn make(options: &Options, partitions: i32, settings: &[(&str, &str)]) {
    let topic = NewTopic::new(&options.topic, partitions, TopicReplication::Fixed(1));
    let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    let made = admin(options).create_topics([&topic], &limits()).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

async fn delete(options: &Options) {
    let deleted = admin(options).delete_topics(&[&options.topic], &limits()).await.unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
}

/// Drops all records of a partition below `offset`, as retention does.
async fn drop_below(options: &Options, partition: i32, offset: i64) {
    let mut below = TopicPartitionList::new();
    below.add_partition_offset(&options.topic, partition, Offset::Offset(offset)).unwrap();
    let dropped = admin(options).delete_records(&below, &limits()).await.unwrap();
    assert!(dropped.elements().iter().all(|partition| partition.error().is_ok()), "{dropped:?}");
}

/// The next thing that is not passing trouble.
async fn next(reader: &mut Box<dyn Reader>) -> Result<Next, ReadError> {
    soon(async {
        loop {
            match reader.next().await {
                Err(ReadError::Unavailable(_)) => {}
                next => return next,
            }
        }
    })
    .await
}

/// A member that has joined; its partitions.
async fn member(log: &Arc<dyn Log>) -> (Box<dyn Reader>, Vec<u32>) {
    let mut reader = log.reader(Some("sink")).await.unwrap();
    match next(&mut reader).await.unwrap() {
        Next::Assigned(partitions) => (reader, partitions),
        other => panic!("{other:?}"),
    }
}

/// Appends until it is acknowledged; gives the offset.
async fn append_at_last(log: &Arc<dyn Log>, partition: u32, text: &str) -> u64 {
    let writer = log.writer();
    soon(async {
        loop {
            if let Ok(offset) = writer.append(partition, crate::harness::record(text)).await {
                return offset;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
}
