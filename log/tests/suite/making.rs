//! A log directory that is being made, that was never finished, and of which something is gone.
use crate::durability::{calls, has_strace, lines, said, start};
use crate::harness::{Embedded, HandClock, Harness, Settings, append, texts_from};
use log::embedded::{self, OpenError};
use std::path::Path;
use std::sync::Arc;

/// A closed log of two partitions with records.
async fn closed_log() -> Embedded {
    let harness = Embedded::new(Settings::default());
    let log = harness.open().await;
    append(&log, 0, &["a", "b"]).await;
    append(&log, 1, &["c"]).await;
    log.close().await.unwrap();
    harness
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_gone_is_refused_before_more_is_lost() {
    for (gone, named) in [
        ("", "database"),
        ("version", "database"),
        ("0.jnl", "journal"),
        ("keyspaces", "database"),
        ("keyspaces/0", "database"),
        ("keyspaces/1", "bounds"),
        ("keyspaces/2", "partition 0"),
        ("keyspaces/3", "partition 1"),
        ("keyspaces/3/current", "partition 1"),
    ] {
        let harness = closed_log().await;
        let (place, away) = (harness.dir.path().join("fjall").join(gone), harness.dir.path().join("away"));
        std::fs::rename(&place, &away).unwrap();
        for _ in 0..2 {
            let refused = harness.try_open().await.err().unwrap_or_else(|| panic!("opened without {gone:?}"));
            let words = refused.to_string();
            assert!(words.contains(named) && words.contains("put it back"), "{gone:?}: {words}");
        }
        std::fs::rename(&away, &place).unwrap();
        let log = harness.open().await;
        assert_eq!(texts_from(&log, 0, 0).await, ["a", "b"], "{gone:?}");
        assert_eq!(texts_from(&log, 1, 0).await, ["c"], "{gone:?}");
        assert_eq!(append(&log, 1, &["d"]).await, [1], "{gone:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_making_was_killed_is_made_anew() {
    if !has_strace() {
        return;
    }
    let mut killed = 0;
    for (call, times) in [("mkdir,mkdirat", 8), ("fsync", 14), ("rename,renameat,renameat2", 6)] {
        for time in 1..=times {
            let dir = tempfile::tempdir().unwrap();
            let log = dir.path().join("log");
            let inject = format!("inject={call}:signal=SIGKILL:when={time}");
            let lines = lines(start(&["strace", "-f", "-o", "/dev/null", "-e", &inject], &log, 1, 2));
            killed += usize::from(!lines.iter().any(|line| line.starts_with("closed")));
            let acknowledged = said(&lines, "ack").len();
            let options = crate::durability::options(&log);
            let log = embedded::open(options, Arc::new(HandClock::default())).await;
            let log = log.unwrap_or_else(|error| panic!("killed at {call} {time}: {error}"));
            assert!(texts_from(&log, 0, 0).await.len() >= acknowledged, "killed at {call} {time}");
            log.close().await.unwrap();
        }
    }
    assert!(killed > 15, "the makings were killed: {killed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_makes_no_log() {
    let harness = closed_log().await;
    let clock = Arc::new(HandClock::default());
    let absent = embedded::Options { dir: harness.dir.path().join("not/there"), ..harness.options() };
    let refused = embedded::open_existing(absent, clock.clone()).await.err().unwrap();
    assert!(matches!(&refused, OpenError::Absent { dir } if dir.ends_with("not/there")), "{refused}");
    assert!(!harness.dir.path().join("not").exists());
    let empty = tempfile::tempdir().unwrap();
    let options = embedded::Options { dir: empty.path().to_owned(), ..harness.options() };
    assert!(matches!(embedded::open_existing(options, clock.clone()).await, Err(OpenError::Absent { .. })));
    assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0, "the directory is as it was");
    let log = embedded::open_existing(harness.options(), clock).await.unwrap();
    assert_eq!(texts_from(&log, 0, 0).await, ["a", "b"]);
}

/// A power loss takes a folder that its parent does not durably name, and with it what was acknowledged.
#[test]
fn every_folder_is_named_durably_before_the_first_acknowledgement() {
    if !has_strace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (log, trace) = (dir.path().join("log"), dir.path().join("trace"));
    let wrapper = ["strace", "-f", "-y", "-o", trace.to_str().unwrap(), "-e", "trace=mkdir,mkdirat,fsync,write"];
    let lines = lines(start(&wrapper, &log, 1, 1));
    assert_eq!(said(&lines, "ack").len(), 1, "{lines:?}");
    let calls = calls(&std::fs::read_to_string(&trace).unwrap());
    let spoken = calls.iter().find(|call| call.name == "write" && call.text.contains("\"ack ")).unwrap();
    let mut folders = vec![log.clone()];
    folders.extend(folders_below(&log));
    assert!(folders.len() >= 10, "{folders:?}");
    for folder in folders {
        let made = format!("{}\"", folder.display());
        let made = calls.iter().find(|call| call.name.starts_with("mkdir") && call.text.contains(&made)).unwrap();
        let parent = format!("<{}>", folder.parent().unwrap().display());
        let named = calls.iter().any(|call| {
            let synced = call.name == "fsync" && call.text.contains(&parent);
            synced && call.began > made.ended && call.ended < spoken.began
        });
        assert!(named, "{} is not named durably", folder.display());
    }
}

fn folders_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let folders = entries.filter(|path| path.is_dir());
    folders.flat_map(|path| [folders_below(&path), vec![path]].concat()).collect()
}
