//! What is open of processors that share the partitions, seen as one.
use crate::group::Group;
use crate::harness::{Harness, rollup};
use crate::late::{BY_DEVICE, event};
use crate::live;
use crate::shared::stop;
use async_trait::async_trait;
use bytes::Bytes;
use processor::live::{Live, Peers};
use std::sync::Arc;
use std::time::Duration;

/// Those that answer are looked at as over a network.
struct Neighbours(Vec<Arc<Live>>);

#[async_trait]
impl Peers for Neighbours {
    async fn parts(&self, rollup: &str) -> Vec<Bytes> {
        let mut parts = Vec::new();
        for live in &self.0 {
            let mut watcher = live.watch_part(rollup).unwrap();
            if let Ok(part) = tokio::time::timeout(Duration::from_millis(500), watcher.next()).await {
                parts.push(part.to_bytes().unwrap().into());
            }
        }
        parts
    }
}

#[tokio::test]
async fn whoever_is_looked_at_shows_what_all_have_open() {
    let harness =
        Harness::new(2, vec![rollup("types", "select event_type, count(*) as n from events group by event_type")]);
    let group = Group::new(harness.log.clone(), 2);
    let lives = [Live::new(&harness.config.rollups), Live::new(&harness.config.rollups)];
    let start = |member: usize| {
        group.assign(member, &[member as u32]);
        // One is asked as its own neighbour, too.
        let peers = Arc::new(Neighbours(lives[member.min(1 - member)..].to_vec()));
        harness.start_with(group.member(member), lives[member].clone(), Some(peers))
    };
    let mut running = vec![start(0), start(1)];
    let mut watchers = lives.each_ref().map(|live| live.watch("types").unwrap());
    harness.at(5);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 2, "tv")]).await;
    harness.produce(1, &[event(3, 3, "tv")]).await;
    for watcher in &mut watchers {
        live::becomes(watcher, &[(0, 3, true)]).await;
    }
    // One is past the window, the other is not: it is open, and whole.
    harness.at(11);
    harness.produce(0, &[event(4, 11, "tv")]).await;
    for watcher in &mut watchers {
        live::becomes(watcher, &[(0, 3, true), (10, 1, true)]).await;
    }
    harness.produce(1, &[event(5, 11, "tv")]).await;
    for watcher in &mut watchers {
        live::becomes(watcher, &[(0, 3, false), (10, 2, true)]).await;
    }
    running.remove(1).kill().await;
    drop(watchers);
    let mut watcher = lives[0].watch("types").unwrap();
    group.assign(0, &[0, 1]);
    live::becomes(&mut watcher, &[(0, 3, false), (10, 2, true)]).await;
    stop(running).await;
}

#[tokio::test]
async fn who_has_only_some_of_the_partitions_and_nobody_to_ask_says_which_are_missing() {
    let harness = Harness::new(3, vec![rollup("devices", BY_DEVICE)]);
    let group = Group::new(harness.log.clone(), 1);
    group.assign(0, &[1]);
    let running = harness.start_over(group.member(0));
    assert_eq!(harness.live.watch("devices").unwrap().next().await.missing, [0, 2]);
    running.stop().await;
}

/// Answers whatever it has.
struct Foreign(Arc<Live>);

#[async_trait]
impl Peers for Foreign {
    async fn parts(&self, rollup: &str) -> Vec<Bytes> {
        let others = self.0.watch_part(rollup).unwrap().next().await.to_bytes().unwrap();
        vec![Bytes::from_static(b"<!doctype html>"), Bytes::new(), others.into()]
    }
}

#[tokio::test]
async fn what_another_lake_has_open_is_not_taken_for_ours() {
    let lakes = [0, 1].map(|_| Harness::new(2, vec![rollup("devices", BY_DEVICE)]));
    let groups = lakes.each_ref().map(|lake| Group::new(lake.log.clone(), 1));
    // The other lake's processor has the partition that is missing here.
    groups[0].assign(0, &[0]);
    groups[1].assign(0, &[1]);
    let other = lakes[1].start_over(groups[1].member(0));
    let peers = Arc::new(Foreign(lakes[1].live.clone()));
    let running = lakes[0].start_with(groups[0].member(0), lakes[0].live.clone(), Some(peers));
    let mut watcher = lakes[0].live.watch("devices").unwrap();
    for (lake, partition) in [(&lakes[0], 0), (&lakes[1], 1)] {
        lake.at(5);
        lake.produce(partition, &[event(1, 1, "tv")]).await;
    }
    live::becomes(&mut watcher, &[(0, 1, true)]).await;
    assert_eq!(lakes[0].live.watch("devices").unwrap().next().await.missing, [1]);
    stop(vec![running, other]).await;
}
