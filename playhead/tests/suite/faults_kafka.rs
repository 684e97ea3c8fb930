//! Invariants 1, 2 and 7 while Kafka itself fails: what was acknowledged is in the lake once, and all goes on by itself.
use super::cluster::{self, APPEND_TIMEOUT_MS, Cluster, RECOVERY_MAX, SESSION_TIMEOUT_MS, SOCKET_TIMEOUT_MS, Setup};
use super::node::{self, pause};
use super::rounds::{random, rounds};
use rand::Rng;
use std::time::{Duration, Instant};
use testbed::kafka::Broker;
use testbed::object_store::Store;

/// A broker that stands still for longer than the group's session, an append and a request to a broker.
const STANDSTILL: Duration = Duration::from_millis(SOCKET_TIMEOUT_MS + 2_000);
const _: () = assert!(SOCKET_TIMEOUT_MS > SESSION_TIMEOUT_MS && SESSION_TIMEOUT_MS > APPEND_TIMEOUT_MS);

/// Brokers that are away for so long that clients of Kafka have given up on everything they had asked.
const AWAY: Duration = Duration::from_millis(3 * SOCKET_TIMEOUT_MS);

const RENEWED: &str = "playhead_kafka_fetchers_renewed_total";

#[test]
fn a_broker_that_is_killed_under_load_costs_no_acknowledged_event() {
    let mut random = random("broker killed");
    let mut broker = Broker::start();
    let cluster = Cluster::new(&Setup::on(broker.bootstrap()));
    let (mut ingest, mut sink) = cluster.start();
    let load = cluster.load("load", &ingest, 600);
    for round in 0..rounds(3) {
        pause(Duration::from_millis(random.random_range(200..2_000)));
        broker.kill();
        // The first time down for longer than a record is tried to be delivered, then as it comes.
        let down_ms = if round == 0 { APPEND_TIMEOUT_MS + 1_000 } else { random.random_range(0..4_000) };
        pause(Duration::from_millis(down_ms));
        broker.restart();
        println!("round {round}: killed, down for {down_ms} ms");
        cluster.assert_recovers(&mut ingest, &mut [&mut sink]);
    }
    cluster.assert_exact(vec![load]);
    sink.stop();
    ingest.stop();
}

#[test]
fn a_broker_that_stands_still_for_longer_than_every_timeout_is_told_to_clients_and_costs_no_acknowledged_event() {
    let broker = Broker::start();
    let cluster = Cluster::new(&Setup::on(broker.bootstrap()));
    let (mut ingest, mut sink) = cluster.start();
    let load = cluster.load("load", &ingest, 600);
    for round in 0..rounds(3) {
        pause(Duration::from_secs(1));
        broker.pause();
        let since = Instant::now();
        // Taken before the broker stood still or not at all: from now on nothing can be durable.
        let mut refused = 0;
        while since.elapsed() < STANDSTILL {
            let (status, body) = ingest.post(&[node::event(&node::id(), "s1")]).expect("an answer");
            assert_eq!(status, 503, "{body}");
            refused += 1;
            pause(Duration::from_millis(500));
        }
        let words = ingest.wait_unready(Duration::from_secs(10), |words| words.contains("ingest"));
        broker.resume();
        println!("round {round}: stood still for {:?}, {refused} requests refused; {words}", since.elapsed());
        cluster.assert_recovers(&mut ingest, &mut [&mut sink]);
    }
    cluster.assert_exact(vec![load]);
    sink.stop();
    ingest.stop();
}

#[test]
fn brokers_away_for_long_and_then_the_store_are_waited_for_by_two_sinks() {
    let (mut broker, mut store) = (Broker::start(), Store::start());
    let lake = cluster::Store::lake_in(&store, &store.endpoint());
    let cluster = Cluster::new(&Setup { lake: Some(lake), ..Setup::on(broker.bootstrap()) });
    let (mut ingest, mut sink) = cluster.start();
    let mut second = cluster.sink("sink-b");
    second.wait_ready(RECOVERY_MAX);
    let load = cluster.load("load", &ingest, 600);
    for round in 0..rounds(1) {
        broker.kill();
        pause(AWAY);
        broker.restart();
        let since = Instant::now();
        cluster.assert_recovers(&mut ingest, &mut [&mut sink, &mut second]);
        let after_kafka = since.elapsed();
        store.kill();
        pause(AWAY / 2);
        store.restart();
        let since = Instant::now();
        cluster.assert_recovers(&mut ingest, &mut [&mut sink, &mut second]);
        let renewed = sink.metric(RENEWED) + second.metric(RENEWED);
        println!("round {round}: well {after_kafka:?} and {:?} later, {renewed} fetchers renewed", since.elapsed());
    }
    cluster.assert_exact(vec![load]);
    sink.stop();
    second.stop();
    ingest.stop();
}
