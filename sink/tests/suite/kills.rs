//! Killed anywhere, as often as one likes: what the tables hold is what one undisturbed run would have written.
use crate::harness::{Harness, NOON, ndjson, record};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::VecDeque;
use std::time::Duration;

const PARTITIONS: u32 = 3;
const WINDOW: usize = 12;

/// What a log must come to, told by the plainest code: each partition's previous rows in a queue.
#[derive(Default)]
struct Model {
    windows: [VecDeque<u128>; PARTITIONS as usize],
    rows: Vec<(i32, i64, i64, u128)>,
    dead: Vec<(i32, i64, Option<i64>)>,
}

impl Model {
    fn read(&mut self, partition: u32, offset: u64, ids: &[u128]) {
        let window = &mut self.windows[partition as usize];
        for (row, id) in ids.iter().enumerate() {
            if !window.contains(id) {
                self.rows.push((partition as i32, offset as i64, row as i64, *id));
            }
            window.push_back(*id);
            if window.len() > WINDOW {
                window.pop_front();
            }
        }
    }
}

/// Records with copies near and far, and some that nobody can read.
async fn fill(harness: &Harness, random: &mut StdRng, model: &mut Model, records: usize) {
    for _ in 0..records {
        let partition = random.random_range(0..PARTITIONS);
        if random.random_range(0..8) == 0 {
            let offset = harness.append(partition, ndjson("neither json nor anything else")).await;
            model.dead.push((partition as i32, offset as i64, Some(0)));
            continue;
        }
        let count = random.random_range(1..6);
        let ids: Vec<u128> = (0..count).map(|_| random.random_range(0..60)).collect();
        let events: Vec<(u128, i64)> = ids.iter().map(|id| (*id, NOON)).collect();
        let offset = harness.append(partition, record(&events)).await;
        model.read(partition, offset, &ids);
    }
}

async fn killed_again_and_again(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut harness = Harness::new(PARTITIONS);
    harness.dedup_rows = WINDOW;
    harness.config.flush_rows = random.random_range(4..25);
    let mut model = Model::default();
    for _ in 0..6 {
        fill(&harness, &mut random, &mut model, 12).await;
        let running = harness.start();
        if random.random_bool(0.5) {
            running.shutdown.cancel();
        }
        tokio::time::sleep(Duration::from_micros(random.random_range(0..90_000))).await;
        running.kill().await;
    }
    harness.drain().await;
    model.rows.sort();
    assert_eq!(harness.places().await, model.rows, "seed {seed}");
    model.dead.sort();
    let dead: Vec<_> = harness.dead_rows().await.iter().map(|dead| (dead.partition, dead.offset, dead.row)).collect();
    assert_eq!(dead, model.dead, "seed {seed}");
    let mut totals = 0;
    for partition in 0..PARTITIONS {
        totals += harness.position(partition).await.map_or(0, |position| position.rows);
    }
    assert_eq!(totals, model.rows.len() as i64, "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_every_row_is_there_once() {
    for seed in 0..20 {
        killed_again_and_again(seed).await;
    }
}
