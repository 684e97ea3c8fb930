//! Bytes on disk that aren't what was written.
use crate::harness::{Embedded, Harness, Settings, append, bounds, reader_at, record, soon, texts_from};
use log::ReadError;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The active journal, and where its content ends (zeros follow).
fn journal(dir: &Path) -> (PathBuf, u64) {
    let files = std::fs::read_dir(dir.join("fjall")).unwrap().map(|file| file.unwrap().path());
    let path = files.filter(|path| path.extension().is_some_and(|ending| ending == "jnl")).max().unwrap();
    let content = std::fs::read(&path).unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    (path, end)
}

fn find(path: &Path, needle: &str) -> u64 {
    let content = std::fs::read(path).unwrap();
    content.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap() as u64
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

/// A closed log with the records a, b, c.
async fn log_of_three() -> Embedded {
    let harness = Embedded::new(Settings::default());
    let log = harness.open().await;
    let (first, second, third) = ("first".repeat(500), "second".repeat(500), "third".repeat(500));
    append(&log, 0, &[&first, &second, &third]).await;
    log.close().await.unwrap();
    harness
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_batch_is_cut_off() {
    // As a power loss leaves it: cut short, or whole in length with a page that was never written.
    for tear in [
        (|path, end| OpenOptions::new().write(true).open(path).unwrap().set_len(end - 700).unwrap()) as fn(&Path, u64),
        |path, end| overwrite(path, end - 1_500, &[0; 512]),
        |path, end| overwrite(path, end - 4, &[0; 4]),
        |path, _| overwrite(path, find(path, "third") - 60, &[0; 100]),
    ] {
        let harness = log_of_three().await;
        let (path, end) = journal(harness.dir.path());
        tear(&path, end);
        let log = harness.open().await;
        assert_eq!(bounds(&log, 0).await, 0..2);
        assert_eq!(append(&log, 0, &["again"]).await, [2]);
        let log = harness.reopen(log).await;
        assert_eq!(texts_from(&log, 0, 2).await, ["again"]);
    }
}

/// A client may send what looks like our journal: copied from it, say.
#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_looks_like_a_journal_does_not_make_a_torn_batch_a_broken_one() {
    let harness = log_of_three().await;
    let (path, end) = journal(harness.dir.path());
    let mut copy = std::fs::read(&path).unwrap();
    copy.truncate(end as usize);
    let log = harness.open().await;
    let fake = log::Record { headers: Vec::new(), payload: copy.into() };
    assert_eq!(log.writer().append(0, fake).await.unwrap(), 3);
    log.close().await.unwrap();
    let (path, end) = journal(harness.dir.path());
    OpenOptions::new().write(true).open(path).unwrap().set_len(end - 20).unwrap();
    let log = harness.open().await;
    assert_eq!(bounds(&log, 0).await, 0..3);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_before_the_last_batch_is_never_cut_off() {
    for needle in ["first", "second"] {
        for before in [0, 60] {
            let harness = log_of_three().await;
            let (path, _) = journal(harness.dir.path());
            overwrite(&path, find(&path, needle) - before, b"#");
            let refused = harness.try_open().await.err().unwrap().to_string();
            assert!(refused.contains("acknowledged records would be lost"), "{needle} -{before}: {refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_zeros_only_is_an_empty_one() {
    let harness = Embedded::new(Settings::default());
    harness.open().await.close().await.unwrap();
    let log = harness.open().await;
    assert_eq!(append(&log, 0, &["a"]).await, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_table_is_said_and_not_read_over() {
    let harness = Embedded::new(Settings::default());
    let log = harness.open().await;
    let writer = log.writer();
    for n in 0..80 {
        writer.append(0, record(format!("{n:06}").repeat(100_000 / 6 * 5))).await.unwrap();
    }
    log.close().await.unwrap();
    let path = table_with(&harness.dir.path().join("fjall/keyspaces"), "000003000003");
    overwrite(&path, find(&path, "000003000003") + 5_000, b"#");
    let log = harness.open().await;
    let mut reader = reader_at(&log, None, 0, 0).await;
    let broken = soon(async {
        loop {
            if let Err(error) = reader.next().await {
                return error;
            }
        }
    })
    .await;
    assert!(matches!(&broken, ReadError::Corrupt(words) if words.contains("partition 0")), "{broken}");
}

fn table_with(dir: &Path, needle: &str) -> PathBuf {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for file in std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()) {
            if file.is_dir() {
                dirs.push(file);
            } else if std::fs::read(&file).unwrap().windows(needle.len()).any(|window| window == needle.as_bytes()) {
                return file;
            }
        }
    }
    panic!("no table holds {needle}");
}
