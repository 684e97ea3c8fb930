//! The sink over a real broker.
use crate::group::Group;
use crate::harness::{Harness, NOON, Running, eventually, record};
use log::Log;
use log::kafka::{Options, open};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use testbed::kafka::Broker;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

static TOPICS_MADE: AtomicU32 = AtomicU32::new(0);

struct Topic(Options);

impl Topic {
    /// One that no other test uses.
    fn new(partitions: u32) -> Topic {
        let number = TOPICS_MADE.fetch_add(1, Ordering::SeqCst);
        Topic(Options {
            brokers: vec![Broker::shared().bootstrap()],
            topic: format!("events-{number}"),
            partitions,
            replication_factor: None,
            retention_ms: 86_400_000,
            group_id: format!("group-{number}"),
            group_instance_id: String::new(),
            delivery_timeout_ms: 10_000,
            properties: BTreeMap::new(),
        })
    }

    /// Another process's view of it.
    async fn open(&self) -> Arc<dyn Log> {
        open(self.0.clone()).await.unwrap()
    }

    /// Deletes it and makes it anew, by Kafka's own tool.
    fn make_anew(&self) {
        let broker = Broker::shared();
        broker.expect_tool(TOPICS, &["--delete", "--topic", &self.0.topic], "");
        broker.create_topic(&self.0.topic, self.0.partitions, &["message.timestamp.type=LogAppendTime"]);
    }
}

fn harness() -> Harness {
    let mut harness = Harness::new(1);
    harness.config.flush_age_ms = 50;
    harness
}

async fn produce(log: &Arc<dyn Log>, partition: u32, ids: impl IntoIterator<Item = u128>) {
    for id in ids {
        log.writer().append(partition, record(&[(id, NOON)])).await.unwrap();
    }
}

async fn holds(harness: &Harness, rows: usize) {
    let held = async || match harness.events().await {
        Some(events) => events.files().await.unwrap().iter().filter_map(|file| file.rows).sum::<u64>() >= rows as u64,
        None => false,
    };
    eventually("the lake holds the rows", held).await;
}

async fn stopped(running: &Running) -> String {
    eventually("it stops", async || running.ready().is_err_and(|words| words.contains("stopped"))).await;
    running.ready().unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sinks_share_the_partitions_and_one_takes_over_when_the_other_ends() {
    let harness = harness();
    let topic = Topic::new(4);
    let log = topic.open().await;
    let one = harness.start_on(topic.open().await);
    eventually("it is ready", async || one.ready().is_ok()).await;
    produce(&log, 0, 0..10).await;
    holds(&harness, 10).await;
    let other = harness.start_on(topic.open().await);
    eventually("it is ready", async || other.ready().is_ok()).await;
    for partition in 0..4 {
        let first = u128::from(partition) * 100;
        produce(&log, partition, first + 10..first + 20).await;
    }
    one.stop().await;
    for partition in 0..4 {
        let first = u128::from(partition) * 100;
        // Half of them copies.
        produce(&log, partition, first + 15..first + 25).await;
    }
    holds(&harness, 70).await;
    other.stop().await;
    let mut expected: Vec<u128> = (0..4).flat_map(|partition| partition * 100 + 10..partition * 100 + 25).collect();
    expected.extend(0..10);
    expected.sort_unstable();
    assert_eq!(harness.ids().await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_under_a_running_sink_is_never_written_and_the_words_say_from_where_on_it_is_lost() {
    let harness = harness();
    let topic = Topic::new(1);
    let running = harness.start_on(topic.open().await);
    produce(&topic.open().await, 0, 0..5).await;
    holds(&harness, 5).await;
    topic.make_anew();
    produce(&topic.open().await, 0, 100..120).await;
    let words = stopped(&running).await;
    assert!(words.contains("made anew") && words.contains("the lake has the former log below offset 5"), "{words}");
    running.stop().await;
    assert_eq!(harness.ids().await, (0..5).collect::<Vec<_>>());
}

/// What was read of the former topic, but not committed, is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_of_a_topic_before_it_was_made_anew_is_named() {
    let mut harness = harness();
    harness.config.flush_age_ms = 3_600_000;
    harness.config.flush_rows = 5;
    let topic = Topic::new(1);
    let group = Group::of(topic.open().await);
    let running = harness.start_on(group.clone());
    let log = topic.open().await;
    produce(&log, 0, 0..5).await;
    holds(&harness, 5).await;
    produce(&log, 0, 5..8).await;
    group.read_up_to(0, 8).await;
    topic.make_anew();
    produce(&topic.open().await, 0, 100..120).await;
    let words = stopped(&running).await;
    assert!(words.contains("records 5..8 of the former log never reached the lake"), "{words}");
    running.stop().await;
    assert_eq!(harness.ids().await, (0..5).collect::<Vec<_>>());
}
