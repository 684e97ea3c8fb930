//! Invariants 2 and 7 on an object store that refuses, loses its answers, hangs, is slow, or dies: the lake stays exact,
//! and the sink goes on by itself.
use super::cluster::{self, Cluster, RECOVERY_MAX, SESSION_TIMEOUT_MS, SUPERSEDED, Setup};
use super::node::pause;
use super::rounds::{random, rounds};
use rand::Rng;
use rand::rngs::StdRng;
use std::time::{Duration, Instant};
use testbed::kafka::Broker;
use testbed::object_store::Store;
use testbed::proxy::{Fault, Proxy};

/// Commits are puts below this path.
const COMMITS: &str = "_delta_log";

/// A cluster whose roles reach the store at `endpoint`, and whose audit asks the store itself.
fn cluster(store: &Store, endpoint: &str) -> Cluster {
    let lake = cluster::Store::lake_in(store, endpoint);
    Cluster::new(&Setup { lake: Some(lake), ..Setup::on(Broker::shared().bootstrap()) })
}

/// Load under which `fault` strikes in rounds, each of them ended by `heal`; then the proof. The fault returns how many
/// requests it must have met.
fn in_rounds(test: &str, fault: impl Fn(&Proxy, &mut StdRng)) {
    let mut random = random(test);
    let store = Store::shared();
    let proxy = Proxy::before(&store.endpoint());
    let cluster = cluster(store, &proxy.endpoint());
    let (mut ingest, mut sink) = cluster.start();
    let load = cluster.load("load", &ingest, 600);
    for round in 0..rounds(3) {
        pause(Duration::from_millis(random.random_range(200..1_500)));
        let before = proxy.dealt();
        fault(&proxy, &mut random);
        proxy.heal();
        println!("{test}, round {round}: {} requests hit", proxy.dealt() - before);
        assert!(proxy.dealt() > before, "no request met the fault: this proves nothing");
        cluster.assert_recovers(&mut ingest, &mut [&mut sink]);
    }
    cluster.assert_exact(vec![load]);
    sink.stop();
    ingest.stop();
}

#[test]
fn a_store_that_answers_503_for_a_while_is_waited_out() {
    in_rounds("store answers 503", |proxy, random| {
        let before = proxy.dealt();
        proxy.fail("*", "", u32::MAX, Fault::Status(503));
        wait_dealt(proxy, before + 1);
        pause(Duration::from_millis(random.random_range(1_000..5_000)));
    });
}

#[test]
fn a_commit_that_took_place_and_whose_answer_is_lost_is_not_made_again() {
    in_rounds("answer of the commit lost", |proxy, random| {
        // As often as the client tries again by itself, and more.
        let before = proxy.dealt();
        let times = random.random_range(1..12);
        proxy.fail("PUT", COMMITS, times, Fault::LoseAnswer);
        wait_dealt(proxy, before + times);
    });
}

#[test]
fn a_commit_that_took_place_and_is_never_answered_is_not_made_again() {
    in_rounds("commit hangs", |proxy, random| {
        let before = proxy.dealt();
        proxy.fail("PUT", COMMITS, 1, Fault::HangAfter(Duration::from_millis(random.random_range(1_000..8_000))));
        wait_dealt(proxy, before + 1);
    });
}

#[test]
fn a_slow_store_costs_nothing_but_time() {
    in_rounds("slow store", |proxy, random| {
        let before = proxy.dealt();
        proxy.fail("*", "", u32::MAX, Fault::Delay(Duration::from_millis(300)));
        wait_dealt(proxy, before + 1);
        pause(Duration::from_millis(random.random_range(1_000..5_000)));
    });
}

#[test]
fn a_store_that_is_killed_under_load_is_waited_for_by_two_sinks() {
    let mut random = random("store killed");
    let mut store = Store::start();
    let cluster = cluster(&store, &store.endpoint());
    let (mut ingest, mut sink) = cluster.start();
    let mut second = cluster.sink("sink-b");
    second.wait_ready(RECOVERY_MAX);
    let load = cluster.load("load", &ingest, 600);
    for round in 0..rounds(3) {
        pause(Duration::from_millis(random.random_range(200..2_000)));
        store.kill();
        pause(Duration::from_millis(random.random_range(0..4_000)));
        store.restart();
        println!("round {round}: killed and started again");
        cluster.assert_recovers(&mut ingest, &mut [&mut sink, &mut second]);
    }
    cluster.assert_exact(vec![load]);
    sink.stop();
    second.stop();
    ingest.stop();
}

#[test]
fn a_commit_that_reaches_the_store_after_another_sink_took_over_is_refused() {
    let store = Store::shared();
    let proxy = Proxy::before(&store.endpoint());
    let cluster = cluster(store, &store.endpoint());
    let mut ingest = cluster.ingest("ingest");
    let through_proxy = [("PLAYHEAD_LAKE__OPTIONS__AWS_ENDPOINT", proxy.endpoint())];
    let through_proxy = through_proxy.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut zombie = cluster.sink_with("sink-zombie", &through_proxy);
    let mut other = cluster.sink("sink-other");
    for sink in [&mut zombie, &mut other] {
        sink.wait_ready(RECOVERY_MAX);
    }
    let load = cluster.load("load", &ingest, 500);
    for round in 0..rounds(1) {
        pause(Duration::from_secs(1));
        let (dealt, lost) = (proxy.dealt(), zombie.metric(SUPERSEDED));
        proxy.fail("PUT", COMMITS, 1, Fault::Hold);
        wait_dealt(&proxy, dealt + 1);
        // Its commit is on the way, checked against a table of which it is the writer.
        zombie.freeze();
        pause(Duration::from_millis(SESSION_TIMEOUT_MS));
        cluster.assert_recovers(&mut ingest, &mut [&mut other]);
        zombie.thaw();
        // Awake, and the commit arrives; also when the client has given it up meanwhile.
        pause(Duration::from_secs(1));
        proxy.release();
        let since = Instant::now();
        while proxy.settled() <= dealt || zombie.metric(SUPERSEDED) <= lost {
            assert!(since.elapsed() < RECOVERY_MAX, "the commit was not refused");
            pause(Duration::from_millis(200));
        }
        cluster.assert_recovers(&mut ingest, &mut [&mut zombie, &mut other]);
        println!("round {round}: the late commit was refused");
    }
    cluster.assert_exact(vec![load]);
    zombie.stop();
    other.stop();
    ingest.stop();
}

/// Waits until so many faults were dealt out.
fn wait_dealt(proxy: &Proxy, wanted: u32) {
    let since = Instant::now();
    while proxy.dealt() < wanted {
        assert!(since.elapsed() < RECOVERY_MAX, "{} of {wanted} faults dealt out", proxy.dealt());
        pause(Duration::from_millis(20));
    }
}
