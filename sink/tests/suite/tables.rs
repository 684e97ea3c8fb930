//! The tables belong to one log.
use crate::harness::{Harness, TOPIC};
use lake::table::Table;
use log::memory;
use sink::Error;

#[tokio::test]
async fn tables_of_another_log_are_refused_in_words() {
    let mut harness = Harness::new(2);
    harness.drain().await;
    assert_eq!(harness.events().await.unwrap().property("playhead.log").as_deref(), Some("embedded/events"));
    harness.log = memory::Log::new("others", 2, harness.clock.clone());
    let Error::Lake(error @ lake::table::Error::Incompatible { .. }) = harness.fail().await else {
        panic!("it is incompatible")
    };
    let words = error.to_string();
    assert!(words.contains("embedded/events") && words.contains("embedded/others"), "{words}");
}

#[tokio::test]
async fn tables_of_a_version_that_did_not_write_their_log_down_are_taken() {
    let harness = Harness::new(1);
    let lake = harness.lake();
    Table::open_or_create(&lake.events, &lake::tables::events(1, 1000)).await.unwrap();
    Table::open_or_create(&lake.dead_letters, &lake::tables::dead_letters(1)).await.unwrap();
    harness.produce(0, &[1]).await;
    harness.drain().await;
    assert_eq!(harness.rows().await[0].topic, TOPIC);
}
