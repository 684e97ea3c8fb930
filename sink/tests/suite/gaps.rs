//! Offsets that no record took.
use crate::harness::{Harness, words};
use crate::sparse::Sparse;

async fn three_records() -> Harness {
    let harness = Harness::new(1);
    for id in 1..=3 {
        harness.produce(0, &[id]).await;
    }
    harness
}

#[tokio::test]
async fn offsets_that_no_record_took_are_passed_over_and_the_drain_ends_behind_them() {
    let harness = three_records().await;
    harness.start_on(Sparse::over(&harness)).stop().await;
    assert_eq!(harness.places().await, [(0, 0, 0, 1), (0, 2, 0, 2), (0, 4, 0, 3)]);
    assert_eq!(harness.position(0).await.unwrap().last, 4, "the last record, not the marker behind it");
    // And a restart goes on, with its window.
    harness.produce(0, &[2, 4]).await;
    harness.start_on(Sparse::over(&harness)).stop().await;
    assert_eq!(harness.ids().await, [1, 2, 3, 4]);
    assert_eq!(harness.position(0).await.unwrap().duplicates, 1);
}

#[tokio::test]
async fn markers_behind_the_last_record_are_released_too() {
    let mut harness = three_records().await;
    harness.config.flush_rows = 1;
    let running = harness.start_on(Sparse::over(&harness));
    crate::harness::eventually("all is released", async || harness.log.faults().released("sink", 0) == Some(3)).await;
    running.stop().await;
}

#[tokio::test]
async fn a_log_that_says_it_has_no_gaps_stops_at_the_first() {
    let harness = three_records().await;
    let running = harness.start_on(Sparse::that_denies_it(&harness));
    let answers = running.answers.clone();
    running.stop().await;
    let words = words(&answers);
    assert!(words.contains("handed out offset 2 where 1 was next"), "{words}");
    assert_eq!(harness.ids().await, [] as [u128; 0]);
}

/// Nobody can tell whether what retention dropped were records or markers.
#[tokio::test]
async fn a_log_that_begins_above_the_position_stops_with_gaps_too() {
    let harness = three_records().await;
    harness.start_on(Sparse::over(&harness)).stop().await;
    harness.log.faults().drop_below(0, 3);
    let running = harness.start_on(Sparse::over(&harness));
    let answers = running.answers.clone();
    running.stop().await;
    let words = words(&answers);
    assert!(words.contains("records 5..6 are gone") && words.contains("markers of transactions"), "{words}");
}

#[tokio::test]
async fn a_log_with_gaps_made_anew_is_noticed() {
    let harness = three_records().await;
    harness.start_on(Sparse::over(&harness)).stop().await;
    harness.log.faults().wipe();
    for id in 10..20 {
        harness.produce(0, &[id]).await;
    }
    let running = harness.start_on(Sparse::over(&harness));
    let answers = running.answers.clone();
    running.stop().await;
    let words = words(&answers);
    assert!(words.contains("made anew"), "{words}");
    assert_eq!(harness.ids().await, [1, 2, 3]);
}
