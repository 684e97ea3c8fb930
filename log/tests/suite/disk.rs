//! The directory of an embedded log: owner, format, space.
use crate::harness::{Embedded, Harness, Settings, append, bounds, record, release, texts_from};
use futures::future::join_all;
use log::Log;
use log::embedded::{self, OpenError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_owner_is_refused_at_once() {
    let harness = Embedded::new(Settings::default());
    let log = harness.open().await;
    let Err(OpenError::Owned { pid, .. }) = harness.try_open().await else { panic!("two owners") };
    assert_eq!(pid, std::process::id().to_string());
    log.close().await.unwrap();
    harness.try_open().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_partitions_is_refused_in_words() {
    let harness = Embedded::new(Settings::default());
    harness.open().await.close().await.unwrap();
    let options = embedded::Options { partitions: 3, ..harness.options() };
    let refused = embedded::open(options, Arc::new(crate::harness::HandClock::default())).await.err().unwrap();
    assert!(matches!(&refused, OpenError::Incompatible(words) if words.contains("pinned")), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_dropped_gives_the_directory_free() {
    let harness = Embedded::new(Settings::default());
    let log = harness.open().await;
    append(&log, 0, &["a"]).await;
    let (writer, reader) = (log.writer(), log.reader(None).await.unwrap());
    drop(log);
    assert!(matches!(harness.try_open().await, Err(OpenError::Owned { .. })), "a writer keeps it open");
    drop((writer, reader));
    assert_eq!(texts_from(&harness.open().await, 0, 0).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_retention_does_not_wait_for_is_refused() {
    let log = Embedded::new(Settings::default()).open().await;
    let refused = log.reader(Some("other")).await.err().unwrap().to_string();
    assert!(refused.contains("\"other\"") && refused.contains("sink"), "{refused}");
}

/// Bytes that the directory takes on disk.
fn disk_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    files
        .map(|file| match file.file_type().unwrap().is_dir() {
            true => disk_bytes(&file.path()),
            false => file.metadata().map_or(0, |metadata| metadata.blocks() * 512),
        })
        .sum()
}

async fn append_megabytes(log: &Arc<dyn Log>, megabytes: u32) {
    let writer = log.writer();
    let payload = bytes::Bytes::from(vec![5; 250_000]);
    for n in 0..megabytes {
        let record = log::Record { headers: Vec::new(), payload: payload.clone() };
        let appends = (0..4).map(|_| writer.append(n % 2, record.clone()));
        join_all(appends).await.into_iter().for_each(|offset| {
            offset.unwrap();
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_space_comes_back_after_retention() {
    let harness = Embedded::new(Settings::default());
    let log = harness.open().await;
    append_megabytes(&log, 300).await;
    let full = disk_bytes(harness.dir.path());
    assert!(full > 300_000_000, "{full} bytes for 300 MB");
    for partition in 0..2 {
        let end = bounds(&log, partition).await.end;
        assert_eq!(end, 600);
        release(&log, "sink", partition, end).await;
    }
    harness.clock().advance_ms(100_000);
    log.retain().await.unwrap();
    // What is left: journals (two of 64 MiB at most), the newest table of each partition, and what was still in memory.
    // The database drops tables on a thread of its own, which a busy machine lets wait.
    let mut left = disk_bytes(harness.dir.path());
    for _ in 0..600 {
        if left < 180_000_000 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        left = disk_bytes(harness.dir.path());
    }
    assert!(left < 180_000_000, "{left} bytes are left of {full}, a minute later");
    let log = harness.reopen(log).await;
    for partition in 0..2 {
        assert_eq!(bounds(&log, partition).await, 600..600);
        assert_eq!(append(&log, partition, &["a"]).await, [600]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn journals_are_removed_while_appends_go_on() {
    let harness = Embedded::new(Settings::default());
    let log = harness.open().await;
    append(&log, 1, &["a record of a partition that then stays silent must not pin the journals"]).await;
    let writer = log.writer();
    for _ in 0..300 {
        let record = record("x".repeat(990_000));
        writer.append(0, record).await.unwrap();
    }
    log.close().await.unwrap();
    let journals = std::fs::read_dir(harness.dir.path().join("fjall")).unwrap().map(Result::unwrap);
    let journals = journals.filter(|file| file.file_name().to_string_lossy().ends_with(".jnl"));
    let bytes: u64 = journals.map(|file| file.metadata().unwrap().blocks() * 512).sum();
    assert!(bytes < 210_000_000, "{bytes} bytes of journals for 300 MB of records");
}
