//! Partitions that are taken away and given back, as a broker's group does.
use crate::group::Group;
use crate::harness::{Harness, eventually};
use crate::pipe::Pipe;
use log::Next;

#[tokio::test]
async fn rows_of_a_revoked_partition_are_thrown_away_and_the_others_are_committed() {
    let harness = Harness::new(2);
    let group = Group::over(&harness);
    let running = harness.start_on(group.clone());
    harness.produce(0, &[1]).await;
    harness.produce(1, &[2]).await;
    group.read_up_to(0, 1).await;
    group.read_up_to(1, 1).await;
    group.order(Next::Revoked(vec![0])).await;
    running.stop().await;
    assert_eq!(harness.ids().await, [2]);
    assert_eq!(harness.position(0).await, None);
}

#[tokio::test]
async fn a_partition_that_comes_back_is_read_from_where_its_table_says() {
    let harness = Harness::new(2);
    let group = Group::over(&harness);
    let running = harness.start_on(group.clone());
    for id in 1..=3 {
        harness.produce(0, &[id]).await;
    }
    group.read_up_to(0, 3).await;
    group.order(Next::Revoked(vec![0])).await;
    // Meanwhile it is another sink's, which commits what this one had buffered, and more.
    harness.produce(0, &[4]).await;
    harness.drain().await;
    harness.produce(0, &[5, 4]).await;
    group.order(Next::Assigned(vec![0])).await;
    group.read_up_to(0, 5).await;
    running.stop().await;
    let places = [(0, 0, 0, 1), (0, 1, 0, 2), (0, 2, 0, 3), (0, 3, 0, 4), (0, 4, 0, 5)];
    assert_eq!(harness.places().await, places);
    assert_eq!(harness.position(0).await.unwrap().duplicates, 1);
}

/// The other sink commits before this one is told that the partition has gone: its flush loses the compare-and-swap
/// for all partitions, and the rows of the one that it still has come again.
#[tokio::test]
async fn a_flush_with_a_partition_that_has_moved_loses_nothing_of_the_others() {
    let harness = Harness::new(2);
    let group = Group::over(&harness);
    let running = harness.start_on(group.clone());
    harness.produce(0, &[1]).await;
    group.read_up_to(0, 1).await;
    harness.drain().await;
    harness.produce(1, &[2]).await;
    group.read_up_to(1, 1).await;
    running.stop().await;
    assert_eq!(harness.places().await, [(0, 0, 0, 1), (1, 0, 0, 2)]);
}

/// It has committed before, so it remembers a position, and the other one has moved the table on since: after the lost
/// compare-and-swap it reads the table and is done. From what it remembers it would lose again, for ever.
#[tokio::test]
async fn a_sink_that_lost_to_another_goes_on_from_the_table_not_from_what_it_remembers() {
    let mut harness = Harness::new(1);
    harness.config.flush_rows = 2;
    let group = Group::over(&harness);
    let running = harness.start_on(group.clone());
    harness.produce(0, &[1, 2]).await;
    harness.committed(0, 0).await;
    harness.produce(0, &[3]).await;
    group.read_up_to(0, 2).await;
    harness.drain().await;
    assert_eq!((harness.position(0).await.unwrap().last, group.seeks(0)), (1, 1));
    running.shutdown.cancel();
    eventually("it ends, or goes round", async || running.task.is_finished() || group.seeks(0) > 3).await;
    assert_eq!(group.seeks(0), 2, "it loses once, and reads the table");
    running.stop().await;
    assert_eq!(harness.places().await, [(0, 0, 0, 1), (0, 0, 1, 2), (0, 1, 0, 3)]);
}

#[tokio::test]
async fn a_member_without_partitions_stands_by_ready_and_ends_at_once() {
    let harness = Harness::new(2);
    let group = Group::standby(&harness);
    let running = harness.start_on(group.clone());
    assert_eq!(running.ready(), Err("nothing was told yet".to_owned()));
    group.order(Next::Assigned(Vec::new())).await;
    assert_eq!(running.ready(), Ok(()));
    // And takes over when it is needed.
    harness.produce(1, &[1]).await;
    group.order(Next::Assigned(vec![1])).await;
    group.read_up_to(1, 1).await;
    group.order(Next::Revoked(vec![1])).await;
    assert_eq!(running.ready(), Ok(()));
    running.stop().await;
    assert_eq!(harness.ids().await, [] as [u128; 0]);
}

/// The store is slow, and meanwhile the group gives the partition to another sink.
#[tokio::test]
async fn a_commit_that_is_under_way_ends_before_its_partition_is_given_up_and_none_comes_after() {
    let mut harness = Harness::new(2);
    harness.drain().await;
    harness.config.flush_rows = 1;
    harness.timing.slow = std::time::Duration::from_millis(20);
    let group = Group::over(&harness);
    let running = harness.start_on(group.clone());
    eventually("it is ready", async || running.ready().is_ok()).await;
    let pipe = Pipe::before_the_next_commit(&harness).await;
    harness.produce(0, &[1]).await;
    eventually("the store hangs", async || running.ready().is_err_and(|words| words.contains("a flush"))).await;
    group.order_later(Next::Revoked(vec![0]));
    harness.produce(0, &[2]).await;
    harness.produce(1, &[3]).await;
    pipe.open();
    group.obeyed(1).await;
    harness.committed(1, 0).await;
    running.stop().await;
    assert_eq!(harness.places().await, [(0, 0, 0, 1), (1, 0, 0, 3)]);
}

/// As Kafka's tools let an operator do while the log is read.
#[tokio::test]
async fn a_partition_that_the_log_was_not_made_with_stops_in_words_and_the_others_go_on() {
    let mut harness = Harness::new(1);
    harness.config.flush_rows = 1;
    let group = Group::over(&harness);
    let running = harness.start_on(group.clone());
    group.order(Next::Assigned(vec![1])).await;
    let words = running.ready().unwrap_err();
    assert!(words.contains("partition 1 stopped") && words.contains("grown beyond the 1 partitions"), "{words}");
    harness.produce(0, &[1]).await;
    harness.committed(0, 0).await;
    assert_eq!(running.ready(), Err(words));
    running.stop().await;
    assert_eq!(harness.ids().await, [1]);
}
