//! A log that is not the one that the tables were written from stops the partition, in words; others go on.
use crate::group::Group;
use crate::harness::{Harness, eventually, words};
use sink::Error;

#[tokio::test]
async fn a_log_made_anew_stops_its_partition_and_the_other_goes_on() {
    let harness = Harness::new(2);
    harness.produce(0, &[1]).await;
    harness.produce(0, &[2]).await;
    harness.drain().await;
    harness.log.faults().wipe();
    // Longer than before: only the fingerprint tells.
    for id in 10..15 {
        harness.produce(0, &[id]).await;
        harness.produce(1, &[id + 100]).await;
    }
    let words = words(&harness.drain().await);
    assert!(words.contains("partition 0 stopped") && words.contains("made anew"), "{words}");
    assert!(words.contains("the lake has the former log below offset 2"), "{words}");
    assert!(!words.contains("partition 1"), "{words}");
    assert_eq!(harness.ids().await, [1, 2, 110, 111, 112, 113, 114]);
}

#[tokio::test]
async fn a_log_that_was_cut_off_below_the_position_stops_its_partition() {
    let harness = Harness::new(2);
    for id in 0..3 {
        harness.produce(0, &[id]).await;
    }
    harness.drain().await;
    harness.log.faults().truncate(0, 2);
    harness.produce(1, &[7]).await;
    let words = words(&harness.drain().await);
    assert!(words.contains("partition 0 stopped") && words.contains("cut off"), "{words}");
    assert_eq!(harness.ids().await, [0, 1, 2, 7]);
}

#[tokio::test]
async fn a_log_wiped_while_it_is_read_stops_its_partition_and_the_other_goes_on() {
    let mut harness = Harness::new(2);
    harness.config.flush_rows = 1;
    let running = harness.start();
    harness.produce(0, &[1]).await;
    harness.committed(0, 0).await;
    harness.log.faults().wipe();
    eventually("it is told", async || running.ready().is_err_and(|words| words.contains("stopped"))).await;
    harness.produce(1, &[2]).await;
    harness.committed(1, 0).await;
    let words = running.ready().unwrap_err();
    assert!(words.contains("partition 0 stopped") && words.contains("wiped"), "{words}");
    running.stop().await;
    assert_eq!(harness.ids().await, [1, 2]);
}

#[tokio::test]
async fn records_that_were_read_but_not_committed_and_then_cut_off_never_reach_the_table() {
    let harness = Harness::new(1);
    harness.produce(0, &[1]).await;
    harness.drain().await;
    let group = Group::over(&harness);
    let running = harness.start_on(group.clone());
    harness.produce(0, &[2]).await;
    harness.produce(0, &[3]).await;
    group.read_up_to(0, 3).await;
    let seeks = group.seeks(0);
    harness.log.faults().truncate(0, 2);
    eventually("it starts again from the table", async || group.seeks(0) > seeks).await;
    harness.produce(0, &[4]).await;
    running.stop().await;
    assert_eq!(harness.ids().await, [1, 2, 4]);
}

#[tokio::test]
async fn a_hole_above_the_position_is_never_jumped() {
    let harness = Harness::new(2);
    harness.produce(0, &[1]).await;
    harness.drain().await;
    for id in 2..6 {
        harness.produce(0, &[id]).await;
    }
    harness.log.faults().drop_below(0, 3);
    harness.produce(1, &[9]).await;
    let words = words(&harness.drain().await);
    assert!(words.contains("partition 0 stopped") && words.contains("records 1..3 are gone"), "{words}");
    assert_eq!(harness.ids().await, [1, 9]);
}

#[tokio::test]
async fn fresh_tables_do_not_begin_in_the_middle_of_a_log() {
    let harness = Harness::new(1);
    for id in 0..4 {
        harness.produce(0, &[id]).await;
    }
    harness.log.faults().drop_below(0, 2);
    let words = words(&harness.drain().await);
    assert!(words.contains("partition 0 stopped") && words.contains("records 0..2 are gone"), "{words}");
    assert_eq!(harness.ids().await, [] as [u128; 0]);
}

#[tokio::test]
async fn a_log_with_another_number_of_partitions_is_refused_in_words() {
    let mut harness = Harness::new(2);
    harness.drain().await;
    harness.log = log::memory::Log::new(crate::harness::TOPIC, 3, harness.clock.clone());
    let Error::Lake(error @ lake::table::Error::Incompatible { .. }) = harness.fail().await else {
        panic!("it is incompatible")
    };
    let words = error.to_string();
    assert!(words.contains("2 partitions") && words.contains("has 3"), "{words}");
}
