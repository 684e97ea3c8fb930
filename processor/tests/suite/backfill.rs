//! Windows from before a rollup began, computed from the table of events.
use crate::harness::{Harness, NOON, SECOND, eventually, rollup};
use crate::late::{BY_DEVICE, becomes, event, groups, newest, revisions};
use lake::table::Table;
use processor::backfill::{Asked, Backfill, Refused, cancel};
use std::collections::BTreeMap;
use std::time::Duration;

fn since(seconds: i64) -> Asked {
    Asked { since_us: NOON + seconds * SECOND, until_us: None }
}

/// A lake with events of four windows, and a log that has lost those of the first three.
async fn begun_late() -> Harness {
    let mut harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let sink = harness.start_sink(5);
    harness.at(45);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 11, "tv"), event(3, 12, "web")]).await;
    harness.produce(0, &[event(4, 29, "tv")]).await;
    harness.produce(0, &[event(5, 33, "tv")]).await;
    let rows = async || match Table::open(&harness.lake().events).await.unwrap() {
        Some(events) => events.files().await.unwrap().iter().filter_map(|file| file.rows).sum::<u64>(),
        None => 0,
    };
    eventually("the lake has all events", async || rows().await == 5).await;
    sink.stop().await;
    harness.log.faults().drop_below(0, 3);
    harness.config.rollups[0].name = "later".to_owned();
    harness.live = processor::live::Live::new(&harness.config.rollups);
    harness
}

#[tokio::test]
async fn a_rollup_on_a_log_without_its_beginning_gets_the_windows_before_from_the_lake() {
    let harness = begun_late().await;
    let definition = &harness.config.rollups[0];
    assert!(matches!(Backfill::plan(&harness.lake(), definition, since(0)).await, Err(Refused::NotBegun(_))));
    let running = harness.start();
    eventually("it has begun", async || running.ready().is_ok()).await;
    harness.at(61);
    harness.produce(0, &[event(6, 51, "tv"), event(7, 61, "tv")]).await;
    becomes(&harness, "later", &BTreeMap::from([(50, groups(&[("tv", 1)]))])).await;
    assert!(!newest(&harness, "later").await.contains_key(&0));

    let planned = Backfill::plan(&harness.lake(), definition, since(-25)).await.unwrap();
    assert_eq!(planned.starts, NOON - 20 * SECOND..NOON + 60 * SECOND);
    assert_eq!(planned.count(), 8);
    planned.mark(&harness.lake(), 0).await.unwrap();
    assert_eq!(cancel(&harness.lake(), "later").await.unwrap(), 8);
    assert_eq!(planned.waiting(&harness.lake()).await.unwrap(), 0);
    planned.mark(&harness.lake(), 0).await.unwrap();
    // The lake has not what was counted: a window computed now would lack it for ever.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(planned.waiting(&harness.lake()).await.unwrap(), 8);
    // Nothing is lost with the process.
    running.kill().await;
    let (running, sink) = (harness.start(), harness.start_sink(5));
    eventually("nothing waits", async || planned.waiting(&harness.lake()).await.unwrap() == 0).await;
    let wanted = BTreeMap::from([
        (0, groups(&[("tv", 1)])),
        (10, groups(&[("tv", 1), ("web", 1)])),
        (20, groups(&[("tv", 1)])),
        (30, groups(&[("tv", 1)])),
        (50, groups(&[("tv", 1)])),
    ]);
    assert_eq!(newest(&harness, "later").await, wanted);
    assert!(revisions(&harness, "later").await.keys().all(|(_, revision)| *revision == 1), "each is there once");

    // What is there stays.
    planned.mark(&harness.lake(), 0).await.unwrap();
    eventually("nothing waits", async || planned.waiting(&harness.lake()).await.unwrap() == 0).await;
    assert_eq!(newest(&harness, "later").await, wanted);
    assert!(revisions(&harness, "later").await.keys().all(|(_, revision)| *revision == 1));
    running.stop().await;
    sink.stop().await;
}

#[tokio::test]
async fn what_cant_be_computed_is_refused_in_words() {
    let harness = begun_late().await;
    let definition = &harness.config.rollups[0];
    let running = harness.start();
    eventually("it has begun", async || running.ready().is_ok()).await;
    harness.at(61);
    harness.produce(0, &[event(6, 51, "tv"), event(7, 61, "tv")]).await;
    becomes(&harness, "later", &BTreeMap::from([(50, groups(&[("tv", 1)]))])).await;
    let lake = harness.lake();
    let plan = async |definition, asked| Backfill::plan(&lake, definition, asked).await.map(|_| ());
    assert!(matches!(plan(definition, since(60)).await, Err(Refused::NoWindow(_))));
    let ages = since(-365 * 86_400);
    assert!(matches!(plan(definition, ages).await, Err(Refused::TooMany(..))));
    let other = rollup("later", &format!("{BY_DEVICE} having count(*) > 1"));
    assert!(matches!(plan(&other, since(0)).await, Err(Refused::Changed(_))));
    running.stop().await;
}
