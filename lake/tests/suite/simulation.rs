//! A week of flushes against the planner: how many files stay, how often a byte is written.
use lake::table::ActiveFile;
use lake::upkeep::{Options, plan};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet, HashSet};

const FLUSH_MS: i64 = 10_000;
const FLUSHES: i64 = 7 * 24 * 360;
const DAY_MS: i64 = 86_400_000;
/// Columns' footers and dictionaries of a file, and a row, bytes: as small files of ours have them.
const FILE_BYTES: u64 = 16_000;
const ROW_BYTES: u64 = 50;

/// Files by day; a plan looks at each day for itself, so only days with news are planned each minute.
#[derive(Default)]
struct Lake {
    days: BTreeMap<i64, Vec<ActiveFile>>,
    news: BTreeSet<i64>,
    made: u64,
    flushed_bytes: u64,
    written_bytes: u64,
}

impl Lake {
    fn add(&mut self, day: i64, rows: u64, now_ms: i64) -> u64 {
        self.made += 1;
        let bytes = FILE_BYTES + rows * ROW_BYTES;
        let partition_values = BTreeMap::from([("event_date".to_owned(), Some(format!("{day:05}")))]);
        let path = format!("part-{:09}", self.made);
        let file = ActiveFile { path, partition_values, bytes, rows: Some(rows), modification_time: now_ms };
        self.days.entry(day).or_default().push(file);
        self.news.insert(day);
        self.written_bytes += bytes;
        bytes
    }

    fn files(&self) -> usize {
        self.days.values().map(Vec::len).sum()
    }

    /// One minute's upkeep: everything that is planned, of the days with news; once an hour of all.
    fn upkeep(&mut self, now_ms: i64, options: &Options) {
        let news = std::mem::take(&mut self.news);
        let days = if now_ms % 3_600_000 < 60_000 { self.days.keys().copied().collect() } else { news };
        for day in days {
            let Some(files) = self.days.get_mut(&day) else { continue };
            let groups = plan(files, options, now_ms);
            let removed: HashSet<&str> = groups.iter().flatten().map(|file| file.path.as_str()).collect();
            files.retain(|file| !removed.contains(file.path.as_str()));
            for group in &groups {
                self.add(day, group.iter().filter_map(|file| file.rows).sum(), now_ms);
            }
        }
    }
}

/// Rows of one flush by their age in days: 92% of today, most others of the three days before, a trickle to 30 days.
fn spread(random: &mut StdRng, rows: u64) -> BTreeMap<i64, u64> {
    let mut days = BTreeMap::from([(0, rows * 92 / 100)]);
    for _ in 0..random.random_range(0..4) {
        *days.entry(random.random_range(1..=3)).or_default() += rows * 2 / 100;
    }
    for _ in 0..random.random_range(0..3) {
        *days.entry(random.random_range(4..=30)).or_default() += random.random_range(1..20);
    }
    days
}

fn a_week_leaves_few_files_and_rewrites_each_byte_a_few_times(rows_per_flush: u64) {
    let mut random = StdRng::seed_from_u64(7);
    let (mut lake, options, mut most) = (Lake::default(), Options::default(), 0);
    for flush in 0..FLUSHES {
        let now_ms = 400 * DAY_MS + flush * FLUSH_MS;
        for (age, rows) in spread(&mut random, rows_per_flush) {
            lake.flushed_bytes += lake.add(now_ms / DAY_MS - age, rows, now_ms);
        }
        most = most.max(lake.files());
        if flush % 6 == 5 {
            lake.upkeep(now_ms, &options);
        }
    }
    let amplification = lake.written_bytes as f64 / lake.flushed_bytes as f64;
    println!("{rows_per_flush} rows a flush: at most {most} active files, each byte written {amplification:.2} times");
    assert!(most < 20_000, "{most} active files");
    assert!(amplification < 6.0, "{amplification}");
}

#[test]
fn a_week_at_20_events_a_second_stays_small() {
    a_week_leaves_few_files_and_rewrites_each_byte_a_few_times(200);
}

#[test]
fn a_week_at_10_000_events_a_second_stays_small() {
    a_week_leaves_few_files_and_rewrites_each_byte_a_few_times(100_000);
}

#[test]
fn without_merging_a_week_of_flushes_is_far_too_many_files() {
    let mut random = StdRng::seed_from_u64(7);
    let files: usize = (0..FLUSHES).map(|_| spread(&mut random, 200).len()).sum();
    assert!(files > 100_000, "{files}: the simulation is too kind to prove anything");
}
