//! Windows that are too large to be held together: half as many are taken, and nothing is lost by it.
use crate::harness::{Harness, NOON, SECOND, eventually, rollup, rows_of};
use crate::late::event;
use crate::shared::{one_each, stop};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use std::collections::{BTreeMap, BTreeSet};

/// Keys of two kilobytes each.
const BY_LONG_NAME: &str = "select repeat(device_type, 250) as name, count(*) as n from events group by 1";
/// In each window: two of them together are more than the 128 MiB that are merged or computed again at once, one is not.
const GROUPS: usize = 40_000;

/// An event for each group of the window that begins at `start`, seconds after noon.
async fn fill(harness: &Harness, start: i64) {
    for part in 0..GROUPS / 1_000 {
        let of = |number: usize| event((start as u128) << 64 | number as u128, start + 1, &format!("d{number:07}"));
        let events: Vec<_> = (part * 1_000..(part + 1) * 1_000).map(of).collect();
        harness.produce(0, &events).await;
    }
}

/// What is written of the two windows: by start and revision how many groups, and by revision how many files have any. (The window
/// after them closes by itself when nothing comes for long.)
async fn written(harness: &Harness) -> (BTreeMap<(i64, i32), usize>, BTreeMap<i32, usize>) {
    let (mut groups, mut files) = (BTreeMap::new(), BTreeMap::new());
    let Some(table) = harness.table("names").await else { return (groups, files) };
    for file in table.files().await.unwrap() {
        let mut revisions_of_file = BTreeSet::new();
        for batch in rows_of(&table, &file.path).await {
            let starts =
                batch.column_by_name("window_start").unwrap().as_primitive::<TimestampMicrosecondType>().clone();
            let revisions = batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>().clone();
            for (start, revision) in starts.values().iter().zip(revisions.values()) {
                let start = (start - NOON) / SECOND;
                if start < 20 {
                    *groups.entry((start, *revision)).or_default() += 1;
                    revisions_of_file.insert(*revision);
                }
            }
        }
        revisions_of_file.into_iter().for_each(|revision| *files.entry(revision).or_default() += 1);
    }
    (groups, files)
}

#[tokio::test]
async fn windows_whose_parts_are_too_large_together_are_merged_one_after_the_other() {
    let harness = Harness::new(1, vec![rollup("names", BY_LONG_NAME)]);
    let (_group, running) = one_each(&harness, 1).await;
    harness.at(11);
    for start in [0, 10] {
        fill(&harness, start).await;
    }
    harness.at(21);
    harness.produce(0, &[event(1, 21, "last")]).await;
    let wanted = BTreeMap::from([((0, 1), GROUPS), ((10, 1), GROUPS)]);
    eventually("both are closed", async || written(&harness).await.0 == wanted).await;
    assert_eq!(written(&harness).await.1, BTreeMap::from([(1, 2)]), "each in a commit of its own");
    stop(running).await;
}

#[tokio::test]
async fn windows_that_are_too_large_together_are_corrected_one_after_the_other() {
    let harness = Harness::new(1, vec![rollup("names", BY_LONG_NAME)]);
    let (running, sink) = (harness.start(), harness.start_sink(5));
    harness.at(11);
    for start in [0, 10] {
        fill(&harness, start).await;
    }
    harness.at(21);
    harness.produce(0, &[event(1, 21, "last")]).await;
    let first = BTreeMap::from([((0, 1), GROUPS), ((10, 1), GROUPS)]);
    eventually("both are closed", async || written(&harness).await.0 == first).await;
    harness.produce(0, &[event(2, 2, "late"), event(3, 12, "late")]).await;
    let mut wanted = first;
    wanted.extend([((0, 2), GROUPS + 1), ((10, 2), GROUPS + 1)]);
    eventually("both are corrected", async || written(&harness).await.0 == wanted).await;
    assert_eq!(written(&harness).await.1[&2], 2, "each in a commit of its own");
    running.stop().await;
    sink.stop().await;
}
