//! Any sequence of appends, reads, releases, retention and restarts leaves the log that a list of lists would be.
use crate::harness::{Embedded, Harness, Memory, Settings, append, bounds, read_from, reader_at, release, soon, text};
use log::{Log, Next};
use proptest::prelude::*;
use std::sync::Arc;

const RETENTION_MS: u64 = 10;

#[derive(Debug, Clone)]
enum Step {
    Append {
        partition: u32,
        bytes: usize,
    },
    /// Of the log's length, in 1/100.
    Read {
        partition: u32,
        from: u64,
    },
    Release {
        partition: u32,
        to: u64,
    },
    Retain {
        after_ms: i64,
    },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let partition = 0..2_u32;
    let step = prop_oneof![
        6 => (partition.clone(), prop_oneof![4 => 0..50_usize, 1 => 100_000..400_000_usize])
            .prop_map(|(partition, bytes)| Step::Append { partition, bytes }),
        2 => (partition.clone(), 0..=100_u64).prop_map(|(partition, from)| Step::Read { partition, from }),
        2 => (partition, 0..=100_u64).prop_map(|(partition, to)| Step::Release { partition, to }),
        2 => (0..30_i64).prop_map(|after_ms| Step::Retain { after_ms }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

#[derive(Default)]
struct Model {
    /// Timestamp and payload of every record there ever was.
    records: [Vec<(i64, String)>; 2],
    start: [u64; 2],
    released: [u64; 2],
}

impl Model {
    fn offset(&self, partition: u32, percent: u64) -> u64 {
        let (start, end) = (self.start[partition as usize], self.records[partition as usize].len() as u64);
        start + (end - start) * percent / 100
    }

    async fn read(&self, log: &Arc<dyn Log>, partition: u32, from: u64) {
        let read: Vec<_> = read_from(log, partition, from)
            .await
            .iter()
            .map(|entry| (entry.offset, entry.timestamp, text(entry).to_owned()))
            .collect();
        let expected: Vec<_> = (from..)
            .zip(&self.records[partition as usize][from as usize..])
            .map(|(offset, (timestamp, text))| (offset, *timestamp, text.clone()))
            .collect();
        assert!(read == expected, "partition {partition} from {from}");
    }

    /// Retention may keep more than it must (whole segments), never less.
    async fn retained(&mut self, log: &Arc<dyn Log>, horizon: i64) {
        for partition in 0..2_u32 {
            let index = partition as usize;
            let held = bounds(log, partition).await;
            let old = self.records[index].iter().take_while(|(timestamp, _)| *timestamp < horizon).count() as u64;
            let may_go = old.min(self.released[index]).max(self.start[index]);
            assert!(held.start >= self.start[index] && held.start <= may_go, "{held:?}, {may_go} may go");
            let small = self.records[index].iter().map(|(_, text)| text.len()).sum::<usize>() < 500_000;
            assert!(!small || held.start == may_go, "{held:?}, {may_go} must go");
            assert_eq!(held.end, self.records[index].len() as u64);
            self.start[index] = held.start;
        }
    }
}

async fn walk<H: Harness>(steps: Vec<Step>) {
    let harness = H::new(Settings { retention_ms: RETENTION_MS, ..Settings::default() });
    let mut log = harness.open().await;
    let mut model = Model::default();
    let mut now_ms = 0;
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Append { partition, bytes } => {
                let text = format!("{n}:{}", "x".repeat(bytes));
                let offset = append(&log, partition, &[&text]).await;
                assert_eq!(offset, [model.records[partition as usize].len() as u64]);
                model.records[partition as usize].push((now_ms * 1_000, text));
            }
            Step::Read { partition, from } => model.read(&log, partition, model.offset(partition, from)).await,
            Step::Release { partition, to } => {
                let offset = model.offset(partition, to);
                release(&log, "sink", partition, offset).await;
                model.released[partition as usize] = model.released[partition as usize].max(offset);
            }
            Step::Retain { after_ms } => {
                now_ms += after_ms;
                harness.clock().set(now_ms * 1_000);
                log.retain().await.unwrap();
                model.retained(&log, (now_ms - RETENTION_MS as i64) * 1_000).await;
            }
            Step::Reopen => log = harness.reopen(log).await,
        }
    }
    for partition in 0..2 {
        model.read(&log, partition, model.offset(partition, 0)).await;
    }
    let mut reader = reader_at(&log, None, 0, model.offset(0, 100)).await;
    assert!(matches!(soon(reader.next()).await, Ok(Next::CaughtUp { .. })));
    log.close().await.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_in_memory_is_a_list_of_lists(steps in steps()) {
        runtime().block_on(walk::<Memory>(steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_embedded_log_is_a_list_of_lists(steps in steps()) {
        runtime().block_on(walk::<Embedded>(steps));
    }
}
