//! What can't be decoded, once, and never at the cost of its neighbours.
use crate::harness::{DATE, Harness, NOON, eventually, line, ndjson, record};
use lake::location::Location;
use std::fs;

const BAD: &str = "{\"event_type\":\"play\"}";

#[tokio::test]
async fn a_bad_row_is_a_dead_letter_and_its_neighbours_are_rows() {
    let harness = Harness::new(1);
    harness.append(0, ndjson(&format!("{}{BAD}\n{}", line(1), line(2)))).await;
    harness.drain().await;
    assert_eq!(harness.places().await, [(0, 0, 0, 1), (0, 0, 2, 2)]);
    let dead = harness.dead_rows().await;
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].partition, dead[0].offset, dead[0].row), (0, 0, Some(1)));
    assert_eq!(dead[0].payload, BAD.as_bytes());
    assert_eq!(dead[0].date, DATE);
    assert!(dead[0].reason.contains("event_time"), "{}", dead[0].reason);
    assert_eq!(harness.position(0).await.unwrap().dead_letters, 1);
}

#[tokio::test]
async fn a_record_that_nobody_can_read_is_a_dead_letter_as_a_whole() {
    let harness = Harness::new(1);
    harness.produce(0, &[1]).await;
    let mut torn = record(&[(5, NOON)]);
    torn.payload = torn.payload.slice(..torn.payload.len() / 2);
    harness.append(0, torn.clone()).await;
    harness.produce(0, &[2]).await;
    harness.drain().await;
    assert_eq!(harness.ids().await, [1, 2]);
    let dead = harness.dead_rows().await;
    assert_eq!(dead.iter().map(|dead| (dead.offset, dead.row)).collect::<Vec<_>>(), [(1, None)]);
    assert_eq!(dead[0].payload, torn.payload);
}

/// `events` can't take its file: the flush stands between its two commits, and there the process dies.
#[tokio::test]
async fn dying_between_the_two_commits_neither_doubles_nor_loses_a_dead_letter() {
    let harness = Harness::new(1);
    harness.drain().await;
    let Location::Local(events) = harness.lake().events else { panic!("the harness is local") };
    let obstacle = events.join(format!("event_date={DATE}"));
    fs::write(&obstacle, "a file where a folder belongs").unwrap();
    harness.append(0, ndjson(&format!("{}{BAD}\n", line(1)))).await;
    let (running, before) = (harness.start(), harness.dead_version().await);
    running.shutdown.cancel();
    eventually("dead letters are committed", async || harness.dead_version().await > before).await;
    running.kill().await;
    assert_eq!(harness.dead_rows().await.len(), 1);
    assert_eq!(harness.position(0).await, None, "events was not committed");

    fs::remove_file(&obstacle).unwrap();
    harness.append(0, ndjson(&format!("{BAD}\n{}", line(2)))).await;
    harness.drain().await;
    let dead: Vec<(i64, Option<i64>)> = harness.dead_rows().await.iter().map(|dead| (dead.offset, dead.row)).collect();
    assert_eq!(dead, [(0, Some(1)), (1, Some(0))]);
    assert_eq!(harness.places().await, [(0, 0, 0, 1), (0, 1, 1, 2)]);
    assert_eq!(harness.position(0).await.unwrap().dead_letters, 2);
}
