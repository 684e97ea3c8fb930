//! Rows that go from the table of events after they were counted: their windows are marked, then computed again.
use crate::harness::{Harness, NOON, SECOND, eventually, rollup};
use crate::late::{BY_DEVICE, becomes, event, groups, revisions};
use arrow_array::cast::AsArray;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use futures::TryStreamExt;
use lake::table::{Commit, Outcome, Table, Txn};
use lake::tables::{EXPIRED, REWRITES};
use processor::rewritten::Rewritten;
use std::collections::BTreeMap;
use std::time::Duration;

/// Takes an event out of `events`, as a compaction does that found it to be a copy.
pub async fn remove(harness: &Harness, id: u128) {
    let mut table = Table::open(&harness.lake().events).await.unwrap().unwrap();
    let mut commit = Commit { data_change: true, removes: table.files().await.unwrap(), ..Commit::default() };
    for file in commit.removes.clone() {
        let rows: Vec<RecordBatch> = table.read_file(&file.path, None).await.unwrap().try_collect().await.unwrap();
        let stay = |rows: &RecordBatch| {
            let ids = rows.column_by_name("event_id").unwrap().as_binary::<i32>();
            let keep: BooleanArray = ids.iter().map(|of| Some(of != Some(&id.to_be_bytes()[..]))).collect();
            filter_record_batch(rows, &keep).unwrap()
        };
        let rows = rows.iter().map(stay).collect();
        commit.adds.push(table.write_file(file.partition_values.clone(), vec![rows]).await.unwrap());
    }
    let expected = table.txn(REWRITES).await.unwrap();
    commit.txns.push(Txn { app: REWRITES.to_owned(), expected, new: expected.unwrap_or(0) + 1 });
    assert!(matches!(table.commit(&commit).await.unwrap(), Outcome::Committed { .. }));
}

/// Events 1 and 2 are in the first window, which is closed and in the lake; 3 has opened the next.
pub async fn two_are_counted(harness: &Harness) {
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 2, "tv"), event(3, 11, "tv")]).await;
    becomes(harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 2)]))])).await;
    let in_lake = async || Table::open(&harness.lake().events).await.unwrap().is_some_and(|table| table.version() > 0);
    eventually("the lake has them", in_lake).await;
}

#[tokio::test]
async fn a_window_whose_rows_go_from_the_lake_is_computed_again_when_they_have_gone_and_not_before() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let (running, sink) = (harness.start(), harness.start_sink(5));
    two_are_counted(&harness).await;
    let mut rewritten = Rewritten::new(harness.lake());
    // One that is closed, one that is open, and one from long before the rollup began.
    let times = [1, 11, -10_000].map(|seconds| NOON + seconds * SECOND);
    rewritten.mark(&times, 1, NOON).await.unwrap();
    assert_eq!((harness.marks().await, rewritten.awaited().await.unwrap()), (3, Some(1)));
    // Late events of the closed one wait with it.
    harness.produce(0, &[event(4, 3, "tv")]).await;
    eventually("they are marked with it", async || {
        harness.rows_of_marks().await.iter().any(|(start, events)| (*start, *events) == (NOON, 1))
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(revisions(&harness, "devices").await.keys().copied().collect::<Vec<_>>(), [(0, 1)], "nothing went yet");
    remove(&harness, 2).await;
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 2)]))])).await;
    eventually("only the open one is marked", async || harness.marks().await == 1).await;
    let computed = revisions(&harness, "devices").await;
    assert_eq!(computed[&(0, 2)].groups, groups(&[("tv", 2)]), "without what went, with what came late");
    assert_eq!(computed.len(), 2, "none of a time when the rollup was not there: {computed:?}");
    harness.at(21);
    harness.produce(0, &[event(5, 21, "tv")]).await;
    eventually("it is closed, and computed again", async || {
        harness.marks().await == 0 && revisions(&harness, "devices").await.contains_key(&(10, 2))
    })
    .await;
    running.stop().await;
    sink.stop().await;
}

#[tokio::test]
async fn a_window_whose_date_has_ended_keeps_its_figure() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let (running, sink) = (harness.start(), harness.start_sink(5));
    two_are_counted(&harness).await;
    let mut table = Table::open(&harness.lake().events).await.unwrap().unwrap();
    let removes = table.files().await.unwrap();
    let expired = Txn { app: EXPIRED.to_owned(), expected: None, new: NOON / (86_400 * SECOND) + 1 };
    let ended = Commit { data_change: true, removes, txns: vec![expired], ..Commit::default() };
    assert!(matches!(table.commit(&ended).await.unwrap(), Outcome::Committed { .. }));
    harness.produce(0, &[event(4, 3, "tv")]).await;
    Rewritten::new(harness.lake()).mark(&[NOON + SECOND], 0, NOON).await.unwrap();
    eventually("what came late is unmarked", async || harness.marks().await == 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let held = revisions(&harness, "devices").await;
    assert_eq!(held.keys().copied().collect::<Vec<_>>(), [(0, 1)], "not computed from what is left: {held:?}");
    running.stop().await;
    sink.stop().await;
}
