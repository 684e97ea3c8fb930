//! The audit finds damage: each test breaks the lake in one way and sees it named.
use super::node::{self, Node, audit, pause, playhead, with_settings};
use super::roles::eventually;
use super::rollups::{TYPES, of_events, of_rollup};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use futures::TryStreamExt;
use lake::location::Location;
use lake::table::{Commit, Outcome, Table};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use testbed::scratch;

/// A stopped node whose lake holds `rows` events.
fn lake_of(rows: usize, data: &Path) {
    let node = Node::new(data);
    let events: Vec<String> = (0..rows).map(|row| node::event(&node::id(), &format!("s{row}"))).collect();
    let (status, body) = node.post("application/x-ndjson", events.join("\n").as_bytes());
    assert_eq!(status, 200, "{body}");
    node.stop();
}

fn parquet_files(data: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for date in std::fs::read_dir(data.join("lake/events")).unwrap().flatten() {
        if date.file_name().to_string_lossy().starts_with("event_date=") {
            files.extend(std::fs::read_dir(date.path()).unwrap().flatten().map(|file| file.path()));
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    files
}

fn finding(report: &Value) -> String {
    report["findings"].to_string()
}

#[test]
fn an_untouched_lake_is_exact() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    lake_of(50, &data);
    let (code, report) = audit(&data, None);
    assert_eq!((code, &report["ok"], &report["rows"]), (0, &true.into(), &50.into()), "{report}");
    let compared: u64 =
        report["partitions"].as_array().unwrap().iter().map(|p| p["records_compared"].as_u64().unwrap()).sum();
    assert!(compared > 0, "{report}");
}

#[test]
fn a_file_that_is_gone_is_named_and_its_rows_are_gaps() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    lake_of(50, &data);
    let file = parquet_files(&data).pop().unwrap();
    std::fs::remove_file(&file).unwrap();
    let (code, report) = audit(&data, None);
    assert_eq!((code, &report["files_wrong"]), (1, &1.into()), "{report}");
    assert!(finding(&report).contains(file.file_name().unwrap().to_str().unwrap()), "{report}");
    assert_eq!(report["gaps"], 50, "each once, though the totals lack them too: {report}");
    let repairs = report["repairs"].to_string();
    assert!(repairs.contains("playhead replay --partition") && repairs.contains("--from-offset 0"), "{report}");
}

#[test]
fn an_acknowledged_id_that_is_nowhere_is_missing() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    lake_of(5, &data);
    let acked = temp.path().join("acked.txt");
    let id = node::id();
    std::fs::write(&acked, format!("{id}\n")).unwrap();
    let (code, report) = audit(&data, Some(&acked));
    assert_eq!((code, &report["missing"]), (1, &1.into()), "{report}");
    assert!(finding(&report).contains(&id), "{report}");
}

#[test]
fn a_log_that_was_deleted_is_not_made_anew_by_looking() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    lake_of(20, &data);
    std::fs::remove_dir_all(data.join("log")).unwrap();
    for command in ["audit", "status", "tail"] {
        let output = node::output(playhead(&data).arg(command));
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("holds no log"), "{command}");
    }
    assert!(!data.join("log").exists());
}

#[test]
fn a_file_that_is_added_twice_is_found_by_keys_and_by_places() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    lake_of(20, &data);
    // A commit by hand that adds a copy of a file: what a writer without compare-and-swap would do.
    let file = parquet_files(&data).pop().unwrap();
    let copy = file.with_file_name("part-copy.parquet");
    std::fs::copy(&file, &copy).unwrap();
    let log = data.join("lake/events/_delta_log");
    let mut commits: Vec<PathBuf> = std::fs::read_dir(&log).unwrap().flatten().map(|entry| entry.path()).collect();
    commits.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    commits.sort();
    let name = file.file_name().unwrap().to_str().unwrap();
    let add = commits
        .iter()
        .flat_map(|path| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .find(|line| line.starts_with("{\"add\"") && line.contains(name))
        .unwrap();
    let next = log.join(format!("{:020}.json", commits.len()));
    std::fs::write(next, add.replace(name, "part-copy.parquet") + "\n").unwrap();
    let (code, report) = audit(&data, None);
    assert_eq!(code, 1, "{report}");
    assert!(report["duplicates"].as_u64().unwrap() > 0, "{report}");
    assert!(finding(&report).contains("more than once") && finding(&report).contains("same place"), "{report}");
}

#[test]
fn a_lake_that_was_deleted_is_not_called_exact() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    lake_of(20, &data);
    std::fs::remove_dir_all(data.join("lake")).unwrap();
    let (code, report) = audit(&data, None);
    assert_eq!((code, &report["ok"], &report["pending"]), (1, &false.into(), &20.into()), "{report}");
}

#[test]
fn a_node_whose_log_was_wiped_says_so_everywhere() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    lake_of(20, &data);
    std::fs::remove_dir_all(data.join("log")).unwrap();
    let mut up = playhead(&data);
    up.args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut up = node::spawn(&up);
    let status = eventually("status tells that partitions have stopped", || {
        let output = node::output(playhead(&data).args(["status", "--json"]));
        let line = String::from_utf8(output.stdout).unwrap();
        let status: Value = serde_json::from_str(line.trim()).ok()?;
        status["not_ready"]["sink"].as_str()?.contains("stopped").then_some(status)
    });
    assert_eq!((&status["running"], &status["ready"]), (&true.into(), &false.into()), "{status}");
    assert!(status["partitions"].as_array().unwrap().iter().any(|p| p["lake_ahead"] == true), "{status}");
    let (code, report) = audit(&data, None);
    assert_eq!(code, 1, "{report}");
    assert!(finding(&report).contains("not the log that the lake was written from"), "{report}");
    node::signal(up.id(), "TERM");
    up.wait().unwrap();
}

#[test]
fn beside_live_traffic_and_a_log_that_drops_what_the_lake_has_the_audit_passes_and_tail_ends_with_its_reader() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let acked = temp.path().join("acked.txt");
    let mut up = playhead(&data);
    // With rollups the log keeps what their open windows are made of: minutes.
    up.env("PLAYHEAD_LOG__RETENTION_MS", "500").env("PLAYHEAD_ROLLUP_DEFAULTS", "false");
    let node = node::start(up, "127.0.0.1:0", "127.0.0.1:0");
    let mut load = playhead(&data);
    load.args(["load", "--rate", "2000", "--batch", "20", "--seconds", "86400", "--url"]);
    load.arg(format!("http://{}", node.listen)).arg("--acked").arg(&acked);
    let _load = node::spawn(&load);
    eventually("the log drops records", || {
        let output = node::output(playhead(&data).args(["status", "--json"]));
        let status: Value = serde_json::from_str(String::from_utf8(output.stdout).unwrap().trim()).ok()?;
        status["partitions"].as_array()?.iter().any(|p| p["log_start"].as_u64() > Some(0)).then_some(())
    });
    for _ in 0..3 {
        let (code, report) = audit(&data, Some(&acked));
        assert_eq!((code, &report["pending"]), (0, &0.into()), "{report}");
    }
    let mut tail = node::spawn(playhead(&data).args(["tail", "--from-start"]));
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("event_id"));
    drop(lines);
    let ended = eventually("tail ends", || tail.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
    node.stop();
}

/// Writes the manifest; its lines.
fn manifest(data: &Path) -> Vec<Value> {
    let file = data.parent().unwrap().join("manifest.jsonl");
    let mut command = playhead(data);
    command.args(["audit", "--json", "--manifest"]).arg(&file);
    let (code, report) = node::result(&node::output(&command));
    assert_eq!(code, 0, "{report}");
    std::fs::read_to_string(&file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The line of the table `events`.
fn of_table(lines: &[Value]) -> &Value {
    lines.iter().find(|line| line["table"] == "events" && line.get("content").is_some()).unwrap()
}

#[test]
fn the_manifest_has_each_file_with_its_checksum_and_one_sum_for_equal_rows() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    lake_of(50, &data);
    let before = manifest(&data);
    for line in before.iter().filter(|line| line.get("file").is_some()) {
        let path = data.join("lake").join(line["table"].as_str().unwrap()).join(line["file"].as_str().unwrap());
        let output = std::process::Command::new("sha256sum").arg(&path).output().unwrap();
        let sum = String::from_utf8(output.stdout).unwrap();
        assert_eq!(sum.split_whitespace().next(), line["sha256"].as_str(), "{line}");
    }
    let was = of_table(&before).clone();
    assert_eq!((&was["rows"], was["files"].as_u64() > Some(0)), (&50.into(), true));
    for command in ["compact", "rebuild"] {
        let (code, done) = node::result(&node::output(playhead(&data).args([command, "--json"])));
        assert_eq!(code, 0, "{done}");
        let lines = manifest(&data);
        let is = of_table(&lines);
        assert_eq!(is["content"], was["content"], "{command} changes no row");
        assert!(is["version"].as_u64() > was["version"].as_u64(), "{command} is a commit");
    }
    lake_of(1, &data);
    assert_ne!(of_table(&manifest(&data))["content"], was["content"], "a row more");
}

#[test]
fn a_file_that_no_commit_names_is_told_and_is_no_fault() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    lake_of(5, &data);
    let file = parquet_files(&data).pop().unwrap();
    std::fs::copy(&file, file.with_file_name("part-7f8e2a4c-1f0b-4c1e-9d53-0a8c1b2d3e4f.zstd.parquet")).unwrap();
    let bytes = std::fs::metadata(&file).unwrap().len();
    let (code, report) = audit(&data, None);
    assert_eq!((code, &report["orphans"], &report["orphan_bytes"]), (0, &1.into(), &bytes.into()), "{report}");
}

/// Every event of this date becomes an error.
async fn change(lake: &Path, date: &str) {
    let mut table = Table::open(&Location::Local(lake.join("events"))).await.unwrap().unwrap();
    let files = table.files().await.unwrap();
    let of_date = |value: Option<&Option<String>>| value.is_some_and(|value| value.as_deref() == Some(date));
    let file = files.into_iter().find(|file| of_date(file.partition_values.get("event_date"))).unwrap();
    let batches: Vec<RecordBatch> =
        table.read_file(&file.path, None).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    let changed = |batch: &RecordBatch| {
        let errors: ArrayRef = Arc::new(StringArray::from(vec!["error"; batch.num_rows()]));
        let at = batch.schema().index_of("event_type").unwrap();
        let columns = batch.columns().iter().enumerate();
        let columns = columns.map(|(number, column)| if number == at { &errors } else { column }.clone()).collect();
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    };
    let new = table.write_file(file.partition_values.clone(), vec![batches.iter().map(changed).collect()]).await;
    let commit = Commit { adds: vec![new.unwrap()], removes: vec![file], data_change: true, ..Commit::default() };
    assert!(matches!(table.commit(&commit).await.unwrap(), Outcome::Committed { .. }));
}

#[test]
fn values_of_a_late_event_that_were_changed_are_mended_by_the_commands_that_the_audit_prints() {
    const THREE_DAYS_MS: u128 = 3 * 86_400_000;
    let temp = tempfile::tempdir().unwrap();
    let (data, runtime) = (temp.path().join("data"), tokio::runtime::Runtime::new().unwrap());
    let lake = data.join("lake");
    let ports = [scratch::port(), scratch::port()];
    let [listen, admin] = ports.each_ref().map(scratch::Port::address);
    let node = node::start(with_settings(&data, TYPES), &listen, &admin);
    let then_ms = node::now_ms() - THREE_DAYS_MS;
    let post = |time_ms: u128| {
        let event = json!({"event_type": "seek", "session_id": "s", "event_time": time_ms as u64});
        assert_eq!(node.post("application/json", event.to_string().as_bytes()).0, 200);
    };
    for time_ms in [node::now_ms(), then_ms] {
        post(time_ms);
    }
    pause(Duration::from_secs(4));
    post(node::now_ms());
    let late = eventually("the late event is in its window", || {
        let (held, _) = runtime.block_on(of_rollup(&lake));
        held.into_keys().find(|(start_us, _)| (*start_us as u128) < (then_ms + 1) * 1_000)
    });
    let date = chrono::DateTime::from_timestamp_micros(late.0).unwrap().date_naive().to_string();
    runtime.block_on(change(&lake, &date));

    let (code, report) = audit(&data, None);
    assert_eq!((code, report["windows_wrong"].as_u64() > Some(0)), (1, true), "{report}");
    for repair in report["repairs"].as_array().unwrap() {
        let words: Vec<&str> = repair.as_str().unwrap().split_whitespace().collect();
        let output = node::output(with_settings(&data, TYPES).args(&words[1..]));
        assert!(output.status.success(), "{repair}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(runtime.block_on(of_events(&lake)).get(&late), Some(&1), "the event is what the log has");
    let (code, report) = audit(&data, None);
    assert_eq!((code, &report["windows_wrong"]), (0, &0.into()), "{report}");
    node.stop();
}
