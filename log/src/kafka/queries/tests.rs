//! Over librdkafka's cluster in memory, whose partitions lose and get leaders by order.
use super::*;
use rdkafka::mocking::MockCluster;

const TOPIC: &str = "events";

#[tokio::test(flavor = "multi_thread")]
async fn bounds_and_times_are_answered_again_as_soon_as_a_partition_has_a_leader_again() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    let options = Options {
        brokers: cluster.bootstrap_servers().split(',').map(str::to_owned).collect(),
        topic: TOPIC.into(),
        partitions: 1,
        ..crate::kafka::options()
    };
    let queries = Queries::new(Arc::new(options), "tried", &Closing::default());
    assert_eq!(queries.bounds(0).await.unwrap(), 0..0);
    for round in 0..2 {
        // Neither a client that knew the leader nor one that never did.
        queries.renew();
        cluster.partition_leader(TOPIC, 0, None).unwrap();
        let refused = queries.bounds(0).await;
        assert!(matches!(&refused, Err(ReadError::Unavailable(_))), "{refused:?}");
        let refused = queries.offset_at(0, 1).await;
        assert!(matches!(&refused, Err(ReadError::Unavailable(_))), "{refused:?}");
        cluster.partition_leader(TOPIC, 0, Some(1)).unwrap();
        let answered = async {
            while queries.bounds(0).await.is_err() || queries.offset_at(0, 1).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        // The cluster says so at once; librdkafka would remember for fifteen minutes.
        assert!(tokio::time::timeout(Duration::from_secs(60), answered).await.is_ok(), "in round {round}");
    }
}
