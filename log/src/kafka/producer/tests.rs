//! Over librdkafka's cluster in memory, which fails requests by order; it does not replace a broker, but no broker can be
//! brought to fatal errors at will.
use super::*;
use crate::AppendError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

const TOPIC: &str = "events";

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    cluster
}

fn producer_of(cluster: &MockCluster<'static, DefaultProducerContext>) -> Producer {
    let options = Options {
        brokers: cluster.bootstrap_servers().split(',').map(str::to_owned).collect(),
        topic: TOPIC.into(),
        partitions: 1,
        delivery_timeout_ms: 10_000,
        ..crate::kafka::options()
    };
    Producer::new(Arc::new(options), &Closing::default())
}

async fn append(producer: &Producer, text: &'static str) -> Result<u64, AppendError> {
    let record = Record { headers: Vec::new(), payload: text.into() };
    producer.delivered(producer.send(0, &record)?).await
}

async fn append_at_last(producer: &Producer) -> u64 {
    let appending = async {
        loop {
            match append(producer, "again").await {
                Ok(offset) => return offset,
                Err(AppendError::Full(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), appending).await.unwrap()
}

fn current(producer: &Producer) -> Option<Arc<Handle>> {
    lock(&producer.state).current.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fatal_error_the_outcome_is_unknown_and_another_producer_goes_on() {
    let cluster = cluster();
    let producer = producer_of(&cluster);
    assert_eq!(append(&producer, "first").await.unwrap(), 0);
    let first = current(&producer).unwrap();
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
    let failed = append(&producer, "lost").await;
    assert!(matches!(&failed, Err(AppendError::Unknown(_))), "{failed:?}");
    assert!(first.client().fatal_error().is_some(), "it is fatal to the first producer");
    assert_eq!(append_at_last(&producer).await, 1);
    assert!(!Arc::ptr_eq(&first, &current(&producer).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_are_not_made_anew_again_and_again() {
    let cluster = cluster();
    let mut producer = producer_of(&cluster);
    producer.make_pause = Duration::ZERO;
    append(&producer, "first").await.unwrap();
    let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER];
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    assert!(matches!(append(&producer, "lost").await, Err(AppendError::Unknown(_))));
    append_at_last(&producer).await;
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    assert!(matches!(append(&producer, "lost").await, Err(AppendError::Unknown(_))));
    // The second one is younger than this, however slow the machine.
    producer.make_pause = Duration::from_secs(3_600);
    let refused = append(&producer, "refused").await;
    assert!(matches!(&refused, Err(AppendError::Full(words)) if words.contains("made anew")), "{refused:?}");
    producer.make_pause = Duration::ZERO;
    append_at_last(&producer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_and_passing_errors_are_tried_again_by_librdkafka() {
    let cluster = cluster();
    let producer = producer_of(&cluster);
    append(&producer, "first").await.unwrap();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        ],
    );
    assert_eq!(append(&producer, "second").await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_topic_refuses_for_its_size_was_not_written() {
    let cluster = cluster();
    let producer = producer_of(&cluster);
    append(&producer, "first").await.unwrap();
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let refused = append(&producer, "second").await;
    assert!(matches!(&refused, Err(AppendError::Full(words)) if words.contains("max.message.bytes")), "{refused:?}");
    assert_eq!(append(&producer, "third").await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_what_it_can_not_hold() {
    let cluster = cluster();
    let producer = producer_of(&cluster);
    append(&producer, "first").await.unwrap();
    cluster.broker_down(1).unwrap();
    let record = Record { headers: Vec::new(), payload: vec![0; 1_000_000].into() };
    let mut under_way = Vec::new();
    let refused = loop {
        match producer.send(0, &record) {
            Ok(sent) => under_way.push(sent),
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, AppendError::Full(words) if words.contains("queue.buffering")), "{refused}");
    assert!((60..70).contains(&under_way.len()), "64 MiB hold {} of 1 MB", under_way.len());
    cluster.broker_up(1).unwrap();
    for sent in under_way {
        producer.delivered(sent).await.unwrap();
    }
    append(&producer, "last").await.unwrap();
}
