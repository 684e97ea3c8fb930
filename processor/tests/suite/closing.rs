//! Windows that close: into the lake, once, whatever stops the process.
use crate::harness::{Harness, NOON, Running, SECOND, eventually, rollup};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use lake::tables::PARTITIONS;
use processor::Error;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use uuid::Uuid;

const BY_DEVICE: &str = "select device_type, count(*) as n, sum(seq) as total from events group by device_type";

fn event(id: u128, seconds: i64, device: &str) -> Value {
    json!({"event_id": Uuid::from_u128(id), "event_type": "heartbeat", "event_time": (NOON + seconds * SECOND) / 1_000,
           "session_id": "s", "device_type": device, "seq": 1})
}

/// `(seconds after noon at which the window begins, device, n)`, sorted.
async fn counts(harness: &Harness, name: &str) -> Vec<(i64, String, i64)> {
    let mut counts = Vec::new();
    for batch in harness.rows(name).await {
        let starts = batch.column_by_name("window_start").unwrap().as_primitive::<TimestampMicrosecondType>();
        let devices = batch.column_by_name("device_type").unwrap().as_string::<i32>();
        let numbers = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            counts.push(((starts.value(row) - NOON) / SECOND, devices.value(row).to_owned(), numbers.value(row)));
        }
    }
    counts.sort();
    counts
}

async fn closed(harness: &Harness, name: &str, windows: usize) {
    eventually("the windows are closed", async || {
        let counts = counts(harness, name).await;
        counts.iter().map(|(start, ..)| start).collect::<BTreeSet<_>>().len() >= windows
    })
    .await;
}

fn of(start: i64, device: &str, n: i64) -> (i64, String, i64) {
    (start, device.to_owned(), n)
}

#[tokio::test]
async fn a_window_is_in_the_lake_once_it_is_complete_and_says_of_what() {
    let harness = Harness::new(2, vec![rollup("devices", BY_DEVICE)]);
    let running = harness.start();
    harness.at(5);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 2, "web"), event(3, 3, "tv")]).await;
    harness.produce(1, &[event(4, 4, "tv")]).await;
    harness.at(31);
    harness.produce(0, &[event(5, 12, "tv"), event(6, 31, "tv")]).await;
    harness.produce(1, &[event(7, 31, "web")]).await;
    closed(&harness, "devices", 2).await;
    assert_eq!(counts(&harness, "devices").await, [of(0, "tv", 3), of(0, "web", 1), of(10, "tv", 1)]);
    let rows = harness.rows("devices").await;
    let positions = rows[0].column_by_name("positions").unwrap().as_map().value(0);
    assert_eq!(positions.column(0).as_primitive::<Int32Type>().values(), &[0, 1]);
    assert_eq!(positions.column(1).as_primitive::<Int64Type>().values(), &[2, 2]);
    let time = |name: &str| rows[0].column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>().value(0);
    assert_eq!((time("window_end") - time("window_start"), time("closed_at")), (10 * SECOND, NOON + 31 * SECOND));
    assert_eq!(rows[0].column_by_name("revision").unwrap().as_primitive::<Int32Type>().value(0), 1);
    assert_eq!(running.ready(), Ok(()));
    running.stop().await;
}

#[tokio::test]
async fn a_copy_is_counted_once_also_when_it_comes_after_a_restart() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    harness.produce(0, &[event(1, 0, "tv"), event(2, 0, "tv"), event(1, 0, "tv")]).await;
    let running = harness.start();
    harness.at(11);
    harness.produce(0, &[event(3, 11, "tv")]).await;
    closed(&harness, "devices", 1).await;
    running.kill().await;
    harness.produce(0, &[event(3, 11, "tv"), event(2, 11, "tv"), event(4, 12, "tv")]).await;
    let running = harness.start();
    harness.at(21);
    harness.produce(0, &[event(5, 21, "tv")]).await;
    closed(&harness, "devices", 2).await;
    assert_eq!(counts(&harness, "devices").await, [of(0, "tv", 2), of(10, "tv", 2)]);
    running.stop().await;
}

#[tokio::test]
async fn an_event_that_comes_after_its_window_was_closed_does_not_open_it_again_also_not_after_a_restart() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let mut running = harness.start();
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 11, "tv")]).await;
    closed(&harness, "devices", 1).await;
    for (late, restart) in [(3, false), (4, true)] {
        harness.produce(0, &[event(late, 1, "tv")]).await;
        harness.at(late as i64 * 10 + 1);
        if restart {
            running.kill().await;
            running = harness.start();
        }
        harness.produce(0, &[event(late + 100, late as i64 * 10 + 1, "tv")]).await;
        closed(&harness, "devices", late as usize - 1).await;
    }
    assert_eq!(counts(&harness, "devices").await, [of(0, "tv", 1), of(10, "tv", 1), of(30, "tv", 1)]);
    running.stop().await;
}

const WINDOW_ROWS: usize = 20;

/// What the log must come to.
#[derive(Default)]
struct Model {
    counts: BTreeMap<(i64, String), i64>,
    /// By partition: the rows read last, copies too.
    recent: [VecDeque<Value>; 2],
    number: u128,
}

impl Model {
    /// The next row of a partition: new, or a copy of one that the dedup window holds.
    fn row(&mut self, random: &mut StdRng, partition: u32, second: i64) -> Value {
        let recent = &mut self.recent[partition as usize];
        let copy = random.random_bool(0.3).then(|| recent.get(random.random_range(0..WINDOW_ROWS)).cloned()).flatten();
        let row = copy.unwrap_or_else(|| {
            let device = ["tv", "web", "mobile"][random.random_range(0..3)];
            let at = (second - random.random_range(0..15)).max(0);
            self.number += 1;
            *self.counts.entry((at.div_euclid(10) * 10, device.to_owned())).or_default() += 1;
            event(self.number, at, device)
        });
        recent.push_front(row.clone());
        recent.truncate(WINDOW_ROWS);
        row
    }

    /// Records as time goes by; nothing comes later than the lateness.
    async fn fill(&mut self, harness: &Harness, random: &mut StdRng, from: i64, to: i64) {
        for second in from..to {
            harness.at(second);
            let partition = random.random_range(0..2_u32);
            let rows: Vec<Value> =
                (0..random.random_range(1..6)).map(|_| self.row(random, partition, second)).collect();
            harness.produce(partition, &rows).await;
        }
    }
}

async fn commits(harness: &Harness) -> u64 {
    match harness.table("devices").await {
        Some(table) => table.version(),
        None => 0,
    }
}

async fn killed_again_and_again(seed: u64, sparse: bool) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut definitions = vec![rollup("devices", BY_DEVICE), rollup("hopping", BY_DEVICE)];
    definitions[1].slide = Some(Duration::from_secs(5));
    definitions.iter_mut().for_each(|definition| definition.allowed_lateness = Duration::from_secs(20));
    let mut harness = Harness::new(2, definitions);
    (harness.dedup_rows, harness.sparse) = (WINDOW_ROWS, sparse);
    let mut model = Model::default();
    for round in 0..8 {
        let before = commits(&harness).await;
        let running: Running = harness.start();
        model.fill(&harness, &mut random, round * 20, round * 20 + 20).await;
        // Either at some commit, or anywhere at the start.
        if random.random_bool(0.5) && round > 2 {
            eventually("there is a commit", async || commits(&harness).await > before).await;
        }
        tokio::time::sleep(Duration::from_micros(random.random_range(0..30_000))).await;
        // Told to stop, it may be within a commit as well.
        match random.random_bool(0.5) {
            true => running.stop().await,
            false => running.kill().await,
        }
    }
    let model = model.counts;
    harness.at(1_000);
    for partition in 0..2 {
        harness.produce(partition, &[event(u128::MAX - u128::from(partition), 1_000, "end")]).await;
    }
    let running = harness.start();
    let wanted: Vec<(i64, String, i64)> =
        model.iter().map(|((start, device), n)| (*start, device.clone(), *n)).collect();
    let last = wanted.last().unwrap().0;
    for name in ["devices", "hopping"] {
        eventually("all is closed", async || counts(&harness, name).await.iter().any(|(start, ..)| *start >= last))
            .await;
    }
    assert_eq!(counts(&harness, "devices").await, wanted, "seed {seed}");
    // Each event is in two windows that hop, and no window came out twice.
    let hopping = counts(&harness, "hopping").await;
    let all = |counts: &[(i64, String, i64)]| counts.iter().map(|(.., n)| n).sum::<i64>();
    assert_eq!(all(&hopping), 2 * all(&wanted), "seed {seed}");
    let windows: BTreeSet<_> = hopping.iter().map(|(start, device, _)| (start, device)).collect();
    assert_eq!(windows.len(), hopping.len(), "seed {seed}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_or_stopped_at_any_moment_every_window_comes_out_once_and_right() {
    for seed in 0..10 {
        killed_again_and_again(seed, seed % 2 == 1).await;
    }
}

/// Data files of a rollup's table, committed or not.
fn written(harness: &Harness) -> usize {
    let files = std::fs::read_dir(harness.dir.path().join("lake/rollups/devices")).into_iter().flatten();
    files
        .filter(|file| file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|kind| kind == "parquet")))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_within_a_commit_it_loses_no_window() {
    let mut harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    // A stop looks for what is complete once more, and would commit where it has come to at once.
    harness.commit = Duration::ZERO;
    const ROUNDS: i64 = 40;
    for round in 0..ROUNDS {
        let running = harness.start();
        eventually("it is ready", async || running.ready().is_ok()).await;
        let before = written(&harness);
        harness.at(round * 10 + 11);
        let rows =
            [event(round as u128 * 2 + 1, round * 10 + 1, "tv"), event(round as u128 * 2 + 2, round * 10 + 11, "web")];
        harness.produce(0, &rows).await;
        // Its file is there, and most times not committed yet.
        while written(&harness) == before {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        running.stop().await;
    }
    harness.at(1_000);
    harness.produce(0, &[event(u128::MAX, 1_000, "end")]).await;
    let running = harness.start();
    closed(&harness, "devices", ROUNDS as usize + 1).await;
    let all: i64 = counts(&harness, "devices").await.iter().map(|(.., n)| n).sum();
    assert_eq!(all, 2 * ROUNDS);
    running.stop().await;
}

#[tokio::test]
async fn two_at_once_commit_every_window_once() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let running = [harness.start(), harness.start()];
    for second in 0..60 {
        harness.at(second);
        harness.produce(0, &[event(second as u128 + 1, second, "tv")]).await;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    closed(&harness, "devices", 5).await;
    let wanted: Vec<_> = (0..5).map(|window| of(window * 10, "tv", 10)).collect();
    assert_eq!(counts(&harness, "devices").await[..5], wanted);
    for running in running {
        running.stop().await;
    }
}

#[tokio::test]
async fn of_two_the_one_that_stands_by_takes_over_when_the_other_is_gone() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let mut running = vec![harness.start(), harness.start()];
    let mut second = 0;
    for round in 0..2 {
        let windows = round * 4 + 4;
        while counts(&harness, "devices").await.len() < windows as usize {
            harness.at(second);
            harness.produce(0, &[event(second as u128 + 1, second, "tv")]).await;
            second += 1;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        assert!(running.iter().all(|one| one.ready().is_ok()), "standing by is no trouble");
        // Whichever it is that works: one of the two rounds kills it.
        running.remove(0).kill().await;
        running.push(harness.start());
    }
    let counts = counts(&harness, "devices").await;
    let wanted: Vec<_> = (0..8).map(|window| of(window * 10, "tv", 10)).collect();
    assert_eq!(counts[..8], wanted);
    for running in running {
        running.stop().await;
    }
}

#[tokio::test]
async fn a_log_that_was_made_anew_stops_the_processor_in_words() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let running = harness.start();
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 11, "tv")]).await;
    closed(&harness, "devices", 1).await;
    running.stop().await;
    harness.log.faults().wipe();
    harness.produce(0, &[event(3, 11, "tv")]).await;
    let running = harness.start();
    eventually("it says so", async || running.ready().is_err_and(|words| words.contains("made anew"))).await;
    harness.at(50);
    harness.produce(0, &[event(4, 50, "tv")]).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(counts(&harness, "devices").await, [of(0, "tv", 1)]);
    running.stop().await;
}

#[tokio::test]
async fn another_sql_under_the_same_name_is_refused_in_words() {
    let mut harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let running = harness.start();
    eventually("the table is there", async || harness.table("devices").await.is_some()).await;
    assert_eq!(harness.table("devices").await.unwrap().property(PARTITIONS).as_deref(), Some("1"));
    running.stop().await;
    // The second changes a column's type, too: what is said is that the SQL is another.
    for (of, by) in [("from events", "from events where seq > 0"), ("sum(seq)", "avg(seq)")] {
        harness.config.rollups[0].sql = BY_DEVICE.replace(of, by);
        let error = harness.start().fails().await;
        let words = error.to_string();
        assert!(matches!(error, Error::Lake(_)) && words.contains("Give the rollup another name"), "{words}");
    }
}

#[tokio::test]
async fn a_rollup_that_is_added_later_counts_what_the_log_has() {
    let mut harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let running = harness.start();
    harness.at(21);
    harness.produce(0, &[event(1, 1, "tv"), event(2, 11, "tv"), event(3, 21, "tv")]).await;
    closed(&harness, "devices", 2).await;
    running.stop().await;
    harness.config.rollups.push(rollup("later", BY_DEVICE));
    let running = harness.start();
    closed(&harness, "later", 2).await;
    assert_eq!(counts(&harness, "later").await, counts(&harness, "devices").await);
    running.stop().await;
}

#[tokio::test]
async fn where_the_log_has_lost_its_beginning_a_new_rollup_begins_with_the_next_window() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    for id in 1..=3 {
        harness.produce(0, &[event(id, 0, "tv")]).await;
    }
    harness.log.faults().drop_below(0, 2);
    harness.at(15);
    harness.produce(0, &[event(4, 12, "tv")]).await;
    let running = harness.start();
    eventually("it is ready", async || running.ready().is_ok()).await;
    harness.at(31);
    harness.produce(0, &[event(5, 16, "tv"), event(6, 22, "tv"), event(7, 31, "tv")]).await;
    closed(&harness, "devices", 1).await;
    assert_eq!(
        counts(&harness, "devices").await,
        [of(20, "tv", 1)],
        "of the window of 10 it would have missed an event"
    );
    running.stop().await;
}

#[tokio::test]
async fn retention_keeps_what_open_windows_are_made_of() {
    let harness = Harness::new(1, vec![rollup("devices", BY_DEVICE)]);
    let running = harness.start();
    harness.at(11);
    harness.produce(0, &[event(1, 1, "tv")]).await;
    let open = harness.produce(0, &[event(2, 11, "tv")]).await;
    closed(&harness, "devices", 1).await;
    let released = || harness.log.faults().released("processor", 0);
    eventually("what was counted is released", async || released() == Some(open)).await;
    running.stop().await;
}
