//! What a restart must not change.
use crate::harness::{Harness, NOON, record};

#[tokio::test]
async fn a_restart_goes_on_after_the_last_committed_record() {
    let harness = Harness::new(1);
    harness.produce(0, &[1]).await;
    harness.drain().await;
    harness.produce(0, &[2]).await;
    harness.drain().await;
    harness.drain().await;
    assert_eq!(harness.places().await, [(0, 0, 0, 1), (0, 1, 0, 2)]);
}

#[tokio::test]
async fn a_copy_that_comes_after_a_restart_is_dropped() {
    let harness = Harness::new(1);
    harness.produce(0, &[1, 2]).await;
    harness.produce(0, &[3]).await;
    harness.drain().await;
    harness.produce(0, &[2, 4]).await;
    harness.drain().await;
    assert_eq!(harness.ids().await, [1, 2, 3, 4]);
    assert_eq!(harness.position(0).await.unwrap().duplicates, 1);
}

/// Three rows of window. Read: 1 2 1 3 4 | 1. The copy that was dropped (offset 2) is still in the window when the
/// third comes, so that one is dropped as well. A window rebuilt from the rows that were kept (2 3 4) would let it in.
#[tokio::test]
async fn a_copy_that_was_dropped_still_counts_in_the_window_after_a_restart() {
    let mut harness = Harness::new(1);
    harness.dedup_rows = 3;
    for id in [1, 2, 1, 3, 4] {
        harness.produce(0, &[id]).await;
    }
    harness.drain().await;
    assert_eq!(harness.position(0).await.unwrap().dedup, 2);
    harness.produce(0, &[1]).await;
    harness.drain().await;
    assert_eq!(harness.ids().await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn what_lies_further_back_than_the_window_is_no_copy_with_or_without_a_restart() {
    for restart in [false, true] {
        let mut harness = Harness::new(1);
        harness.dedup_rows = 3;
        for id in [1, 2, 3, 4] {
            harness.produce(0, &[id]).await;
        }
        if restart {
            harness.drain().await;
        }
        harness.produce(0, &[1]).await;
        harness.drain().await;
        assert_eq!(harness.ids().await, [1, 1, 2, 3, 4]);
    }
}

#[tokio::test]
async fn a_window_that_begins_within_a_record_is_rebuilt_to_the_same_answers() {
    let mut harness = Harness::new(1);
    harness.dedup_rows = 4;
    harness.produce(0, &[1, 2, 3]).await;
    harness.produce(0, &[4, 5]).await;
    harness.drain().await;
    // The window holds 2 3 4 5: row 1 is out, though the record that it stands in is read again.
    harness.produce(0, &[1]).await;
    harness.produce(0, &[3]).await;
    harness.drain().await;
    assert_eq!(harness.ids().await, [1, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn the_table_says_how_long_the_window_is() {
    let mut harness = Harness::new(1);
    harness.dedup_rows = 2;
    harness.produce(0, &[1]).await;
    harness.drain().await;
    harness.dedup_rows = 1000;
    harness.produce(0, &[2, 3, 1]).await;
    harness.drain().await;
    assert_eq!(harness.ids().await, [1, 1, 2, 3]);
}

#[tokio::test]
async fn a_window_cut_short_by_retention_goes_on_with_what_is_left() {
    let harness = Harness::new(1);
    for id in 1..=5 {
        harness.produce(0, &[id]).await;
    }
    harness.drain().await;
    harness.log.faults().drop_below(0, 3);
    harness.produce(0, &[1]).await;
    harness.produce(0, &[5]).await;
    let answers = harness.drain().await;
    assert_eq!(answers.lock().unwrap().last(), Some(&Ok(())));
    // 1 was in the part that is gone; 5 is still found.
    assert_eq!(harness.ids().await, [1, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_log_of_which_everything_was_read_and_dropped_goes_on() {
    let harness = Harness::new(1);
    harness.produce(0, &[1]).await;
    harness.produce(0, &[2]).await;
    harness.drain().await;
    harness.log.faults().drop_below(0, 2);
    harness.produce(0, &[3]).await;
    harness.drain().await;
    assert_eq!(harness.places().await, [(0, 0, 0, 1), (0, 1, 0, 2), (0, 2, 0, 3)]);
}

#[tokio::test]
async fn the_log_is_told_what_the_table_holds() {
    let harness = Harness::new(2);
    harness.produce(0, &[1]).await;
    harness.produce(0, &[2]).await;
    harness.drain().await;
    assert_eq!(harness.log.faults().released("sink", 0), Some(2));
    assert_eq!(harness.log.faults().released("sink", 1).unwrap_or(0), 0);
}

#[tokio::test]
async fn a_killed_sink_leaves_nothing_half_done() {
    let harness = Harness::new(1);
    harness.append(0, record(&[(1, NOON), (2, NOON)])).await;
    let running = harness.start();
    crate::harness::eventually("it reads", async || running.ready().is_ok()).await;
    running.kill().await;
    assert_eq!(harness.position(0).await, None);
    harness.drain().await;
    assert_eq!(harness.ids().await, [1, 2]);
}
