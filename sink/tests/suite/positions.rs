//! Positions that move without rows.
use crate::harness::{Harness, ndjson};

#[tokio::test]
async fn a_flush_of_nothing_but_copies_still_moves_the_position() {
    let mut harness = Harness::new(1);
    harness.produce(0, &[1]).await;
    harness.drain().await;
    let files = harness.events().await.unwrap().files().await.unwrap().len();
    harness.config.flush_age_ms = 2;
    let running = harness.start();
    harness.produce(0, &[1]).await;
    harness.produce(0, &[1]).await;
    // By its age, with no shutdown that would flush.
    harness.committed(0, 2).await;
    running.kill().await;
    assert_eq!(harness.events().await.unwrap().files().await.unwrap().len(), files);
    let position = harness.position(0).await.unwrap();
    assert_eq!((position.rows, position.duplicates), (1, 2));
    assert_eq!(harness.log.faults().released("sink", 0), Some(3));
}

#[tokio::test]
async fn a_partition_of_dead_letters_alone_moves_and_can_be_taken_up_again() {
    let harness = Harness::new(1);
    harness.append(0, ndjson("not json")).await;
    harness.append(0, ndjson("{}")).await;
    harness.drain().await;
    let position = harness.position(0).await.unwrap();
    assert_eq!((position.last, position.dedup, position.rows), (1, 1, 0));
    harness.produce(0, &[1]).await;
    harness.drain().await;
    assert_eq!(harness.ids().await, [1]);
    assert_eq!(harness.dead_rows().await.len(), 2);
}
