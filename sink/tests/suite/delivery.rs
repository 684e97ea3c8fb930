//! What reaches `events`.
use crate::harness::{DATE, HOUR, Harness, NOON, Position, Row, TOPIC, line, ndjson, record};
use std::collections::BTreeSet;

#[tokio::test]
async fn an_event_reaches_the_table_with_the_place_that_it_came_from() {
    let harness = Harness::new(2);
    harness.produce(1, &[7, 8]).await;
    harness.produce(1, &[9]).await;
    harness.drain().await;
    let row = |offset, row, id| Row { partition: 1, offset, row, id, topic: TOPIC.to_owned(), date: DATE.to_owned() };
    assert_eq!(harness.rows().await, [row(0, 0, 7), row(0, 1, 8), row(1, 0, 9)]);
    let position = Position { last: 1, dedup: 0, rows: 3, duplicates: 0, dead_letters: 0 };
    assert_eq!(harness.position(1).await, Some(position));
    assert_eq!(harness.position(0).await, None);
}

#[tokio::test]
async fn a_record_of_json_that_others_produced_becomes_rows_too() {
    let harness = Harness::new(1);
    harness.append(0, ndjson(&(line(1) + &line(2)))).await;
    harness.drain().await;
    assert_eq!(harness.dead_rows().await, []);
    assert_eq!(harness.places().await, [(0, 0, 0, 1), (0, 0, 1, 2)]);
}

#[tokio::test]
async fn each_date_and_flush_is_one_file() {
    let harness = Harness::new(2);
    harness.append(0, record(&[(1, NOON), (2, NOON - 12 * HOUR - 1), (3, NOON)])).await;
    harness.append(1, record(&[(4, NOON - 12 * HOUR), (5, NOON - 20 * HOUR)])).await;
    harness.drain().await;
    let dates: Vec<(u128, String)> = harness.rows().await.into_iter().map(|row| (row.id, row.date)).collect();
    let (today, yesterday) = (DATE.to_owned(), "2026-11-21".to_owned());
    let expected = [(1, today.clone()), (2, yesterday.clone()), (3, today.clone()), (4, today), (5, yesterday)];
    assert_eq!(dates, expected);
    assert_eq!(harness.events().await.unwrap().files().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_row_of_a_mixed_record_keeps_its_number_in_the_record() {
    let harness = Harness::new(1);
    harness.append(0, record(&[(1, NOON), (1, NOON), (2, NOON - 24 * HOUR), (3, NOON)])).await;
    harness.drain().await;
    assert_eq!(harness.places().await, [(0, 0, 0, 1), (0, 0, 2, 2), (0, 0, 3, 3)]);
}

#[tokio::test]
async fn a_copy_within_the_window_is_dropped_and_counted() {
    let harness = Harness::new(1);
    harness.produce(0, &[1, 2, 1]).await;
    harness.produce(0, &[2, 3]).await;
    harness.drain().await;
    assert_eq!(harness.ids().await, [1, 2, 3]);
    let position = harness.position(0).await.unwrap();
    assert_eq!((position.rows, position.duplicates), (3, 2));
}

#[tokio::test]
async fn the_same_id_in_another_partition_is_another_window() {
    let harness = Harness::new(2);
    harness.produce(0, &[1]).await;
    harness.produce(1, &[1]).await;
    harness.drain().await;
    assert_eq!(harness.ids().await, [1, 1]);
}

#[tokio::test]
async fn a_full_buffer_is_flushed_without_waiting_for_its_age() {
    let mut harness = Harness::new(1);
    harness.config.flush_rows = 10;
    let running = harness.start();
    for id in 0..10 {
        harness.produce(0, &[id]).await;
    }
    harness.committed(0, 9).await;
    harness.produce(0, &[10]).await;
    running.stop().await;
    assert_eq!(harness.ids().await, (0..11).collect::<Vec<u128>>());
}

#[tokio::test]
async fn a_buffer_is_flushed_at_its_age() {
    let mut harness = Harness::new(1);
    harness.config.flush_age_ms = 20;
    let running = harness.start();
    harness.produce(0, &[1]).await;
    harness.committed(0, 0).await;
    harness.produce(0, &[2]).await;
    harness.committed(0, 1).await;
    assert_eq!(running.ready(), Ok(()));
    running.kill().await;
    assert_eq!(harness.ids().await, [1, 2]);
}

#[tokio::test]
async fn a_shutdown_brings_everything_that_is_in_the_log_to_the_table() {
    let harness = Harness::new(4);
    let running = harness.start();
    for id in 0..200 {
        harness.produce(id as u32 % 4, &[id, id + 1000]).await;
    }
    running.stop().await;
    let ids: BTreeSet<u128> = harness.ids().await.into_iter().collect();
    assert_eq!(ids, (0..200).chain(1000..1200).collect());
}

#[tokio::test]
async fn an_idle_sink_commits_nothing() {
    let mut harness = Harness::new(2);
    harness.config.flush_age_ms = 1;
    harness.produce(0, &[1]).await;
    harness.drain().await;
    let version = harness.events().await.unwrap().version();
    let running = harness.start();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    running.stop().await;
    assert_eq!(harness.events().await.unwrap().version(), version);
}
