//! Commands as people and scripts use them: output, exit codes, words.
use super::node::{self, Node, playhead, result};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_demo_is_exact() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("demo");
    let output = node::output(playhead(&data).args(["demo", "--json", "--seconds", "5", "--viewers", "300"]));
    let (code, report) = result(&output);
    assert_eq!((code, &report["exact"], &report["missing"]), (0, &true.into(), &0.into()), "{report}");
    assert_eq!(report["duplicates_in_lake"], 0);
    assert!(report["in_lake"].as_u64().unwrap() > 300, "{report}");
    assert_eq!(report["in_lake"], report["acknowledged_ids"]);
    let again = node::output(playhead(&data).args(["demo", "--seconds", "1"]));
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("not empty"), "{}", text(&again.stderr));
}

#[test]
fn one_event_posted_is_seen_by_tail_status_and_audit_while_the_node_runs() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let node = Node::new(&data);
    let id = node::id();
    let (status, body) = node.post("application/json", node::event(&id, "s1").as_bytes());
    assert_eq!(status, 200, "{body}");
    let receipt: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&receipt["accepted"], &receipt["ack"]), (&1.into(), &"disk".into()));

    let tail = node::output(playhead(&data).args(["tail", "--from-start", "-n", "1"]));
    let line: serde_json::Value = serde_json::from_str(text(&tail.stdout).trim()).unwrap();
    assert_eq!((&line["event_id"], &line["custom"]["note"]), (&id.clone().into(), &"custom".into()), "{line}");

    let (code, report) = node::audit(&data, None);
    assert_eq!((code, &report["rows"]), (0, &1.into()), "{report}");
    let (_, status) = result(&node::output(playhead(&data).args(["status", "--json"])));
    assert_eq!((&status["running"], &status["events"]["rows"]), (&true.into(), &1.into()), "{status}");
    assert_eq!(node.admin("/healthz").0, 200);
    assert_eq!(node.admin("/readyz").0, 200);
    let (_, metrics) = node.admin("/metrics");
    assert!(metrics.contains("playhead_ingest_events_total"), "{metrics}");
    assert!(metrics.contains("playhead_sink_rows_total"), "{metrics}");
    assert!(metrics.contains("\nplayhead_ready{role=\"sink\"} 1\n"), "{metrics}");
    assert!(metrics.contains("\nplayhead_ingest_refused_total{reason=\"log-full\"} 0\n"), "{metrics}");
    assert!(metrics.contains("\nplayhead_sink_dedup_windows_cut_total 0\n"), "{metrics}");
    let process = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
    };
    assert!(process("process_resident_memory_bytes") > 1e6);
    assert!((1.0..process("process_max_fds")).contains(&process("process_open_fds")));
    assert!(process("process_cpu_seconds_total") >= 0.0);
    node.stop();
    let (_, status) = result(&node::output(playhead(&data).args(["status", "--json"])));
    assert_eq!(status["running"], false);
}

#[test]
fn a_second_node_on_the_same_directory_is_refused_in_words() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let node = Node::new(&data);
    let second = node::output(playhead(&data).args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]));
    assert_eq!(second.status.code(), Some(2));
    let words = text(&second.stderr);
    assert!(words.contains("in use by another process") && words.contains(&node.pid().to_string()), "{words}");
}

#[test]
fn an_address_that_is_taken_is_named_with_its_option() {
    let temp = tempfile::tempdir().unwrap();
    let node = Node::new(&temp.path().join("data"));
    let other = temp.path().join("other");
    let second = node::output(playhead(&other).args(["up", "--listen", &node.listen, "--admin", "127.0.0.1:0"]));
    assert_eq!(second.status.code(), Some(2));
    assert!(text(&second.stderr).contains("--listen"), "{}", text(&second.stderr));
}

#[test]
fn listening_to_the_world_by_option_is_refused_as_by_file() {
    let temp = tempfile::tempdir().unwrap();
    let output = node::output(playhead(&temp.path().join("data")).args(["up", "--listen", "0.0.0.0:0"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("ingest.allow_anonymous"), "{}", text(&output.stderr));
}

#[test]
fn commands_say_what_is_wrong_with_a_directory_that_is_not_there() {
    let temp = tempfile::tempdir().unwrap();
    for command in ["audit", "tail", "status"] {
        let output = node::output(playhead(&temp.path().join("nothing")).arg(command));
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(text(&output.stderr).contains("no data directory yet"), "{}", text(&output.stderr));
    }
}

#[test]
fn the_configuration_is_checked_and_shown() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("playhead.toml");
    let run = |arguments: &[&str]| node::output(node::program().current_dir(temp.path()).args(arguments));
    assert_eq!(run(&["config", "check"]).status.code(), Some(0));
    std::fs::write(&file, "[sink]\nflush_rowz = 5\n").unwrap();
    let wrong = run(&["config", "check"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(run(&["status"]).status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("did you mean `flush_rows`"), "{}", text(&wrong.stderr));
    std::fs::write(&file, "[sink]\nflush_rows = 5\n").unwrap();
    let shown = run(&["config", "show"]);
    assert!(text(&shown.stdout).contains("flush_rows = 5"), "{}", text(&shown.stdout));
    let absent = run(&["--config", "elsewhere.toml", "config", "check"]);
    assert_eq!(absent.status.code(), Some(1));
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = node::output(node::program().args(["completions", shell]).current_dir("/"));
        let script = text(&output.stdout);
        for command in ["up", "ingest", "sink", "load", "demo", "audit", "tail", "status", "config"] {
            assert!(script.contains(command), "{shell} lacks {command}");
        }
    }
}

/// docs/decisions/0010-jemalloc.md: how the allocator is set is built in.
#[test]
fn memory_that_was_freed_goes_back_to_the_system_after_a_second() {
    let mut command = node::program();
    let output = node::output(command.arg("--version").env("_RJEM_MALLOC_CONF", "stats_print:true"));
    let told = text(&output.stderr);
    for setting in ["opt.background_thread: true", "opt.dirty_decay_ms: 1000", "opt.muzzy_decay_ms: 0"] {
        assert!(told.contains(&format!("{setting} ")), "no {setting} in:\n{told}");
    }
}

#[test]
fn rollups_are_checked_and_explained() {
    let temp = tempfile::tempdir().unwrap();
    let own = |name: &str, measure: &str| {
        format!("[[rollup]]\nname = \"{name}\"\nwindow = \"5m\"\nsql = \"select {measure} as n from events\"\n")
    };
    let both = own("plays", "count(distinct session_id)") + &own("startup", "avg(startup_ms)");
    std::fs::write(temp.path().join("playhead.toml"), both).unwrap();
    let run = |arguments: &[&str]| node::output(node::program().arg("rollup").args(arguments).current_dir(temp.path()));
    let checked = run(&["check", "--json"]);
    let (code, report) = result(&checked);
    assert_eq!((code, &report["ok"]), (1, &false.into()), "{report}");
    let of = |name: &str| report["rollups"].as_array().unwrap().iter().find(|of| of["name"] == name).unwrap().clone();
    assert_eq!((&of("audience")["ok"], &of("audience")["days"]["ok"]), (&true.into(), &true.into()), "{report}");
    assert_eq!((&of("startup")["ok"], &of("startup")["days"]["ok"]), (&true.into(), &false.into()), "{report}");
    assert!(of("startup")["days"]["instead"].as_str().unwrap().contains("divide when you read"), "{report}");
    let words = text(&run(&["check"]).stdout);
    assert!(words.contains("startup: right, without days: column n can't be merged"), "{words}");
    assert!(of("plays")["instead"].as_str().unwrap().contains("approx_distinct"), "{report}");
    let explained = run(&["explain", "audience"]);
    assert_eq!(explained.status.code(), Some(0));
    let checked = node::output(node::program().args(["config", "check"]).current_dir(temp.path()));
    assert_eq!(checked.status.code(), Some(1), "the configuration's check finds it too");
    let words = text(&explained.stdout);
    assert!(words.contains("windows of 1m") && words.contains("approx_distinct(events.session_id)"), "{words}");
    let unknown = run(&["explain", "audiences"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown.stderr).contains("audience, quality, errors, ads, plays, startup"),
        "{}",
        text(&unknown.stderr)
    );
    let refused = node::output(
        node::program().args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).current_dir(temp.path()),
    );
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("rollup plays"), "{}", text(&refused.stderr));
}
