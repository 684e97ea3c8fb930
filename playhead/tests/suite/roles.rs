//! `playhead ingest` and `playhead sink` over a real broker: what each does, what it says, and how it ends. Settings come
//! from the environment alone, as in a container. (Faults are in the `faults_*` suites, other clients in `interop`.)
use super::node::{self, pause, result};
use super::process::Process;
use serde_json::Value;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testbed::kafka::Broker;
use testbed::object_store::Store;
use testbed::process::{Running, bound_copy};
use testbed::scratch;

/// Whatever is waited for happens within this.
pub const SOON: Duration = Duration::from_secs(60);
/// Sessions of a post: so many that each of four partitions gets some.
pub const SESSIONS: usize = 64;

/// A topic and a lake of a test, and the variables that say so.
pub struct Place {
    dir: TempDir,
    pub topic: String,
    variables: Vec<(String, String)>,
}

impl Place {
    /// A fresh topic of the shared broker, and a lake in the data directory.
    pub fn new() -> Place {
        Place::at(&Broker::shared().bootstrap())
    }

    fn at(brokers: &str) -> Place {
        let topic = format!("roles-{}", node::id());
        let mut place = Place { dir: tempfile::tempdir().unwrap(), topic: topic.clone(), variables: Vec::new() };
        place.set("PLAYHEAD_KAFKA__BROKERS", brokers);
        place.set("PLAYHEAD_KAFKA__TOPIC", &topic);
        place.set("PLAYHEAD_SINK__FLUSH_AGE_MS", "300");
        place
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = node::program();
        command.args(arguments).arg("--data").arg(self.data()).current_dir(self.dir.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        node::output(&self.command(arguments))
    }

    fn start(&self, role: &str, name: &str) -> Process {
        let listen = (role != "sink").then(scratch::port);
        let log = self.dir.path().join(format!("{name}.log"));
        Process::start(name, self.command(&[role]), listen, scratch::port(), log)
    }

    /// A role that is ready.
    pub fn ready(&self, role: &str) -> Process {
        let mut process = self.start(role, role);
        process.wait_ready(SOON);
        process
    }

    pub fn status(&self) -> Value {
        result(&self.run(&["status", "--json"])).1
    }

    /// What the audit, which waits for the lake, says of these ids; it must be exact.
    pub fn assert_exact(&self, ids: &[String]) -> Value {
        let acked = self.dir.path().join("acked.txt");
        std::fs::write(&acked, ids.join("\n") + "\n").unwrap();
        let (code, report) = result(&self.run(&["audit", "--json", "--acked", acked.to_str().unwrap()]));
        assert_eq!((code, &report["ok"]), (0, &true.into()), "{report}");
        assert_eq!(report["acked"], ids.len(), "{report}");
        report
    }
}

/// Posts an event of each of many sessions; their ids.
pub fn post(ingest: &Process) -> Vec<String> {
    let ids: Vec<String> = (0..SESSIONS).map(|_| node::id()).collect();
    let events: Vec<String> = ids.iter().map(|id| node::event(id, id)).collect();
    let (status, body) = ingest.post(&events).expect("an answer");
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&answer["accepted"], &answer["ack"]), (&SESSIONS.into(), &"kafka".into()), "{answer}");
    ids
}

/// Waits until `wanted` gives something.
pub fn eventually<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(since.elapsed() < SOON, "not within {SOON:?}: {what}");
        pause(Duration::from_millis(200));
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_an_edge_takes_a_sink_brings_to_the_lake_and_everyone_can_look() {
    let place = Place::new();
    let (mut ingest, mut sink) = (place.ready("ingest"), place.ready("sink"));
    let ids = post(&ingest);
    let report = place.assert_exact(&ids);
    assert_eq!((&report["rows"], &report["pending"]), (&SESSIONS.into(), &0.into()), "{report}");
    // A sink appends nothing: it makes no producer, which would want a right to write.
    let producers = [&ingest, &sink].map(|node| node.metric("playhead_kafka_producers_total"));
    assert_eq!(producers, [1.0, 0.0]);

    let status = place.status();
    assert_eq!((&status["running"], &status["ready"]), (&Value::Null, &Value::Null), "{status}");
    assert_eq!((&status["log"]["topic"], &status["events"]["rows"]), (&place.topic.clone().into(), &SESSIONS.into()));
    let group = status["log"]["group"].as_str().unwrap();
    assert!(group.starts_with(&format!("playhead-{}-", place.topic)) && group.ends_with("-sink"), "{status}");
    let cluster = Broker::shared().cluster_id();
    assert_eq!(status["log"]["cluster"], cluster, "{status}");
    let text = String::from_utf8(place.run(&["status"]).stdout).unwrap();
    assert!(text.contains(group) && text.contains(&place.topic), "{text}");

    // Every event once, and then it ends.
    let all = String::from_utf8(place.run(&["tail", "--no-follow"]).stdout).unwrap();
    let mut seen: Vec<String> = all
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event_id"].as_str().unwrap().to_owned())
        .collect();
    let mut expected = ids.clone();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);

    // The node that owns a log announces itself; these own none, and share the directory.
    assert!(!place.data().join("node.json").exists());
    let (mut further, mut both) = (ids, post(&ingest));
    further.append(&mut both);
    ingest.stop();
    sink.stop();
    place.assert_exact(&further);
}

#[test]
fn tail_follows_a_topic_that_nobody_owns() {
    let place = Place::new();
    let ingest = place.ready("ingest");
    let mut command = bound_copy(&place.command(&["tail", "-n", "1"]));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tail = Running::start(command);
    // It begins at the end as of its start, which nobody can see from here: so posts go on until it is done.
    let mut ids = Vec::new();
    eventually("tail prints an event and ends", || {
        ids.extend(post(&ingest));
        tail.try_wait().unwrap()
    });
    let output = tail.output(SOON).expect("it has ended");
    let line: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)));
    assert!(ids.contains(&line["event_id"].as_str().unwrap().to_owned()), "{line}");
}

#[test]
fn up_with_brokers_runs_both_roles_over_kafka() {
    let place = Place::new();
    let mut up = place.ready("up");
    let ids = post(&up);
    place.assert_exact(&ids);
    up.stop();
    place.assert_exact(&ids);
    assert!(!place.data().join("log").exists(), "no embedded log beside Kafka");
}

#[test]
fn one_role_without_brokers_is_refused_in_words() {
    let mut place = Place::at("");
    place.set("PLAYHEAD_LAKE__URL", "");
    for role in ["ingest", "sink"] {
        let output = place.run(&[role]);
        assert_eq!(output.status.code(), Some(2));
        let words = words(&output);
        assert!(words.contains("kafka.brokers is empty") && words.contains("playhead up"), "{words}");
    }
    assert!(!place.data().exists(), "nothing is made by a role that can't run");
}

#[test]
fn a_topic_with_another_number_of_partitions_is_refused_in_words() {
    let mut place = Place::new();
    Broker::shared().create_topic(&place.topic, 2, &["message.timestamp.type=LogAppendTime"]);
    for arguments in [&["ingest", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"][..], &["status"], &["audit"]] {
        place.set("PLAYHEAD_LAKE__URL", &format!("file://{}/lake", place.dir.path().display()));
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(words(&output).contains("partitions"), "{}", words(&output));
    }
}

#[test]
fn a_topic_that_is_not_there_is_not_made_by_looking() {
    let mut place = Place::new();
    place.set("PLAYHEAD_LAKE__URL", &format!("file://{}/lake", place.dir.path().display()));
    for _ in 0..2 {
        let output = place.run(&["status"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(words(&output).contains(&place.topic), "{}", words(&output));
    }
}

#[test]
fn settings_that_can_not_work_are_found_without_asking_a_broker() {
    let mut place = Place::at("127.0.0.1:9");
    place.set("PLAYHEAD_KAFKA__PROPERTIES", r#"{"sasl.pasword"="x"}"#);
    let check = place.run(&["config", "check"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(words(&check).contains("sasl.pasword"), "{}", words(&check));
    let ingest = place.run(&["ingest"]);
    assert_eq!(ingest.status.code(), Some(2));
    assert!(words(&ingest).contains("sasl.pasword"), "{}", words(&ingest));
    place.set("PLAYHEAD_KAFKA__PROPERTIES", r#"{"acks"="1"}"#);
    let check = place.run(&["config", "check"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(words(&check).contains("acks"), "{}", words(&check));
}

#[test]
fn an_edge_that_starts_before_its_broker_says_so_and_becomes_ready() {
    let mut broker = Broker::start();
    broker.kill();
    let place = Place::at(&broker.bootstrap());
    let mut ingest = place.start("ingest", "ingest");
    ingest.wait_unready(SOON, |reason| reason.contains("\"ingest\"") && reason.contains("Kafka does not answer"));
    assert!(TcpStream::connect(&ingest.listen).is_err(), "events are listened for only when they can be taken");
    // Who gives up waiting is let go, and what waits ends no worse.
    let mut given_up = place.start("sink", "given-up");
    given_up.wait_unready(SOON, |reason| reason.contains("Kafka does not answer"));
    given_up.stop();
    broker.restart();
    ingest.wait_ready(SOON);
    let ids = post(&ingest);
    let mut sink = place.ready("sink");
    place.assert_exact(&ids);
    ingest.stop();
    sink.stop();
}

#[test]
fn a_port_that_is_taken_is_told_before_the_broker_is_asked() {
    let place = Place::at("127.0.0.1:9");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = place.run(&["ingest", "--listen", &address, "--admin", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output).contains("--listen"), "{}", words(&output));
}

#[test]
fn the_first_line_of_json_says_where_a_role_is() {
    let place = Place::new();
    for (role, listens) in [("ingest", true), ("sink", false)] {
        let mut command = place.command(&[role, "--json", "--admin", "127.0.0.1:0"]);
        if listens {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = node::spawn(&command);
        let line = node::first_line(&mut child, SOON);
        assert!(line["admin"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
        assert_eq!(line["listening"].is_string(), listens, "{line}");
        node::signal(child.id(), "TERM");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn sinks_of_one_lake_share_the_partitions_and_go_on_alone() {
    let place = Place::new();
    let ingest = place.ready("ingest");
    // One data directory, made by whoever comes first.
    let (mut one, mut other) = (place.start("sink", "one"), place.start("sink", "other"));
    one.wait_ready(SOON);
    other.wait_ready(SOON);
    let mut ids = Vec::new();
    eventually("both sinks write rows", || {
        ids.extend(post(&ingest));
        let rows = |sink: &Process| sink.metric("playhead_sink_rows_total");
        (rows(&one) > 0.0 && rows(&other) > 0.0).then_some(())
    });
    place.assert_exact(&ids);
    one.stop();
    ids.extend(post(&ingest));
    place.assert_exact(&ids);
    other.stop();
}

#[test]
fn a_lake_on_an_object_store_needs_no_data_directory() {
    let store = Store::shared();
    let mut place = Place::new();
    let url = format!("s3://{}/{}", store.bucket(), place.topic);
    place.set("PLAYHEAD_LAKE__URL", &url);
    for (name, value) in store.options_at(&store.endpoint()) {
        // What looks like no text must be quoted.
        place.set(&format!("PLAYHEAD_LAKE__OPTIONS__{}", name.to_uppercase()), &format!("{value:?}"));
    }
    let (mut ingest, mut sink) = (place.ready("ingest"), place.ready("sink"));
    let ids = post(&ingest);
    place.assert_exact(&ids);
    ingest.stop();
    sink.stop();
    let report = place.assert_exact(&ids);
    assert_eq!((&report["rows"], &report["files_wrong"]), (&SESSIONS.into(), &0.into()), "{report}");
    let text = String::from_utf8(place.run(&["status"]).stdout).unwrap();
    assert!(text.contains(&url), "{text}");
    let shown = String::from_utf8(place.run(&["config", "show"]).stdout).unwrap();
    let secret = &store.options_at(&store.endpoint())["aws_secret_access_key"];
    assert!(shown.contains(&url) && !shown.contains(secret.as_str()), "{shown}");
    assert!(!place.data().exists());
}
