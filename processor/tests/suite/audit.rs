//! The audit of rollups: what is right is never called wrong, and each way to be wrong is named.
use crate::folding::events;
use crate::harness::{Harness, NOON, SECOND, eventually, rollup};
use crate::late::{BY_DEVICE, becomes, event, groups, newest};
use crate::rewritten::{remove, two_are_counted};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use futures::TryStreamExt;
use lake::table::{Commit, Outcome, Table};
use processor::audit::{Audited, audit, rollups};
use processor::rewritten::Rewritten;
use processor::rollup::Definition;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Every rollup that is kept, by name.
pub async fn audited(harness: &Harness) -> BTreeMap<String, Audited> {
    let mut audited = BTreeMap::new();
    for (name, definition) in rollups(&harness.lake()).await.unwrap() {
        let patience = Duration::from_millis(50);
        let of = audit(&harness.lake(), &definition, harness.config.bounds, patience).await.unwrap();
        audited.insert(name, of);
    }
    audited
}

/// Of the rollup `devices`: windows that were compared, and what is wrong by seconds after noon.
async fn of_devices(harness: &Harness) -> (u64, BTreeMap<i64, String>) {
    let devices = audited(harness).await.remove("devices").unwrap();
    assert_eq!((devices.not_compared, devices.wrong), (None, devices.different.len() as u64));
    let seconds = |(start, words): (i64, String)| ((start - NOON) / SECOND, words);
    (devices.windows, devices.different.into_iter().map(seconds).collect())
}

fn one(words: &str) -> BTreeMap<i64, String> {
    BTreeMap::from([(0, words.to_owned())])
}

/// Changes the rows of the rollup's table, as nothing of ours does.
async fn tamper(harness: &Harness, rollup: &str, change: impl Fn(RecordBatch) -> RecordBatch) {
    let mut table = harness.table(rollup).await.unwrap();
    let mut commit = Commit { data_change: true, removes: table.files().await.unwrap(), ..Commit::default() };
    for file in commit.removes.clone() {
        let rows: Vec<RecordBatch> = table.read_file(&file.path, None).await.unwrap().try_collect().await.unwrap();
        let rows: Vec<RecordBatch> = rows.into_iter().map(&change).filter(|rows| rows.num_rows() > 0).collect();
        if !rows.is_empty() {
            commit.adds.push(table.write_file(BTreeMap::new(), vec![rows]).await.unwrap());
        }
    }
    assert!(matches!(table.commit(&commit).await.unwrap(), Outcome::Committed { .. }));
}

fn plus_one(rows: RecordBatch, column: &str) -> RecordBatch {
    let at = rows.schema().index_of(column).unwrap();
    let numbers = rows.column(at).as_primitive::<Int64Type>();
    let mut columns = rows.columns().to_vec();
    columns[at] = Arc::new(numbers.iter().map(|number| number.map(|n| n + 1)).collect::<Int64Array>()) as ArrayRef;
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

#[tokio::test]
async fn rollups_that_everybody_has_are_what_the_events_give_and_a_figure_that_is_changed_is_named() {
    let mut definitions = Definition::defaults();
    definitions.iter_mut().for_each(|definition| definition.allowed_lateness = Duration::ZERO);
    let harness = Harness::new(2, definitions);
    // Their times are around the round number that they are made of.
    let all = events(7, 3_000, 5);
    let newest_ms = all.iter().map(|event| event["event_time"].as_i64().unwrap()).max().unwrap();
    harness.at(newest_ms / 1_000 - NOON / SECOND + 1);
    for (number, some) in (0_u32..).zip(all.chunks(100)) {
        harness.produce(number % 2, some).await;
    }
    let (running, sink) = (harness.start(), harness.start_sink(5));
    eventually("windows of all are compared, and none waits", async || {
        let audited = audited(&harness).await;
        assert!(audited.values().all(|of| of.different.is_empty()), "{audited:?}");
        audited.len() == 4 && audited.values().all(|of| of.windows > 2 && of.rows > 2 && of.waiting == 0)
    })
    .await;
    running.stop().await;
    sink.stop().await;
    for (rollup, column) in [("audience", "plays"), ("quality", "startups"), ("errors", "fatal_errors")] {
        tamper(&harness, rollup, |rows| plus_one(rows, column)).await;
        let of = &audited(&harness).await[rollup];
        assert_eq!(of.wrong, of.windows, "{rollup} {column}");
        let words = of.different.values().next().unwrap();
        assert!(words.starts_with(&format!("{column} of ")) && words.contains("and events gives"), "{words}");
    }
}

#[tokio::test]
async fn a_window_without_its_rows_with_too_many_or_with_an_event_that_went_is_named() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let (running, sink) = (harness.start(), harness.start_sink(5));
    two_are_counted(&harness).await;
    harness.at(31);
    harness.produce(0, &[event(4, 31, "tv")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(10, groups(&[("tv", 1)]))])).await;
    eventually("the lake has all", async || audited(&harness).await["devices"].not_compared.is_none()).await;
    running.stop().await;
    sink.stop().await;
    assert_eq!(of_devices(&harness).await, (3, BTreeMap::new()), "the third of them without an event");

    remove(&harness, 2).await;
    assert_eq!(of_devices(&harness).await, (3, one("n of device_type=tv is 2, and events gives 1")));
    remove(&harness, 1).await;
    assert_eq!(of_devices(&harness).await, (3, one("1 rows, and events has none for it")));
    Rewritten::new(harness.lake()).mark(&[NOON + SECOND], 2, NOON).await.unwrap();
    assert_eq!(of_devices(&harness).await, (2, BTreeMap::new()), "one that is to be computed again is not judged");
}

#[tokio::test]
async fn a_window_whose_rows_went_from_the_rollup_is_named() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let (running, sink) = (harness.start(), harness.start_sink(5));
    two_are_counted(&harness).await;
    harness.at(31);
    harness.produce(0, &[event(4, 12, "web"), event(5, 31, "tv")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(10, groups(&[("tv", 1), ("web", 1)]))])).await;
    eventually("the lake has all", async || audited(&harness).await["devices"].not_compared.is_none()).await;
    running.stop().await;
    sink.stop().await;
    let without = |device: &'static str| {
        move |rows: RecordBatch| {
            let devices = rows.column_by_name("device_type").unwrap().as_string::<i32>();
            let keep = devices.iter().map(|of| Some(of != Some(device))).collect();
            arrow_select::filter::filter_record_batch(&rows, &keep).unwrap()
        }
    };
    tamper(&harness, "devices", without("web")).await;
    let (_, wrong) = of_devices(&harness).await;
    assert_eq!(wrong, BTreeMap::from([(10, "no row of device_type=web, and events gives one".to_owned())]));
    tamper(&harness, "devices", without("tv")).await;
    let none = |rows| format!("no row, and events gives {rows} of 2 events");
    assert_eq!(of_devices(&harness).await, (3, BTreeMap::from([(0, none(1)), (10, none(2))])));

    let mut rewritten = Rewritten::new(harness.lake());
    let marked = rewritten.mark_rollup("devices", NOON..NOON + 20 * SECOND, 0, NOON).await.unwrap();
    assert_eq!(marked, 2);
    let (running, sink) = (harness.start(), harness.start_sink(5));
    eventually("they are computed again", async || of_devices(&harness).await == (3, BTreeMap::new())).await;
    assert_eq!(newest(&harness, "devices").await[&10], groups(&[("tv", 1), ("web", 1)]));
    running.stop().await;
    sink.stop().await;
}

#[tokio::test]
async fn a_rollup_that_has_counted_more_than_the_lake_has_is_not_compared() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let sink = harness.start_sink(5);
    harness.produce(0, &[event(1, 1, "tv")]).await;
    eventually("the lake has one", async || {
        Table::open(&harness.lake().events).await.unwrap().is_some_and(|table| table.version() > 0)
    })
    .await;
    sink.stop().await;
    let running = harness.start();
    harness.at(11);
    harness.produce(0, &[event(2, 2, "tv"), event(3, 11, "tv")]).await;
    becomes(&harness, "devices", &BTreeMap::from([(0, groups(&[("tv", 2)]))])).await;
    running.stop().await;
    let why = audited(&harness).await["devices"].not_compared.clone();
    assert_eq!(why.as_deref(), Some("it has counted events that the lake does not have yet"));
    let sink = harness.start_sink(5);
    eventually("it is compared", async || audited(&harness).await["devices"].windows == 1).await;
    sink.stop().await;
    assert_eq!(of_devices(&harness).await, (1, BTreeMap::new()));
}
