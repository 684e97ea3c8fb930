//! Replay, compaction and rebuild of a topic's lake on an object store that fails meanwhile, while events come in: the lake
//! stays exact, and what was stopped is finished by the next run.
use super::cluster::{self, Cluster, Setup};
use super::node::{self, pause, result};
use super::rounds::{random, rounds};
use rand::Rng;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use testbed::kafka::Broker;
use testbed::object_store::Store;
use testbed::proxy::{Fault, Proxy};

/// A store that is well brings any of them to its end at the first run; four refusals in a row stop one.
const RUNS_MAX: usize = 8;

const COMMITS: &str = "_delta_log";

struct Maintained {
    cluster: Cluster,
    proxy: Proxy,
}

impl Maintained {
    /// Through the proxy.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.cluster.playhead("roles.toml", "maintenance");
        command.args(arguments).arg("--json").env("PLAYHEAD_LAKE__OPTIONS__AWS_ENDPOINT", self.proxy.endpoint());
        command
    }

    /// Again and again until it is done; what it said last.
    fn until_done(&self, arguments: &[&str]) -> Value {
        for _ in 0..RUNS_MAX {
            let output = node::output(&self.command(arguments));
            if output.status.code() == Some(0) {
                return result(&output).1;
            }
            println!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        panic!("{arguments:?} is not done after {RUNS_MAX} runs");
    }

    fn killed_after(&self, arguments: &[&str], time: Duration) {
        let mut child = node::spawn(&self.command(arguments));
        pause(time);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn replay_compaction_and_rebuild_stay_exact_on_a_store_that_fails_while_events_come_in() {
    let mut random = random("maintenance on a store");
    let store = Store::shared();
    let proxy = Proxy::before(&store.endpoint());
    let lake = Some(cluster::Store::lake_in(store, &store.endpoint()));
    let cluster = Cluster::new(&Setup { lake, ..Setup::on(Broker::shared().bootstrap()) });
    let (mut ingest, mut sink) = cluster.start();
    let load = cluster.load("load", &ingest, 200);
    pause(Duration::from_secs(3));
    let maintained = Maintained { cluster, proxy };
    let Maintained { cluster, proxy } = &maintained;
    let replay = ["replay", "--all", "--chunk-rows", "5000"];
    let mut hit = [0; 4];
    let works: [&[&str]; 3] = [&replay, &["compact"], &["rebuild"]];
    for round in 0..rounds(1) {
        for arguments in works {
            let faults = [
                ("*", "", random.random_range(1..16), Fault::Status(503)),
                ("PUT", COMMITS, random.random_range(1..12), Fault::LoseAnswer),
                ("PUT", "", 1, Fault::HangAfter(Duration::from_secs(random.random_range(1..6)))),
                ("GET", "", random.random_range(1..20), Fault::LoseAnswer),
            ];
            for (number, (method, path, times, fault)) in faults.into_iter().enumerate() {
                // Something lies unsorted again.
                pause(Duration::from_secs(1));
                let before = proxy.dealt();
                proxy.fail(method, path, times, fault);
                let done = maintained.until_done(arguments);
                println!("round {round}, {arguments:?}, {fault:?}: {} requests hit: {done}", proxy.dealt() - before);
                // A compaction may find nothing to do.
                hit[number] += usize::from(proxy.dealt() > before);
                proxy.heal();
            }
            maintained.killed_after(arguments, Duration::from_millis(random.random_range(100..1_500)));
            // A replay that was killed keeps the maintenance from others, until the next one has finished it.
            maintained.until_done(&replay);
        }
    }
    assert!(hit.iter().all(|runs| *runs >= 2), "the faults met {hit:?} runs: this proves little");
    let done = maintained.until_done(&replay);
    assert!(done["rows_after"].as_u64().unwrap() > 1_000, "{done}");
    let jobs = maintained.until_done(&["jobs"]);
    let jobs = jobs["jobs"].as_array().unwrap();
    assert!(jobs.len() > 8 && jobs.iter().all(|job| job["state"] == json!("done")), "{jobs:?}");
    cluster.assert_recovers(&mut ingest, &mut [&mut sink]);
    cluster.assert_exact(vec![load]);
    sink.stop();
    ingest.stop();
}
