//! Partitions that are taken away and given back, as a broker's group does.
use crate::harness::{Harness, TOPIC, eventually};
use async_trait::async_trait;
use event::clock::Micros;
use log::{AppendError, Log, Next, ReadError, Reader, Writer, memory};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Orders = Arc<Mutex<VecDeque<Next>>>;

/// A log in memory whose readers are also told what a test orders.
struct Group {
    log: Arc<memory::Log>,
    orders: Orders,
}

struct Member {
    reader: Box<dyn Reader>,
    orders: Orders,
}

#[async_trait]
impl Log for Group {
    fn topic(&self) -> &str {
        TOPIC
    }
    fn cluster(&self) -> &str {
        self.log.cluster()
    }
    fn writer(&self) -> Arc<dyn Writer> {
        self.log.writer()
    }
    async fn reader(&self, name: Option<&str>) -> Result<Box<dyn Reader>, ReadError> {
        Ok(Box::new(Member { reader: self.log.reader(name).await?, orders: self.orders.clone() }))
    }
    async fn retain(&self) -> Result<(), ReadError> {
        self.log.retain().await
    }
    async fn close(&self) -> Result<(), AppendError> {
        self.log.close().await
    }
}

#[async_trait]
impl Reader for Member {
    async fn next(&mut self) -> Result<Next, ReadError> {
        loop {
            if let Some(order) = self.orders.lock().unwrap().pop_front() {
                return Ok(order);
            }
            if let Ok(next) = tokio::time::timeout(Duration::from_millis(2), self.reader.next()).await {
                return next;
            }
        }
    }
    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        self.reader.seek(partition, offset).await
    }
    async fn bounds(&mut self, partition: u32) -> Result<Range<u64>, ReadError> {
        self.reader.bounds(partition).await
    }
    async fn offset_at(&mut self, partition: u32, time: Micros) -> Result<Option<u64>, ReadError> {
        self.reader.offset_at(partition, time).await
    }
    async fn release(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        self.reader.release(partition, offset).await
    }
}

fn group(harness: &Harness) -> Arc<Group> {
    Arc::new(Group { log: harness.log.clone(), orders: Orders::default() })
}

/// Waits until everything that stands in the log and in the orders was handed out.
async fn read(group: &Group) {
    eventually("orders are taken", async || group.orders.lock().unwrap().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn rows_of_a_revoked_partition_are_thrown_away_and_the_others_are_committed() {
    let harness = Harness::new(2);
    let group = group(&harness);
    let running = harness.start_on(group.clone());
    harness.produce(0, &[1]).await;
    harness.produce(1, &[2]).await;
    read(&group).await;
    group.orders.lock().unwrap().push_back(Next::Revoked(vec![0]));
    read(&group).await;
    running.stop().await;
    assert_eq!(harness.ids().await, [2]);
    assert_eq!(harness.position(0).await, None);
}

#[tokio::test]
async fn a_partition_that_comes_back_is_read_from_where_its_table_says() {
    let harness = Harness::new(2);
    let group = group(&harness);
    let running = harness.start_on(group.clone());
    for id in 1..=3 {
        harness.produce(0, &[id]).await;
    }
    read(&group).await;
    group.orders.lock().unwrap().push_back(Next::Revoked(vec![0]));
    read(&group).await;
    // Meanwhile it is another sink's, which commits what this one had buffered, and more.
    harness.produce(0, &[4]).await;
    harness.drain().await;
    harness.produce(0, &[5, 4]).await;
    group.orders.lock().unwrap().push_back(Next::Assigned(vec![0]));
    read(&group).await;
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
    let group = group(&harness);
    let running = harness.start_on(group.clone());
    harness.produce(0, &[1]).await;
    read(&group).await;
    harness.drain().await;
    harness.produce(1, &[2]).await;
    read(&group).await;
    running.stop().await;
    assert_eq!(harness.places().await, [(0, 0, 0, 1), (1, 0, 0, 2)]);
}
