//! Ingest and sink as processes of their own over a real broker and a lake, with load beside them, and the proof that
//! nothing of it was lost or doubled.
//!
//! ```text
//!  load ──▶ ingest ──▶ Kafka ──▶ sink ──▶ lake       faults: whatever a test does to any of them
//!    └─ acked ids ──────────── audit ◀──────┘
//! ```
use super::node::{self, pause, result, signal};
use super::process::Process;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testbed::process::Running;
use testbed::scratch;

/// After a fault is over, a fresh event is in the lake within this, and every process is ready. It takes seconds; no
/// machine is judged by this that stands still for a minute.
pub const RECOVERY_MAX: Duration = Duration::from_secs(180);
/// The lake has all of a load's events this long after it ended.
const CAUGHT_UP_MAX: Duration = Duration::from_secs(180);
/// A load ends this long after it is told to.
const LOAD_END_MAX: Duration = Duration::from_secs(120);
/// Commits that a sink lost to another one.
pub const SUPERSEDED: &str = "playhead_sink_superseded_total";
/// Sessions of a fresh batch: so many that each of a few partitions gets one.
const FRESH_SESSIONS: usize = 64;
/// How long a request waits for its batch, in these tests.
pub const APPEND_TIMEOUT_MS: u64 = 3_000;
/// The consumer group takes a sink for dead after this: the broker allows no less.
pub const SESSION_TIMEOUT_MS: u64 = 6_000;
/// librdkafka gives up on a request after this.
pub const SOCKET_TIMEOUT_MS: u64 = 10_000;

/// What a cluster is made of.
pub struct Setup {
    pub brokers: String,
    pub partitions: u32,
    pub session_timeout_ms: u64,
    pub flush_age_ms: u64,
    /// `None`: a folder of this machine.
    pub lake: Option<Store>,
    /// Further settings.
    pub more: &'static str,
}

/// A lake on an object store: its URL, and the store's options for the roles (perhaps through a proxy) and for those who
/// look.
pub struct Store {
    pub url: String,
    pub of_roles: BTreeMap<String, String>,
    pub of_audit: BTreeMap<String, String>,
}

impl Store {
    /// A lake of its own in `store`; the roles reach it at `endpoint`, those who look at the store itself.
    pub fn lake_in(store: &testbed::object_store::Store, endpoint: &str) -> Store {
        Store {
            url: format!("s3://{}/{}", store.bucket(), node::id()),
            of_roles: store.options_at(endpoint),
            of_audit: store.options_at(&store.endpoint()),
        }
    }
}

impl Setup {
    /// With short timeouts, on a lake on disk.
    pub fn on(brokers: String) -> Setup {
        let (partitions, session_timeout_ms, flush_age_ms) = (4, SESSION_TIMEOUT_MS, 1_000);
        Setup { brokers, partitions, session_timeout_ms, flush_age_ms, lake: None, more: "" }
    }
}

/// A topic, a lake, and the settings that all processes share.
pub struct Cluster {
    dir: TempDir,
    pub topic: String,
    /// Ids that were acknowledged beside the loads.
    fresh: RefCell<Vec<String>>,
}

impl Cluster {
    /// Writes the settings; nothing runs yet.
    pub fn new(setup: &Setup) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let topic = format!("events-{}", node::id());
        let (url, of_roles, of_audit) = match &setup.lake {
            Some(store) => (store.url.clone(), store.of_roles.clone(), store.of_audit.clone()),
            None => (format!("file://{}/lake", dir.path().display()), BTreeMap::new(), BTreeMap::new()),
        };
        std::fs::write(dir.path().join("roles.toml"), configuration(setup, &topic, &url, &of_roles)).unwrap();
        std::fs::write(dir.path().join("audit.toml"), configuration(setup, &topic, &url, &of_audit)).unwrap();
        Cluster { dir, topic, fresh: RefCell::default() }
    }

    /// Starts an ingest node and waits until it is ready.
    pub fn ingest(&self, name: &str) -> Process {
        let mut command = self.playhead("roles.toml", name);
        command.arg("ingest");
        let (listen, log) = (Some(scratch::port()), self.dir.path().join(format!("{name}.log")));
        let mut process = Process::start(name, command, listen, scratch::port(), log);
        process.wait_ready(RECOVERY_MAX);
        process
    }

    /// Starts a sink; does not wait.
    pub fn sink(&self, name: &str) -> Process {
        self.sink_with(name, &[])
    }

    /// The same with settings of its own, as variables of its environment.
    pub fn sink_with(&self, name: &str, settings: &[(&str, &str)]) -> Process {
        let mut command = self.playhead("roles.toml", name);
        command.arg("sink").envs(settings.iter().copied());
        Process::start(name, command, None, scratch::port(), self.dir.path().join(format!("{name}.log")))
    }

    /// Starts a processor of rollups with settings of its own, as variables of its environment; does not wait.
    pub fn processor(&self, name: &str, settings: &[(&str, String)]) -> Process {
        let mut command = self.playhead("roles.toml", name);
        command.arg("process").envs(settings.iter().cloned());
        Process::start(name, command, None, scratch::port(), self.dir.path().join(format!("{name}.log")))
    }

    /// The lake, where it is a folder of this machine.
    pub fn lake(&self) -> PathBuf {
        self.dir.path().join("lake")
    }

    /// Events that were posted beside the loads.
    pub fn fresh_events(&self) -> usize {
        self.fresh.borrow().len()
    }

    /// One ingest, one sink, both ready.
    pub fn start(&self) -> (Process, Process) {
        let ingest = self.ingest("ingest");
        let mut sink = self.sink("sink");
        sink.wait_ready(RECOVERY_MAX);
        (ingest, sink)
    }

    /// Load on one node, until it is stopped.
    pub fn load(&self, name: &str, ingest: &Process, rate: u32) -> Load {
        self.load_of(ingest, rate, 20, self.dir.path().join(format!("{name}.acked")))
    }

    /// The same with as many events in a request, and the file that gets the acknowledged ids.
    pub fn load_of(&self, ingest: &Process, rate: u32, batch: u32, acked: PathBuf) -> Load {
        let mut command = self.playhead("audit.toml", "load");
        command.args(["load", "--json", "--connections", "16", "--seconds", "86400", "--rate", &rate.to_string()]);
        command.args(["--batch", &batch.to_string(), "--url", &format!("http://{}", ingest.listen), "--acked"]);
        command.arg(&acked);
        Load { child: node::spawn(&command), acked }
    }

    /// A command with everything that the surroundings could change taken out.
    pub fn playhead(&self, config: &str, name: &str) -> Command {
        let mut command = node::program();
        command.arg("--config").arg(self.dir.path().join(config));
        command.arg("--data").arg(self.dir.path().join(format!("{name}.data"))).current_dir(self.dir.path());
        command
    }

    /// `playhead status --json`; `None` while it can't be had.
    pub fn status(&self) -> Option<Value> {
        let output = node::output(self.playhead("audit.toml", "status").args(["status", "--json"]));
        serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last()?).ok()
    }

    /// Posts an event of each partition, again and again until it is taken: partition and offset of each.
    pub fn post_fresh(&self, ingest: &Process) -> Vec<(u32, u64)> {
        let ids: Vec<String> = (0..FRESH_SESSIONS).map(|_| node::id()).collect();
        let events: Vec<String> = ids.iter().map(|id| node::event(id, id)).collect();
        let since = Instant::now();
        loop {
            let answer = ingest.post(&events);
            if let Some((200, body)) = &answer {
                let body: Value = serde_json::from_str(body).unwrap();
                self.fresh.borrow_mut().extend(ids);
                return receipts(&body);
            }
            assert!(since.elapsed() < RECOVERY_MAX, "no fresh event is taken within {RECOVERY_MAX:?}: {answer:?}");
            pause(Duration::from_millis(200));
        }
    }

    /// Invariant 7: a fresh event of each partition reaches the lake with nobody's help, and all are ready again.
    pub fn assert_recovers(&self, ingest: &mut Process, sinks: &mut [&mut Process]) {
        let since = Instant::now();
        let fresh = self.post_fresh(ingest);
        let taken = since.elapsed();
        self.wait_for_lake(&fresh, RECOVERY_MAX);
        let in_lake = since.elapsed();
        ingest.wait_ready(RECOVERY_MAX.saturating_sub(since.elapsed()));
        for sink in sinks {
            sink.wait_ready(RECOVERY_MAX.saturating_sub(since.elapsed()));
        }
        println!(
            "  fresh events taken after {taken:.1?}, in the lake {in_lake:.1?}, all ready {:.1?}",
            since.elapsed()
        );
    }

    /// Waits until the lake is beyond these offsets.
    pub fn wait_for_lake(&self, wanted: &[(u32, u64)], limit: Duration) {
        let since = Instant::now();
        loop {
            let status = self.status();
            let next = |partition: u32| {
                let partitions = status.as_ref()?["partitions"].as_array()?;
                partitions.iter().find(|p| p["partition"] == partition)?["lake_next"].as_u64()
            };
            if wanted.iter().all(|(partition, offset)| next(*partition).is_some_and(|next| next > *offset)) {
                return;
            }
            assert!(since.elapsed() < limit, "{wanted:?} is not in the lake after {limit:?}: {status:?}");
            pause(Duration::from_millis(200));
        }
    }

    /// Waits until the lake has all that the log holds.
    pub fn wait_caught_up(&self, limit: Duration) {
        let since = Instant::now();
        loop {
            let status = self.status();
            let lags = status.as_ref().and_then(|status| {
                let lag = |partition: &Value| partition["lag_records"].as_u64();
                status["partitions"].as_array()?.iter().map(lag).collect::<Option<Vec<_>>>()
            });
            if lags.is_some_and(|lags| !lags.is_empty() && lags.iter().all(|lag| *lag == 0)) {
                return;
            }
            assert!(since.elapsed() < limit, "the lake does not catch up: {status:?}");
            pause(Duration::from_millis(200));
        }
    }

    /// Ends the loads, waits until the lake has all, and demands that the audit finds it exact. The loads' reports.
    pub fn assert_exact(&self, loads: Vec<Load>) -> Vec<Value> {
        let acked = self.dir.path().join("all.acked");
        let mut ids = self.fresh.borrow().join("\n") + "\n";
        let mut reports = Vec::new();
        for load in loads {
            let (report, file) = load.stop();
            println!("load: {report}");
            assert!(report["acknowledged"].as_u64().unwrap() > 1_000, "{report}");
            ids += &std::fs::read_to_string(file).unwrap();
            reports.push(report);
        }
        std::fs::write(&acked, &ids).unwrap();
        self.wait_caught_up(CAUGHT_UP_MAX);
        let (code, report) = self.audit(&acked, CAUGHT_UP_MAX);
        println!("audit: {report}");
        assert_eq!((code, &report["ok"]), (0, &true.into()), "{report}");
        for name in ["duplicates", "gaps", "missing", "pending"] {
            assert_eq!(report[name], 0, "{name}: {report}");
        }
        assert_eq!(report["rows"], report["ids"], "{report}");
        assert_eq!(report["acked"].as_u64().unwrap(), ids.lines().filter(|id| !id.is_empty()).count() as u64);
        reports
    }

    /// `playhead audit --json --acked`, which waits for the lake as long as `patience`.
    pub fn audit(&self, acked: &Path, patience: Duration) -> (i32, Value) {
        let mut command = self.playhead("audit.toml", "audit");
        command.args(["audit", "--json", "--wait-s", &patience.as_secs().to_string(), "--acked"]).arg(acked);
        result(&node::output(&command))
    }

    /// A file of ids for the audit.
    pub fn acked_file(&self, ids: &[String]) -> PathBuf {
        let path = self.dir.path().join("some.acked");
        std::fs::write(&path, ids.join("\n") + "\n").unwrap();
        path
    }
}

/// Partition and offset of each receipt.
pub fn receipts(answer: &Value) -> Vec<(u32, u64)> {
    let receipts = answer["receipts"].as_array().unwrap();
    let number = |receipt: &Value, name: &str| receipt[name].as_u64().unwrap();
    receipts.iter().map(|r| (u32::try_from(number(r, "partition")).unwrap(), number(r, "offset"))).collect()
}

fn configuration(setup: &Setup, topic: &str, url: &str, options: &BTreeMap<String, String>) -> String {
    let Setup { brokers, partitions, session_timeout_ms, flush_age_ms, .. } = setup;
    let mut text = format!(
        r#"[ingest]
append_timeout_ms = {APPEND_TIMEOUT_MS}
[sink]
flush_age_ms = {flush_age_ms}
[kafka]
brokers = [{brokers:?}]
topic = {topic:?}
partitions = {partitions}
group_id = {topic:?}
[kafka.properties]
"session.timeout.ms" = "{session_timeout_ms}"
"socket.timeout.ms" = "{SOCKET_TIMEOUT_MS}"
[lake]
url = {url:?}
[lake.options]
"#
    );
    for (name, value) in options {
        writeln!(text, "{name:?} = {value:?}").unwrap();
    }
    text + setup.more
}

/// A load beside the test. Dropping it kills it.
pub struct Load {
    child: Running,
    acked: PathBuf,
}

impl Load {
    /// Ends it; its report, and the file of acknowledged ids.
    pub fn stop(self) -> (Value, PathBuf) {
        signal(self.child.id(), "INT");
        let (_, report) = result(&self.child.output(LOAD_END_MAX).expect("the load's end"));
        (report, self.acked)
    }
}
