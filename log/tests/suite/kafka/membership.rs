//! Members of a group: what is whose.
use super::{member, next, open_on};
use crate::harness::{Kafka, append, soon};
use log::kafka::{Options, open};
use log::{Log, Next, ReadError, Reader};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed::kafka::Broker;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const PARTITIONS: u32 = 4;

/// Who holds what, as the members were told.
#[derive(Clone)]
struct Holders(watch::Sender<BTreeMap<u32, BTreeSet<u32>>>);

impl Holders {
    fn new() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }

    fn change(&self, member: u32, partitions: &[u32], holds: bool) {
        self.0.send_modify(|holders| {
            let mine = holders.entry(member).or_default();
            for partition in partitions {
                if holds {
                    mine.insert(*partition)
                } else {
                    mine.remove(partition)
                };
            }
            let all = holders.values().flatten().count();
            let different: BTreeSet<_> = holders.values().flatten().collect();
            assert_eq!(all, different.len(), "held by two at once: {holders:?}");
        });
    }

    fn holds(&self, member: u32, partition: u32) -> bool {
        self.0.borrow().get(&member).is_some_and(|mine| mine.contains(&partition))
    }

    /// Waits until all partitions are held, and each of `members` has so many.
    async fn settle(&self, counts: &[usize]) {
        let settled = |holders: &BTreeMap<u32, BTreeSet<u32>>| {
            let mut sizes: Vec<usize> = holders.values().map(BTreeSet::len).filter(|size| *size > 0).collect();
            sizes.sort_unstable();
            sizes == counts
        };
        let mut holders = self.0.subscribe();
        let settling = tokio::time::timeout(Duration::from_secs(60), holders.wait_for(settled)).await;
        assert!(settling.is_ok(), "{counts:?}: {:?}", self.0.borrow());
    }
}

/// A member that reads all it is given from the beginning, until it is told to leave.
struct Member {
    leave: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Member {
    fn join(log: Arc<dyn Log>, number: u32, holders: Holders, read: Arc<Mutex<BTreeSet<(u32, u64)>>>) -> Self {
        let (leave, mut left) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut reader = log.reader(Some("sink")).await.unwrap();
            loop {
                let next = tokio::select! {
                    _ = left.wait_for(|left| *left) => break,
                    next = reader.next() => next,
                };
                match next {
                    Ok(Next::Assigned(partitions)) => {
                        holders.change(number, &partitions, true);
                        for partition in partitions {
                            reader.seek(partition, 0).await.unwrap();
                        }
                    }
                    Ok(Next::Revoked(partitions)) => holders.change(number, &partitions, false),
                    Ok(Next::Record(entry)) => {
                        assert!(holders.holds(number, entry.partition), "{number} read of {}", entry.partition);
                        read.lock().unwrap().insert((entry.partition, entry.offset));
                    }
                    Ok(Next::CaughtUp { .. }) | Err(ReadError::Unavailable(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            // Others may have them from here on.
            holders.change(number, &(0..PARTITIONS).collect::<Vec<_>>(), false);
            drop(reader);
        });
        Self { leave, task }
    }

    async fn leave(self) {
        self.leave.send_replace(true);
        soon(self.task).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_the_partitions_and_none_is_held_by_two() {
    let (options, log) = open_on(Broker::shared(), PARTITIONS).await;
    let (holders, read) = (Holders::new(), Arc::new(Mutex::new(BTreeSet::new())));
    let (enough, stop) = watch::channel(false);
    let appending = tokio::spawn({
        let log = log.clone();
        async move {
            let mut count = 0;
            while !*stop.borrow() {
                append(&log, count % PARTITIONS, &["x"]).await;
                count += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            count as usize
        }
    });
    // Each is a process of its own.
    let join = async |number: u32| {
        let log = open(options.clone()).await.unwrap();
        Member::join(log, number, holders.clone(), read.clone())
    };
    let first = join(1).await;
    holders.settle(&[4]).await;
    let second = join(2).await;
    holders.settle(&[2, 2]).await;
    let third = join(3).await;
    holders.settle(&[1, 1, 2]).await;
    first.leave().await;
    holders.settle(&[2, 2]).await;
    third.leave().await;
    holders.settle(&[4]).await;
    // Whoever was given a partition has read it from the beginning.
    enough.send_replace(true);
    let count = appending.await.unwrap();
    soon(async {
        while read.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    second.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_told_that_it_has_joined_and_takes_over() {
    let (options, log) = open_on(Broker::shared(), 1).await;
    append(&log, 0, &["a"]).await;
    let (active, partitions) = member(&log).await;
    assert_eq!(partitions, [0]);
    let elsewhere = open(options).await.unwrap();
    let mut active = active;
    let mut standby = elsewhere.reader(Some("sink")).await.unwrap();
    // A member takes part in rebalances while it is asked for its next record.
    let joined = tokio::select! {
        next = next(&mut standby) => next,
        next = next(&mut active) => panic!("cooperative members keep what they have: {next:?}"),
    };
    assert_eq!(joined.unwrap(), Next::Assigned(Vec::new()));
    drop(active);
    assert_eq!(next(&mut standby).await.unwrap(), Next::Assigned(vec![0]));
    standby.seek(0, 0).await.unwrap();
    assert!(matches!(next(&mut standby).await, Ok(Next::Record(entry)) if entry.offset == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_hangs_loses_its_partitions_and_is_told_when_it_goes_on() {
    let mut options = Kafka::options(Broker::shared(), 1);
    for (name, value) in [("max.poll.interval.ms", "6000"), ("session.timeout.ms", "6000")] {
        options.properties.insert(name.into(), value.into());
    }
    let log = open(options.clone()).await.unwrap();
    let (mut hangs, partitions) = member(&log).await;
    assert_eq!(partitions, [0]);
    hangs.seek(0, 0).await.unwrap();
    append(&log, 0, &["a", "b"]).await;
    assert!(matches!(next(&mut hangs).await, Ok(Next::Record(_) | Next::CaughtUp { .. })));
    let elsewhere = open(Options { properties: BTreeMap::new(), ..options }).await.unwrap();
    let mut other = elsewhere.reader(Some("sink")).await.unwrap();
    // Until here from no member to all: the first one does not call `next`.
    let taken = soon(async {
        loop {
            if let Next::Assigned(partitions) = next(&mut other).await.unwrap()
                && !partitions.is_empty()
            {
                return partitions;
            }
        }
    })
    .await;
    assert_eq!(taken, [0]);
    assert_eq!(next(&mut hangs).await.unwrap(), Next::Revoked(vec![0]), "before any record");
    drop(other);
    let back = soon(async {
        loop {
            match next(&mut hangs).await.unwrap() {
                Next::Assigned(partitions) if partitions.is_empty() => {}
                next => return next,
            }
        }
    })
    .await;
    assert_eq!(back, Next::Assigned(vec![0]), "it has joined again by itself");
    hangs.seek(0, 1).await.unwrap();
    assert!(matches!(next(&mut hangs).await, Ok(Next::Record(entry)) if entry.offset == 1));
}

/// Of a process that has a name in its groups, and that would be waited for longer than any test.
fn named(partitions: u32) -> Options {
    let mut options = Kafka::options(Broker::shared(), partitions);
    options.group_instance_id = "rack-1.node-1".into();
    options.properties.insert("session.timeout.ms".into(), "60000".into());
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_back_under_its_name_has_its_partitions_at_once_and_others_notice_nothing() {
    let options = named(2);
    let log = open(options.clone()).await.unwrap();
    let (mut gone, partitions) = member(&log).await;
    assert_eq!(partitions, [0, 1]);
    let elsewhere = open(Options { group_instance_id: "rack-2.node-1".into(), ..options.clone() }).await.unwrap();
    let mut other = elsewhere.reader(Some("sink")).await.unwrap();
    let (mut of_other, mut of_gone) = (Vec::new(), partitions);
    soon(async {
        while of_other.is_empty() {
            tokio::select! {
                next = next(&mut other) => if let Next::Assigned(partitions) = next.unwrap() { of_other.extend(partitions) },
                next = next(&mut gone) => if let Next::Revoked(partitions) = next.unwrap() {
                    of_gone.retain(|partition| !partitions.contains(partition));
                },
            }
        }
    })
    .await;
    // With a name, nobody leaves: it is as if it were killed.
    drop((gone, log));
    let log = open(options).await.unwrap();
    let (_back, partitions) = member(&log).await;
    assert_eq!(partitions, of_gone);
    let noticed = tokio::time::timeout(Duration::from_secs(1), next(&mut other)).await;
    assert!(noticed.is_err(), "{noticed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_with_one_name_the_first_loses_its_partitions_and_is_told() {
    let options = named(1);
    let log = open(options.clone()).await.unwrap();
    let (mut first, partitions) = member(&log).await;
    assert_eq!(partitions, [0]);
    let elsewhere = open(options).await.unwrap();
    let (_second, partitions) = member(&elsewhere).await;
    assert_eq!(partitions, [0]);
    let (mut revoked, mut told) = (false, String::new());
    soon(async {
        while !revoked || told.is_empty() {
            match first.next().await {
                Ok(Next::Revoked(partitions)) => revoked = partitions == [0],
                Ok(other) => panic!("{other:?}"),
                Err(error) => told = error.to_string(),
            }
        }
    })
    .await;
    assert!(told.contains("rack-1.node-1") && told.contains("kafka.group_instance_id"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bystanders_and_readers_of_another_name_take_nothing_away() {
    let (_, log) = open_on(Broker::shared(), 2).await;
    let (_sink, partitions) = member(&log).await;
    assert_eq!(partitions, [0, 1]);
    let mut processor = log.reader(Some("processor")).await.unwrap();
    assert_eq!(next(&mut processor).await.unwrap(), Next::Assigned(vec![0, 1]));
    let mut bystander: Box<dyn Reader> = log.reader(None).await.unwrap();
    assert_eq!(next(&mut bystander).await.unwrap(), Next::Assigned(vec![0, 1]));
}
