//! Invariants 5 and 7 while processors that share the partitions over Kafka fail: killed, frozen over a rebalance, coming and
//! going. Whoever has which partition, each window comes out once and right; and whoever is looked at shows all of it.
use super::cluster::{Cluster, RECOVERY_MAX, SESSION_TIMEOUT_MS, Setup};
use super::node::{self, answer, pause};
use super::process::Process;
use super::roles::eventually;
use super::rollups::{TYPES, of_events, of_rollup, waiting};
use super::rounds::{random, rounds};
use rand::Rng;
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use testbed::kafka::Broker;
use testbed::scratch::{self, Port};

const PROCESSORS: usize = 3;

/// A processor that stands still for this long is no longer in its group.
const FORGOTTEN: Duration = Duration::from_millis(SESSION_TIMEOUT_MS + 1_000);

fn cluster() -> Cluster {
    Cluster::new(&Setup { more: TYPES, ..Setup::on(Broker::shared().bootstrap()) })
}

/// Processors, each with an address at which it shows what is open; all know all.
fn processors(cluster: &Cluster) -> Vec<(Process, Port)> {
    let ports: Vec<Port> = (0..PROCESSORS).map(|_| scratch::port()).collect();
    let peers = json!(ports.iter().map(Port::address).collect::<Vec<_>>()).to_string();
    let start = |(number, port): (usize, Port)| {
        let settings = [("PLAYHEAD_LIVE__LISTEN", port.address()), ("PLAYHEAD_LIVE__PEERS", peers.clone())];
        (cluster.processor(&format!("processor-{number}"), &settings), port)
    };
    let mut processors: Vec<(Process, Port)> = ports.into_iter().enumerate().map(start).collect();
    processors.iter_mut().for_each(|(processor, _)| processor.wait_ready(RECOVERY_MAX));
    processors
}

/// The sum of a rollup's open and newly closed windows, as this address shows them; and which partitions are missing.
fn shown(address: &str) -> Option<(u64, Value)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    write!(stream, "GET /v1/live/audience HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let (status, body) = answer(stream);
    let view: Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
    let windows = view["windows"].as_array()?;
    Some((windows.iter().filter_map(|window| window["events"].as_u64()).sum(), view["missing_partitions"].clone()))
}

/// One event that comes late, posted until it is taken.
fn post_late(ingest: &Process, session: &str, back_s: u64) {
    let event =
        json!({"event_type": "seek", "session_id": session, "event_time": node::now_ms() as u64 - back_s * 1_000});
    eventually("a late event is taken", || {
        ingest.post(&[event.to_string()]).filter(|(status, _)| *status == 200).map(drop)
    });
}

#[test]
fn processors_that_are_killed_frozen_and_rebalanced_under_load_close_each_window_once_and_right() {
    let mut random = random("processors");
    let cluster = cluster();
    let ingest = cluster.ingest("ingest");
    let mut sink = cluster.sink("sink");
    sink.wait_ready(RECOVERY_MAX);
    let mut processors = processors(&cluster);
    let load = cluster.load("load", &ingest, 400);
    for round in 0..rounds(6) {
        pause(Duration::from_millis(random.random_range(500..3_000)));
        for number in 0..10 {
            post_late(&ingest, &format!("late-{round}-{number}"), random.random_range(3..30));
        }
        let (victim, _) = &mut processors[random.random_range(0..PROCESSORS)];
        match random.random_range(0..3) {
            0 => {
                println!("round {round}: killed");
                victim.kill();
                victim.restart();
            }
            1 => {
                println!("round {round}: frozen, and forgotten");
                victim.freeze();
                pause(FORGOTTEN);
                victim.thaw();
            }
            _ => {
                println!("round {round}: stopped in order, and started again");
                victim.end();
                pause(Duration::from_millis(random.random_range(0..2_000)));
                victim.restart();
            }
        }
        if random.random_bool(0.7) {
            victim.wait_ready(RECOVERY_MAX);
        }
    }
    cluster.assert_exact(vec![load]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wanted = runtime.block_on(of_events(&cluster.lake()));
    let revisions = eventually("every window is closed and corrected", || {
        let (held, revisions) = runtime.block_on(of_rollup(&cluster.lake()));
        (held == wanted).then_some(revisions)
    });
    println!("{} windows, by revision: {:?}", revisions.len(), revisions.values());
    assert!(revisions.values().any(|revision| *revision > 1), "some were corrected: {revisions:?}");
    eventually("nothing waits for a correction", || (runtime.block_on(waiting(&cluster.lake())) == 0).then_some(()));
    processors.iter_mut().for_each(|(processor, _)| processor.wait_ready(RECOVERY_MAX));
    processors.iter_mut().for_each(|(processor, _)| processor.stop());
    [sink, ingest].iter_mut().for_each(Process::stop);
}

#[test]
fn whichever_processor_is_looked_at_shows_the_events_of_all() {
    let cluster = cluster();
    let mut ingest = cluster.ingest("ingest");
    let mut processors = processors(&cluster);
    let posted = cluster.post_fresh(&ingest).len();
    assert!(posted > 1, "they are in several partitions");
    let wanted = cluster.fresh_events() as u64;
    let shows_all = |processors: &[(Process, Port)]| {
        for (_, port) in processors {
            let mut last = None;
            eventually("it shows all", || {
                last = shown(&port.address());
                (last == Some((wanted, json!([])))).then_some(())
            });
        }
    };
    shows_all(&processors);
    // The others take its partitions over.
    processors.remove(0).0.kill();
    shows_all(&processors);
    processors.iter_mut().for_each(|(processor, _)| processor.stop());
    ingest.stop();
}
