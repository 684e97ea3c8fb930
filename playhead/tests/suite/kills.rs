//! Invariants 1, 2, 4 and 7: SIGKILL at random moments under load loses nothing, doubles nothing, and it recovers by
//! itself.
use super::node::{self, Node, audit, pause, playhead, result};
use super::rounds::{random, setting};
use rand::Rng;
use std::time::Duration;
use testbed::scratch;

/// Kills in one run. CI takes the default, `scripts/soak` more.
const KILLS_DEFAULT: u32 = 10;
/// A node is ready again this long after a kill: what is promised.
const READY_MAX: Duration = Duration::from_secs(20);
/// A load ends this long after it is told to.
const LOAD_END_MAX: Duration = Duration::from_secs(120);

#[test]
fn killed_at_random_moments_under_load_each_acknowledged_event_is_in_the_lake_once() {
    let kills = setting("SOAK_KILLS").unwrap_or(KILLS_DEFAULT);
    println!("{kills} kills");
    let mut random = random("node killed");
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let acked = temp.path().join("acked.txt");

    // Its ports for all of its lives: none that the kernel gives to a client while it is dead.
    let ports = [scratch::port(), scratch::port()];
    let [listen, admin] = ports.each_ref().map(scratch::Port::address);
    let mut node = node::start(playhead(&data), &listen, &admin);
    let mut load = playhead(&data);
    load.args(["load", "--json", "--rate", "3000", "--batch", "20", "--connections", "16", "--seconds", "86400"]);
    load.args(["--url", &format!("http://{listen}"), "--acked"]).arg(&acked);
    let load = node::spawn(&load);
    for _ in 0..kills {
        pause(Duration::from_millis(random.random_range(50..2_500)));
        node.kill();
        node = node::start_within(playhead(&data), &listen, &admin, READY_MAX);
    }
    pause(Duration::from_secs(1));
    node::signal(load.id(), "INT");
    let (_, report) = result(&load.output(LOAD_END_MAX).expect("the load's end"));
    println!("load: {report}");
    assert!(report["acknowledged"].as_u64().unwrap() > 1_000, "{report}");

    let (code, beside) = audit(&data, Some(&acked));
    assert_eq!((code, &beside["pending"]), (0, &0.into()), "beside the running node: {beside}");
    node.stop();
    let (code, offline) = audit(&data, Some(&acked));
    println!("audit: {offline}");
    assert_eq!(code, 0, "{offline}");
    assert_eq!(offline["rows"], offline["ids"]);
    assert_eq!(offline["missing"], 0);
    assert!(offline["acked"].as_u64().unwrap() > 1_000);
}

#[test]
fn what_was_acknowledged_before_a_kill_is_pending_offline_and_in_the_lake_after_the_next_start() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let acked = temp.path().join("acked.txt");
    let mut slow_flush = playhead(&data);
    slow_flush.env("PLAYHEAD_SINK__FLUSH_AGE_MS", "60000");
    let node = node::start(slow_flush, "127.0.0.1:0", "127.0.0.1:0");
    let id = node::id();
    let (status, body) = node.post("application/json", node::event(&id, "s1").as_bytes());
    assert_eq!(status, 200, "{body}");
    std::fs::write(&acked, format!("{id}\n")).unwrap();
    node.kill();

    let (code, before) = audit(&data, Some(&acked));
    assert_eq!((code, &before["pending"], &before["missing"]), (1, &1.into(), &0.into()), "{before}");
    let node = Node::new(&data);
    node.stop();
    let (code, after) = audit(&data, Some(&acked));
    assert_eq!((code, &after["pending"], &after["rows"]), (0, &0.into(), &1.into()), "{after}");
}

#[test]
fn a_retry_after_a_kill_is_the_same_event() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let node = Node::new(&data);
    let event = node::event(&node::id(), "s1");
    assert_eq!(node.post("application/json", event.as_bytes()).0, 200);
    node.kill();
    let node = Node::new(&data);
    assert_eq!(node.post("application/json", event.as_bytes()).0, 200);
    node.stop();
    let (code, report) = audit(&data, None);
    assert_eq!((code, &report["rows"]), (0, &1.into()), "{report}");
}
