//! `playhead ingest`, `sink` and `audit` over TLS and SASL, each as a user of its own who has the rights that
//! `docs/kafka.md` lists, and no more.
use super::node::{self, result};
use super::process::Process;
use super::roles::{SESSIONS, SOON, eventually, post};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use testbed::kafka::secured::{Secured, password};
use testbed::scratch;

/// Who is who, how it comes in, and whether its password is in the file or in the environment.
const WHO: [(&str, &str, bool); 3] =
    [("ingest", "SCRAM-SHA-512", true), ("sink", "PLAIN", false), ("audit", "PLAIN", true)];

/// A topic of the secured broker, a lake, and a `ROLE.toml` for each role.
struct Place {
    dir: TempDir,
    topic: String,
}

impl Place {
    fn new(secured: &Secured) -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap(), topic: format!("secured-{}", node::id()) };
        for (role, mechanism, in_file) in WHO {
            let mut properties = secured.properties(mechanism, &format!("playhead-{role}"));
            if !in_file {
                properties.remove("sasl.password");
            }
            let lines: Vec<String> = properties.iter().map(|(name, value)| format!("{name:?} = {value:?}")).collect();
            let text = format!(
                "[sink]\nflush_age_ms = 300\n[lake]\nurl = \"file://{}/lake\"\n[kafka]\nbrokers = [{:?}]\ntopic = {:?}\n\
                 [kafka.properties]\n{}\n",
                place.dir.path().display(),
                secured.bootstrap(),
                place.topic,
                lines.join("\n"),
            );
            std::fs::write(place.file(&format!("{role}.toml")), text).unwrap();
        }
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `playhead` as `role`.
    fn command(&self, role: &str, arguments: &[&str]) -> Command {
        let mut command = node::program();
        command.arg("--config").arg(self.file(&format!("{role}.toml"))).args(arguments).current_dir(self.dir.path());
        command.arg("--data").arg(self.file("data"));
        if WHO.iter().any(|(who, _, in_file)| *who == role && !in_file) {
            let properties = format!("{{\"sasl.password\"={:?}}}", password(&format!("playhead-{role}")));
            command.env("PLAYHEAD_KAFKA__PROPERTIES", properties);
        }
        command
    }

    fn run(&self, role: &str, arguments: &[&str]) -> Output {
        node::output(&self.command(role, arguments))
    }

    fn start(&self, role: &str) -> Process {
        let listen = (role == "ingest").then(scratch::port);
        let log = self.file(&format!("{role}.log"));
        Process::start(role, self.command(role, &[role]), listen, scratch::port(), log)
    }

    /// `ingest` must end by itself, with these words.
    fn assert_refused(&self, wanted: &[&str]) {
        let output = self.run("ingest", &["ingest", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words}");
        wanted.iter().for_each(|wanted| assert!(words.contains(wanted), "{wanted}: {words}"));
    }
}

/// The arguments of each `acl` of the section *ACLs*.
fn documented_acls() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/kafka.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split("\n## ACLs\n").nth(1).unwrap().split("\n## ").next().unwrap();
    section.lines().filter_map(|line| line.strip_prefix("acl ")).map(str::to_owned).collect()
}

#[test]
fn each_role_does_its_work_with_the_rights_that_are_documented_and_says_which_one_it_lacks() {
    let secured = Secured::shared();
    let place = Place::new(secured);
    place.assert_refused(&["Describe", &place.topic, "User:playhead-ingest"]);
    let acls = documented_acls();
    assert!(acls.len() >= 5, "{acls:?}");
    let (create, others): (Vec<_>, Vec<_>) = acls.iter().partition(|acl| acl.contains("--operation Create"));
    let (group, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|acl| acl.contains("--group"));
    let grant = |acl: &String| {
        assert!(acl.contains("--topic events") || acl.contains("--group playhead-"), "{acl}");
        secured.grant(&acl.replace("--topic events", &format!("--topic {}", place.topic)));
    };
    others.into_iter().for_each(grant);
    place.assert_refused(&["Create", &place.topic, "User:playhead-ingest"]);
    create.into_iter().for_each(grant);

    let mut ingest = place.start("ingest");
    ingest.wait_ready(SOON);
    let mut sink = place.start("sink");
    sink.wait_unready(SOON, |reason| reason.contains("the right Read on group playhead-secured-"));
    group.into_iter().for_each(grant);
    sink.wait_ready(SOON);
    let ids = post(&ingest);
    std::fs::write(place.file("acked.txt"), ids.join("\n") + "\n").unwrap();
    let (code, report) = result(&place.run("audit", &["audit", "--json", "--acked", "acked.txt"]));
    assert_eq!((code, &report["ok"]), (0, &true.into()), "{report}");
    assert_eq!((&report["rows"], &report["acked"]), (&SESSIONS.into(), &SESSIONS.into()), "{report}");
    let (code, status) = result(&place.run("audit", &["status", "--json"]));
    assert_eq!((code, &status["events"]["rows"]), (0, &SESSIONS.into()), "{status}");
    let tail = place.run("audit", &["tail", "--no-follow"]);
    assert_eq!(tail.stdout.iter().filter(|byte| **byte == b'\n').count(), SESSIONS, "{tail:?}");

    // Kafka's own tools see how far the lake is: the group's commits were allowed.
    let group = status["log"]["group"].as_str().unwrap();
    eventually("the group is told how far the lake is", || {
        let tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
        let printed = secured.broker.expect_tool(tool, &["--describe", "--group", group], "");
        printed.contains(&place.topic).then_some(())
    });
    assert!(ingest.end().success() && sink.end().success());
    for log in ["ingest.log", "sink.log"] {
        let text = std::fs::read_to_string(place.file(log)).unwrap();
        assert!(!text.is_empty() && !text.contains(&password("")), "{text}");
    }
}

#[test]
fn no_password_is_shown() {
    let secured = Secured::shared();
    let place = Place::new(secured);
    for (role, _, _) in WHO {
        for arguments in [&["config", "show"][..], &["config", "show", "--json"], &["config", "check"]] {
            let output = place.run(role, arguments);
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.success() && !text.contains(&password("")), "{text}");
            if arguments[1] == "show" {
                assert!(text.contains("***") && text.contains(&format!("playhead-{role}")), "{text}");
            }
        }
    }
}

#[test]
fn a_wrong_password_ends_a_role_in_words() {
    let place = Place::new(Secured::shared());
    let mut command = place.command("sink", &["sink", "--admin", "127.0.0.1:0"]);
    let output = node::output(command.env("PLAYHEAD_KAFKA__PROPERTIES", r#"{"sasl.password"="not-this-one"}"#));
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("credentials") && words.contains("sasl.*") && !words.contains("not-this-one"), "{words}");
}
