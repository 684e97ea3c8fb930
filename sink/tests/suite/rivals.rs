//! Two sinks that both believe that the partitions are theirs.
use crate::harness::Harness;

/// A zombie loses the compare-and-swap, throws its rows away, and reads again from what the table says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sinks_on_the_same_tables_write_each_row_once() {
    let mut harness = Harness::new(2);
    harness.config.flush_rows = 5;
    let (one, other) = (harness.start(), harness.start());
    let mut expected = Vec::new();
    for round in 0_u128..60 {
        // The third is a copy of an event two rounds ago, in the same partition.
        let ids = [round * 3, round * 3 + 1, if round < 2 { round } else { round - 2 } * 3];
        harness.produce(round as u32 % 2, &ids).await;
        expected.extend(&ids[..2]);
        if round % 10 == 9 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    tokio::join!(one.stop(), other.stop());
    expected.sort();
    assert_eq!(harness.ids().await, expected);
    let mut rows = 0;
    for partition in 0..2 {
        rows += harness.position(partition).await.unwrap().rows;
    }
    assert_eq!(rows, expected.len() as i64);
}
