//! SIGKILL leaves the page cache alive, so it proves nothing of a power loss. Here the order of the system calls does:
//! strace watches a node, and each answer and each commit must come after the fsync that makes it true.
use super::node::{self, start_within};
use super::roles::eventually;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A traced process is slow.
const READY_MAX: Duration = Duration::from_secs(180);
const CALLS: &str = "trace=fsync,fdatasync,sync_file_range,write,writev,sendto,sendmsg,recvfrom,read,link,linkat,rename,renameat,renameat2,openat";

/// One finished system call.
struct Call {
    name: String,
    /// Arguments and result, with the paths of descriptors (`strace -y`).
    text: String,
    /// Position of its start and of its end in the trace.
    started: usize,
    ended: usize,
}

#[allow(clippy::disallowed_methods, reason = "CI must not skip what a laptop may")]
fn strace_is_here() -> bool {
    let here = Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
    assert!(here || std::env::var("CI").is_err(), "strace is missing: scripts/setup installs it");
    here
}

/// Traces a node through three POSTs and a clean stop.
fn trace(data: &Path, file: &Path) -> Vec<Call> {
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "64", "-e", CALLS, "-o"]).arg(file);
    // If strace is killed, so is the node.
    command.args(["setpriv", "--pdeathsig", "KILL", "--", node::PLAYHEAD, "--data"]).arg(data);
    node::without_settings(&mut command);
    node::quickly(&mut command, data);
    let node = start_within(command, "127.0.0.1:0", "127.0.0.1:0", READY_MAX);
    for _ in 0..3 {
        let (status, body) = node.post("application/json", node::event(&node::id(), "s1").as_bytes());
        assert_eq!(status, 200, "{body}");
        node::pause(Duration::from_millis(700));
    }
    // The node is strace's child, and strace passes no signal on.
    let announced = std::fs::read_to_string(data.join("node.json")).unwrap();
    let pid: serde_json::Value = serde_json::from_str(&announced).unwrap();
    node::signal(u32::try_from(pid["pid"].as_u64().unwrap()).unwrap(), "TERM");
    node.wait();
    parse(&std::fs::read_to_string(file).unwrap())
}

fn parse(trace: &str) -> Vec<Call> {
    let mut begun: HashMap<String, (usize, String)> = HashMap::new();
    let mut calls = Vec::new();
    for (position, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(head) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(thread.to_owned(), (position, head.to_owned()));
            continue;
        }
        let (started, text) = match rest.strip_prefix("<... ").and_then(|tail| tail.split_once(" resumed>")) {
            Some((_, tail)) => match begun.remove(thread) {
                Some((started, head)) => (started, head + tail),
                None => continue,
            },
            None => (position, rest.to_owned()),
        };
        if let Some((name, _)) = text.split_once('(') {
            calls.push(Call { name: name.to_owned(), text: text.clone(), started, ended: position });
        }
    }
    calls
}

fn is_sync(call: &Call) -> bool {
    matches!(call.name.as_str(), "fsync" | "fdatasync") && call.text.trim_end().ends_with("= 0")
}

fn is_send(call: &Call) -> bool {
    matches!(call.name.as_str(), "sendto" | "sendmsg" | "write" | "writev")
}

fn is_publish(call: &Call) -> bool {
    matches!(call.name.as_str(), "link" | "linkat" | "rename" | "renameat" | "renameat2")
}

#[test]
fn an_answer_leaves_only_after_the_fsync_of_the_log() {
    if !strace_is_here() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("made/by/playhead");
    std::fs::create_dir(temp.path().join("made")).unwrap();
    std::fs::create_dir(data.parent().unwrap()).unwrap();
    let calls = trace(&data, &temp.path().join("trace.txt"));
    let log = data.join("log").display().to_string();
    let requests: Vec<usize> = calls
        .iter()
        .filter(|call| matches!(call.name.as_str(), "recvfrom" | "read") && call.text.contains("POST /v1/events"))
        .map(|call| call.ended)
        .collect();
    let answers: Vec<&Call> =
        calls.iter().filter(|call| is_send(call) && call.text.contains("\"HTTP/1.1 200")).collect();
    assert_eq!(requests.len(), 3, "the trace must show the requests");
    for request in requests {
        let answer = answers.iter().find(|answer| answer.started > request).expect("an answer after the request");
        let synced = calls.iter().any(|call| {
            is_sync(call) && call.text.contains(&log) && call.started > request && call.ended < answer.started
        });
        assert!(synced, "answered without an fsync of {log} between request and answer");
    }
    let first = answers.first().expect("an answer").started;
    for folder in data.ancestors().skip(1).take(3) {
        let entry = format!("<{}>", folder.display());
        let synced = calls.iter().any(|call| is_sync(call) && call.text.contains(&entry) && call.ended < first);
        assert!(synced, "the names in {} are not synced before the first answer", folder.display());
    }
}

#[test]
fn a_disk_that_hangs_is_told_by_readiness_and_does_not_hold_up_the_end() {
    if !strace_is_here() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let mut command = node::playhead(&data);
    command.env("PLAYHEAD_INGEST__APPEND_TIMEOUT_MS", "1000");
    let node = node::start(command, "127.0.0.1:0", "127.0.0.1:0");
    // From here on each fsync takes ten minutes.
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "-e", "inject=fsync,fdatasync:delay_enter=600000000", "-p"]);
    let hanging = node::spawn(strace.arg(node.pid().to_string()));
    eventually("strace is attached to every thread", || is_traced(node.pid()).then_some(()));
    let (status, words) = node.post("application/json", node::event(&node::id(), "s1").as_bytes());
    assert_eq!(status, 503, "{words}");
    assert!(words.contains("append-timeout"), "{words}");
    eventually("a node that can write nothing is not ready", || (node.admin("/readyz").0 == 503).then_some(()));
    node::signal(node.pid(), "TERM");
    // strace holds what it delays, the dead included: the node can be waited for only when strace is gone. A node that
    // still waited for its disk would go on then, and stop in order: exit code 0.
    eventually("the node ends though its disk hangs", || is_dead(node.pid()).then_some(()));
    drop(hanging);
    assert_eq!(node.end().code(), Some(2));
}

/// The kernel's word on a process: whether each thread has a tracer.
fn is_traced(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let states = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok());
    let untraced = states.filter(|state| state.lines().any(|line| line == "TracerPid:\t0"));
    untraced.count() == 0
}

/// It has ended, and nobody has waited for it yet.
fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // `PID (NAME) STATE ...`, and a name may hold anything.
    stat.rsplit(") ").next().is_some_and(|state| state.starts_with('Z'))
}

#[test]
fn a_commit_becomes_visible_only_after_its_files_and_itself_are_synced() {
    if !strace_is_here() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let calls = trace(&data, &temp.path().join("trace.txt"));
    let table = data.join("lake/events").display().to_string();
    let mut commits = 0;
    for (position, publish) in calls.iter().enumerate().filter(|(_, call)| is_publish(call)) {
        let Some((source, target)) = paths(publish) else { continue };
        if !target.starts_with(&table) || !(target.ends_with(".json") || target.ends_with(".parquet")) {
            continue;
        }
        let synced =
            calls.iter().any(|call| is_sync(call) && call.text.contains(&source) && call.ended < publish.started);
        assert!(synced, "{target} became visible before its bytes were synced");
        let folder = Path::new(&target).parent().unwrap().display().to_string();
        let after = calls[position..].iter().find(|call| is_sync(call) && call.text.contains(&format!("<{folder}>")));
        let folder_synced = after.expect("the folder is synced after the link").ended;
        if target.ends_with(".json") && target.contains("_delta_log/") {
            commits += 1;
            // Every data file that was published before this commit is durable by name, too, before it.
            let late = calls
                .iter()
                .filter(|call| is_publish(call) && call.ended < publish.started)
                .filter_map(paths)
                .any(|(_, file)| {
                    let folder = Path::new(&file).parent().unwrap().display().to_string();
                    file.ends_with(".parquet")
                        && !calls.iter().any(|call| {
                            is_sync(call) && call.text.contains(&format!("<{folder}>")) && call.ended < publish.started
                        })
                });
            assert!(!late, "{target} was committed before the folder of its data files was synced");
        }
        assert!(folder_synced > publish.ended);
    }
    assert!(commits >= 2, "the trace must show the table's making and a flush, it shows {commits} commits");
}

/// Both paths of a link or rename.
fn paths(call: &Call) -> Option<(String, String)> {
    let mut quoted = call.text.split('"').skip(1).step_by(2);
    Some((quoted.next()?.to_owned(), quoted.next()?.to_owned()))
}
