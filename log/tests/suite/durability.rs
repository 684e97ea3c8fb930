//! An acknowledgement comes after the fsync that came after the write: seen from outside, by the system calls of a
//! process that appends. The same process is killed, and gets disks that fail.
use crate::harness::{HandClock, record, soon, text};
use log::{AppendError, Log, Next, embedded};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const DIR: &str = "PLAYHEAD_LOG_TEST_DIR";
const TASKS: &str = "PLAYHEAD_LOG_TEST_TASKS";
const RECORDS: &str = "PLAYHEAD_LOG_TEST_RECORDS";
const PARTITIONS: u32 = 2;

pub fn options(dir: &Path) -> embedded::Options {
    embedded::Options {
        dir: dir.to_owned(),
        topic: "events".into(),
        partitions: PARTITIONS,
        disk_bytes_max: 1 << 30,
        retention_ms: 1_000,
        readers: Vec::new(),
    }
}

async fn open(dir: &Path) -> Arc<dyn Log> {
    embedded::open(options(dir), Arc::new(HandClock::default())).await.unwrap()
}

/// Ends with the mark, so that whoever wrote the mark wrote the rest before.
fn marked(mark: &str, n: usize) -> String {
    let filler = [10, 9_000, 30_000][n % 3];
    format!("{}{mark};", ".".repeat(filler))
}

fn setting(name: &str) -> Option<usize> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

/// The process that the tests of this file watch: appends, and says what it knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is started by the other tests"]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (tasks, records) = (setting(TASKS).unwrap(), setting(RECORDS).unwrap());
    println!("begins on a line of its own");
    let log = open(Path::new(&dir)).await;
    let mut reader = log.reader(None).await.unwrap();
    assert!(matches!(reader.next().await, Ok(Next::Assigned(_))));
    for partition in 0..PARTITIONS {
        let end = reader.bounds(partition).await.unwrap().end;
        reader.seek(partition, end).await.unwrap();
    }
    let (acknowledged, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen_by_reader = seen.clone();
    let reading = tokio::spawn(async move {
        while let Ok(next) = reader.next().await {
            if let Next::Record(entry) = next {
                println!("saw {}", text(&entry).trim_start_matches('.'));
                seen_by_reader.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let appending = (0..tasks).map(|task| {
        let (writer, acknowledged) = (log.writer(), acknowledged.clone());
        tokio::spawn(async move {
            for n in 0..records {
                let mark = format!("mark-{}-{task}-{n}", std::process::id());
                match writer.append((task as u32) % PARTITIONS, record(marked(&mark, n))).await {
                    Ok(_) => {
                        println!("ack {mark};");
                        acknowledged.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(AppendError::Stopped(reason)) => println!("stopped {mark}; {reason}"),
                    Err(other) => println!("failed {mark}; {other}"),
                }
            }
        })
    });
    for task in appending.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    while seen.load(Ordering::SeqCst) < acknowledged.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    println!("closed {:?}", log.close().await.is_ok());
    reading.await.unwrap();
}

/// Starts [`child`], under `wrapper` if there is one.
pub fn start(wrapper: &[&str], dir: &Path, tasks: usize, records: usize) -> Child {
    let mut words: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
    words.push(std::env::current_exe().unwrap().display().to_string());
    words.extend(["durability::child", "--exact", "--ignored", "--nocapture"].map(str::to_owned));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdout(Stdio::piped());
    command.env(DIR, dir).env(TASKS, tasks.to_string()).env(RECORDS, records.to_string());
    command.spawn().unwrap()
}

/// What a child said, until it ended.
pub fn lines(child: Child) -> Vec<String> {
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The marks of the lines that begin with `verb`.
pub fn said<'a>(lines: &'a [String], verb: &str) -> Vec<&'a str> {
    lines.iter().filter_map(|line| line.strip_prefix(verb)?.trim_start().split(';').next()).collect()
}

/// Without strace the order can't be seen: an error where `CI` is set to anything, else a skipped test that says so.
pub fn has_strace() -> bool {
    let there = Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success());
    assert!(
        there || std::env::var_os("CI").is_none(),
        "strace is missing or may not trace: the order of fsync and acknowledgement was not tested"
    );
    if !there {
        eprintln!("skipped: strace is missing or may not trace");
    }
    there
}

/// A system call as strace wrote it, with the lines on which it began and ended.
#[derive(Debug)]
pub struct Call {
    pub name: String,
    pub text: String,
    pub began: usize,
    pub ended: usize,
}

/// Lines are `PID name(arguments) = result`; a call that others interrupt has two of them.
pub fn calls(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((pid, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if text.starts_with("<... ") {
            let index = unfinished.remove(pid).expect("a call that goes on has begun");
            calls[index].ended = number;
        } else if let Some((name, _)) = text.split_once('(') {
            if text.ends_with("<unfinished ...>") {
                unfinished.insert(pid, calls.len());
            }
            calls.push(Call { name: name.to_owned(), text: text.to_owned(), began: number, ended: number });
        }
    }
    unfinished.values().for_each(|index| calls[*index].ended = usize::MAX);
    calls
}

#[test]
fn each_acknowledgement_and_each_read_come_after_the_fsync_that_came_after_the_write() {
    if !has_strace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let wrapper = ["strace", "-f", "-y", "-s", "40000", "-o", trace.to_str().unwrap()];
    let wrapper = [&wrapper[..], &["-e", "trace=write,pwrite64,writev,fsync,fdatasync"]].concat();
    let lines = lines(start(&wrapper, &dir.path().join("log"), 4, 30));
    assert_eq!(said(&lines, "ack").len(), 120, "{lines:?}");
    assert_eq!(said(&lines, "saw").len(), 120);

    let trace = std::fs::read_to_string(trace).unwrap();
    let calls = calls(&trace);
    let syncs: Vec<_> =
        calls.iter().filter(|call| call.name.ends_with("sync") && call.text.contains(".jnl>")).collect();
    let mut checked = 0;
    for spoken in calls.iter().filter(|call| call.name == "write" && call.text.starts_with("write(1<")) {
        let Some(mark) = ["\"ack ", "\"saw "].iter().find_map(|verb| spoken.text.split_once(verb)) else { continue };
        let mark = &mark.1[..mark.1.find(';').unwrap() + 1];
        let written = calls.iter().find(|call| call.text.contains(".jnl>") && call.text.contains(mark));
        let written = written.unwrap_or_else(|| panic!("{mark} was never written to a journal"));
        let synced = syncs.iter().any(|sync| sync.began > written.ended && sync.ended < spoken.began);
        assert!(synced, "{mark}: no fsync between the write and {}", spoken.text);
        checked += 1;
    }
    assert_eq!(checked, 240);
    assert!(syncs.len() < 120, "{} fsyncs for 120 appends: they share no fsync", syncs.len());
}

async fn read_all(dir: &Path) -> Vec<String> {
    let log = open(dir).await;
    let mut marks = Vec::new();
    for partition in 0..PARTITIONS {
        for entry in crate::harness::read_from(&log, partition, 0).await {
            let text = text(&entry);
            let mark = text.trim_start_matches('.').trim_end_matches(';').to_owned();
            let n: usize = mark.rsplit('-').next().unwrap().parse().unwrap();
            assert_eq!(text, marked(&mark, n), "a record is whole");
            marks.push(mark);
        }
    }
    soon(log.close()).await.unwrap();
    marks
}

/// After a failed fsync the kernel may hold pages that the disk does not have, and call them clean: syncing them again
/// does nothing. So what an opening reads it has written anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_opening_writes_the_journal_anew_before_it_reads_it() {
    if !has_strace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let first = open(&log).await;
    first.writer().append(0, record("mark-before-the-restart")).await.unwrap();
    first.close().await.unwrap();
    let trace = dir.path().join("trace");
    let wrapper = ["strace", "-f", "-y", "-s", "40000", "-o", trace.to_str().unwrap()];
    let wrapper = [&wrapper[..], &["-e", "trace=write,fsync,rename,renameat,renameat2"]].concat();
    lines(start(&wrapper, &log, 1, 1));
    let calls = calls(&std::fs::read_to_string(&trace).unwrap());
    let mut after = 0;
    for (name, part) in
        [("write", "mark-before-the-restart"), ("fsync", "fjall/"), ("rename", "0.jnl"), ("fsync", "fjall>")]
    {
        let call =
            calls.iter().find(|call| call.began >= after && call.name.starts_with(name) && call.text.contains(part));
        after = call.unwrap_or_else(|| panic!("no {name} of {part} from line {after} on")).ended + 1;
    }
    let appended = calls.iter().find(|call| call.name == "write" && call.text.contains("\"ack ")).unwrap();
    assert!(after <= appended.began, "the journal was written anew after an acknowledgement");
    let log = open(&log).await;
    assert_eq!(crate::harness::texts_from(&log, 0, 0).await[0], "mark-before-the-restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 1..=6 {
        let mut child = start(&[], dir.path(), 4, 10_000);
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut lines: Vec<String> = Vec::new();
        while lines.iter().filter(|line| line.starts_with("ack")).count() < round * 60 {
            lines.push(output.next().expect("the child appends"));
        }
        child.kill().unwrap();
        lines.extend(output);
        child.wait().unwrap();
        acknowledged.extend(said(&lines, "ack").iter().map(|mark| (*mark).to_owned()));
        let read = read_all(dir.path()).await;
        let missing: Vec<_> = acknowledged.iter().filter(|mark| !read.contains(mark)).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?} of {} are missing", acknowledged.len());
    }
}

/// A disk that fails from some call on: nothing is acknowledged after that, and nothing that was is lost.
async fn a_failing_disk_stops_the_log(fault: &str, word: &str) {
    if !has_strace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    open(&log).await.close().await.unwrap();
    let journal = log.join("fjall/0.jnl");
    let inject = format!("inject={fault}");
    let wrapper = ["strace", "-f", "-o", "/dev/null", "-P", journal.to_str().unwrap(), "-e", &inject];
    let lines = lines(start(&wrapper, &log, 1, 60));
    let (acknowledged, stopped) = (said(&lines, "ack"), said(&lines, "stopped"));
    assert!(!acknowledged.is_empty() && !stopped.is_empty(), "{lines:?}");
    assert_eq!(acknowledged.len() + stopped.len(), 60, "{lines:?}");
    let first_stopped = lines.iter().position(|line| line.starts_with("stopped")).unwrap();
    assert!(lines[first_stopped].contains(word), "{}", lines[first_stopped]);
    assert!(said(&lines[first_stopped..], "ack").is_empty(), "an acknowledgement after the log stopped: {lines:?}");
    assert!(lines.contains(&"closed false".to_owned()), "closing a stopped log says so: {lines:?}");
    let seen = said(&lines, "saw");
    assert!(seen.iter().all(|mark| acknowledged.contains(mark)), "a reader saw what was not durable");
    let read = read_all(&log).await;
    assert!(acknowledged.iter().all(|mark| read.iter().any(|read| read == mark)), "{acknowledged:?} against {read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_fsync_that_fails_stops_the_log() {
    a_failing_disk_stops_the_log("fsync:error=EIO:when=12+", "Input/output error").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failed_fsync_is_enough() {
    a_failing_disk_stops_the_log("fsync:error=EIO:when=12", "Input/output error").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_log() {
    a_failing_disk_stops_the_log("write:error=ENOSPC:when=15+", "StorageFull").await;
}
