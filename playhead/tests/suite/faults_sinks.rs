//! Invariants 2, 4 and 7 while ingest nodes and sinks fail: killed, frozen over a rebalance, coming and going, or set
//! against each other. Whoever writes the lake, each acknowledged event is in it once.
use super::cluster::{Cluster, RECOVERY_MAX, SESSION_TIMEOUT_MS, SUPERSEDED, Setup};
use super::node::pause;
use super::process::Process;
use super::rounds::{random, rounds};
use rand::Rng;
use std::time::Duration;
use testbed::kafka::Broker;

/// A sink that stands still for this long is no longer in its group.
const FORGOTTEN: Duration = Duration::from_millis(SESSION_TIMEOUT_MS + 1_000);

fn cluster() -> Cluster {
    Cluster::new(&Setup::on(Broker::shared().bootstrap()))
}

/// Two sinks that share the partitions, both ready.
fn two_sinks(cluster: &Cluster) -> [Process; 2] {
    let mut sinks = [cluster.sink("sink-a"), cluster.sink("sink-b")];
    sinks.iter_mut().for_each(|sink| sink.wait_ready(RECOVERY_MAX));
    sinks
}

#[test]
fn ingest_nodes_and_sinks_that_are_killed_at_random_cost_no_acknowledged_event() {
    let mut random = random("roles killed");
    let cluster = cluster();
    let mut ingests = [cluster.ingest("ingest-a"), cluster.ingest("ingest-b")];
    let mut sinks = two_sinks(&cluster);
    // As behind a load balancer: each node has clients of its own, who come back when it does.
    let loads = vec![cluster.load("load-a", &ingests[0], 400), cluster.load("load-b", &ingests[1], 400)];
    for round in 0..rounds(10) {
        pause(Duration::from_millis(random.random_range(50..1_500)));
        let victim = random.random_range(0..2);
        if random.random_bool(0.5) {
            println!("round {round}: ingest {victim} killed");
            ingests[victim].kill();
            ingests[victim].restart();
            ingests[victim].wait_ready(RECOVERY_MAX);
        } else {
            // A sink that was just killed holds its partitions for a session: a kill that hits one without any proves
            // little, so most times there is a commit between two kills.
            println!("round {round}: sink {victim} killed");
            sinks[victim].kill();
            sinks[victim].restart();
            if random.random_bool(0.7) {
                sinks[victim].wait_ready(RECOVERY_MAX);
            }
        }
    }
    let [first, second] = &mut sinks;
    ingests.iter_mut().for_each(|ingest| cluster.assert_recovers(ingest, &mut [first, second]));
    cluster.assert_exact(loads);
    sinks.iter_mut().chain(&mut ingests).for_each(Process::stop);
}

#[test]
fn two_sinks_that_fight_for_the_same_partitions_write_each_event_once() {
    let cluster = cluster();
    let mut ingest = cluster.ingest("ingest");
    // Two groups: to Kafka they have nothing to do with each other, and each is given every partition.
    let groups = ["one", "other"].map(|name| (name, format!("{}-{name}", cluster.topic)));
    let mut sinks = groups
        .each_ref()
        .map(|(name, group)| cluster.sink_with(&format!("sink-{name}"), &[("PLAYHEAD_KAFKA__GROUP_ID", group)]));
    sinks.iter_mut().for_each(|sink| sink.wait_ready(RECOVERY_MAX));
    let load = cluster.load("load", &ingest, 600);
    let [one, other] = &mut sinks;
    for _ in 0..rounds(3) {
        pause(Duration::from_secs(3));
        cluster.assert_recovers(&mut ingest, &mut [one, other]);
    }
    let lost = [one.metric(SUPERSEDED), other.metric(SUPERSEDED)];
    println!("commits lost to the other: {lost:?}");
    assert!(lost.iter().sum::<f64>() > 0.0, "they never met: this proves nothing");
    cluster.assert_exact(vec![load]);
    sinks.iter_mut().for_each(Process::stop);
    ingest.stop();
}

#[test]
fn a_sink_that_was_frozen_over_a_rebalance_changes_nothing_when_it_wakes_and_takes_part_again() {
    let mut random = random("zombie");
    let cluster = cluster();
    let mut ingest = cluster.ingest("ingest");
    let mut sinks = two_sinks(&cluster);
    let load = cluster.load("load", &ingest, 600);
    for round in 0..rounds(3) {
        // Somewhere in filling a buffer or writing it.
        pause(Duration::from_millis(random.random_range(1_000..2_000)));
        let [zombie, other] = &mut sinks;
        zombie.freeze();
        pause(FORGOTTEN);
        // Fresh events of every partition are in the lake: the other one has taken all of them over.
        cluster.assert_recovers(&mut ingest, &mut [other]);
        zombie.thaw();
        // It takes part again: alone, it does all the work.
        other.stop();
        cluster.assert_recovers(&mut ingest, &mut [zombie]);
        println!("round {round}: woken; commits lost to the other so far: {}", zombie.metric(SUPERSEDED));
        other.restart();
        other.wait_ready(RECOVERY_MAX);
        sinks.reverse();
    }
    cluster.assert_exact(vec![load]);
    sinks.iter_mut().for_each(Process::stop);
    ingest.stop();
}

/// SIGTERM. Who was still joining may have been told to stop amid passing trouble, and says so by exit code 2.
fn leave(guest: &mut Process, joined: bool) {
    let status = guest.end();
    assert!(status.success() || !joined && status.code() == Some(2), "a guest after SIGTERM: {status}");
}

#[test]
fn sinks_that_join_and_leave_under_load_hand_over_without_loss_or_copy() {
    let mut random = random("rebalances");
    let cluster = cluster();
    let mut ingest = cluster.ingest("ingest");
    let mut stays = cluster.sink("sink-stays");
    stays.wait_ready(RECOVERY_MAX);
    let load = cluster.load("load", &ingest, 600);
    for round in 0..rounds(3) {
        let mut guests = [cluster.sink(&format!("guest-{round}-a")), cluster.sink(&format!("guest-{round}-b"))];
        let joined = random.random_bool(0.5);
        // Else anywhere in joining, once they are up: before that SIGTERM just ends a process that has done nothing.
        let wait = if joined { Process::wait_ready } else { Process::wait_up };
        guests.iter_mut().for_each(|guest| wait(guest, RECOVERY_MAX));
        pause(Duration::from_millis(random.random_range(0..2_000)));
        let [first, second] = &mut guests;
        // One leaves in order, one (in the last round) without a word.
        leave(first, joined);
        pause(Duration::from_millis(random.random_range(0..1_000)));
        if round + 1 == rounds(3) { second.kill() } else { leave(second, joined) }
    }
    cluster.assert_recovers(&mut ingest, &mut [&mut stays]);
    cluster.assert_exact(vec![load]);
    stays.stop();
    ingest.stop();
}
