//! A week of flushes against upkeep at the pace that a sink keeps: how many files stay, how often a byte is written.
//!
//! Real are the plan, what one pass takes of it, and the pace ([`Pace::default`], one task for both tables). Files are
//! only counted, and a merge takes the time that its bytes take.
use lake::table::ActiveFile;
use lake::upkeep::{Options, Pace, one_pass, plan};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet, HashSet};

const FLUSH_MS: i64 = 10_000;
const FLUSHES: i64 = 7 * 24 * 360;
const DAY_MS: i64 = 86_400_000;
/// What a merge gets through a second, bytes: a busy machine with a slow disk.
const MERGE_BYTES_PER_SECOND: u64 = 20_000_000;

/// What a file and a row take, bytes, as small files of ours have them.
struct Sizes {
    file_bytes: u64,
    row_bytes: u64,
}

const EVENTS: Sizes = Sizes { file_bytes: 16_000, row_bytes: 50 };
/// Few columns, but whole payloads.
const DEAD_LETTERS: Sizes = Sizes { file_bytes: 4_000, row_bytes: 600 };

/// One table's files by day.
struct Table {
    column: &'static str,
    sizes: Sizes,
    days: BTreeMap<i64, Vec<ActiveFile>>,
    newest: BTreeMap<i64, i64>,
    /// Days whose plan may be another than at the last pass; of all others it was empty, and stays so.
    open: BTreeSet<i64>,
    quiet: HashSet<i64>,
    made: u64,
    files: usize,
    files_max: usize,
    flushed_bytes: u64,
    written_bytes: u64,
}

type Groups = Vec<Vec<ActiveFile>>;

impl Table {
    fn new(column: &'static str, sizes: Sizes) -> Table {
        Table {
            column,
            sizes,
            days: BTreeMap::new(),
            newest: BTreeMap::new(),
            open: BTreeSet::new(),
            quiet: HashSet::new(),
            made: 0,
            files: 0,
            files_max: 0,
            flushed_bytes: 0,
            written_bytes: 0,
        }
    }

    fn add(&mut self, day: i64, rows: u64, now_ms: i64) -> u64 {
        self.made += 1;
        let bytes = self.sizes.file_bytes + rows * self.sizes.row_bytes;
        let partition_values = BTreeMap::from([(self.column.to_owned(), Some(format!("{day:05}")))]);
        let path = format!("{day}/part-{:09}", self.made);
        let file = ActiveFile { path, partition_values, bytes, rows: Some(rows), modification_time: now_ms };
        self.days.entry(day).or_default().push(file);
        self.newest.insert(day, now_ms);
        self.open.insert(day);
        self.quiet.remove(&day);
        self.written_bytes += bytes;
        self.files += 1;
        bytes
    }

    fn flush(&mut self, rows_by_day: impl IntoIterator<Item = (i64, u64)>, now_ms: i64) {
        for (day, rows) in rows_by_day {
            self.flushed_bytes += self.add(day, rows, now_ms);
        }
        self.files_max = self.files_max.max(self.files);
    }

    /// What a pass that begins now merges, and whether more waits.
    fn plan(&mut self, options: &Options, now_ms: i64) -> (Groups, bool) {
        for (day, newest) in &self.newest {
            if now_ms - newest >= options.quiet_ms && self.quiet.insert(*day) {
                self.open.insert(*day);
            }
        }
        let files: Vec<ActiveFile> = self.open.iter().flat_map(|day| &self.days[day]).cloned().collect();
        let planned = plan(&files, options, now_ms);
        self.open = planned.iter().map(|group| day_of(&group[0])).collect();
        one_pass(planned, options)
    }

    /// The commit of a pass.
    fn merged(&mut self, groups: &Groups, now_ms: i64) {
        let removed: HashSet<&str> = groups.iter().flatten().map(|file| file.path.as_str()).collect();
        for day in groups.iter().map(|group| day_of(&group[0])).collect::<BTreeSet<_>>() {
            let files = self.days.get_mut(&day).unwrap();
            files.retain(|file| !removed.contains(file.path.as_str()));
        }
        self.files -= removed.len();
        for group in groups {
            self.add(day_of(&group[0]), group.iter().filter_map(|file| file.rows).sum(), now_ms);
        }
    }

    fn verdict(&self, what: &str) {
        let amplification = self.written_bytes as f64 / self.flushed_bytes as f64;
        let (most, left) = (self.files_max, self.files);
        println!("{what}: at most {most} active files, {left} at the end, each byte written {amplification:.2} times");
        let kept: usize = self.days.values().map(Vec::len).sum();
        assert_eq!(kept, self.files);
        assert!(most < 20_000, "{what}: {most} active files");
        assert!(amplification < 6.0, "{what}: {amplification}");
    }
}

fn day_of(file: &ActiveFile) -> i64 {
    file.path.split_once('/').unwrap().0.parse().unwrap()
}

/// The sink's upkeep task: both tables, one after the other, then a wait.
enum Task {
    Waiting { until_ms: i64 },
    Merging { until_ms: i64, groups: [Groups; 2], more: bool },
}

impl Task {
    /// All that it does up to `now_ms`.
    fn run(&mut self, tables: &mut [Table; 2], now_ms: i64) {
        let (options, pace) = (Options::default(), Pace::default());
        loop {
            *self = match self {
                Task::Waiting { until_ms } if *until_ms <= now_ms => {
                    let [(events, more), (dead, more_dead)] = tables.each_mut().map(|t| t.plan(&options, *until_ms));
                    let bytes: u64 = events.iter().chain(&dead).flatten().map(|file| file.bytes).sum();
                    let took_ms = (bytes * 1000 / MERGE_BYTES_PER_SECOND) as i64;
                    Task::Merging { until_ms: *until_ms + took_ms, groups: [events, dead], more: more || more_dead }
                }
                Task::Merging { until_ms, groups, more } if *until_ms <= now_ms => {
                    for (table, groups) in tables.iter_mut().zip(groups.iter()) {
                        table.merged(groups, *until_ms);
                    }
                    let wait = if *more { pace.busy } else { pace.idle };
                    Task::Waiting { until_ms: *until_ms + wait.as_millis() as i64 }
                }
                _ => return,
            };
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

/// Each flush has dead letters too: they are of the day on which they came.
fn a_week_leaves_few_files_and_rewrites_each_byte_a_few_times(rows_per_flush: u64, dead_per_flush: u64) {
    let mut random = StdRng::seed_from_u64(7);
    let mut tables = [Table::new("event_date", EVENTS), Table::new("received_date", DEAD_LETTERS)];
    let mut task = Task::Waiting { until_ms: 400 * DAY_MS };
    for flush in 0..FLUSHES {
        let now_ms = 400 * DAY_MS + flush * FLUSH_MS;
        task.run(&mut tables, now_ms);
        let (today, rows) = (now_ms / DAY_MS, spread(&mut random, rows_per_flush));
        tables[0].flush(rows.into_iter().map(|(age, rows)| (today - age, rows)), now_ms);
        tables[1].flush([(today, random.random_range(1..=dead_per_flush))], now_ms);
    }
    tables[0].verdict(&format!("events, {rows_per_flush} rows a flush"));
    tables[1].verdict(&format!("dead_letters, up to {dead_per_flush} rows a flush"));
}

#[test]
fn a_week_at_20_events_a_second_stays_small() {
    a_week_leaves_few_files_and_rewrites_each_byte_a_few_times(200, 2);
}

#[test]
fn a_week_at_10_000_events_a_second_stays_small() {
    a_week_leaves_few_files_and_rewrites_each_byte_a_few_times(100_000, 1000);
}

#[test]
fn without_merging_a_week_of_flushes_is_far_too_many_files() {
    let mut random = StdRng::seed_from_u64(7);
    let files: usize = (0..FLUSHES).map(|_| spread(&mut random, 200).len()).sum();
    assert!(files > 100_000, "{files}: the simulation is too kind to prove anything");
}
