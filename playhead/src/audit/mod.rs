//! The audit: proves from the outside that the lake is what the log says, each event once.
//!
//! ```text
//!  table events ──▶ lake_rows ─┐                                     ┌─▶ Report
//!  table dead_letters ─────────┼─▶ ledger (pure: keys, places) ◀─────┤
//!  log, as far as held ────────┘        acked ids                    └─ findings in words
//! ```
//! Then each closed window of a rollup against `events` (`rollups`).
//!
//! It trusts neither the sink's code nor its counters: rows are compared with the log's records one by one, for as long
//! as the log holds them; below that, the table's own totals are compared with what is there.
use crate::config::Config;
use crate::log_source::{Bounds, LogSource};
use crate::outcome::Error;
use lake::table::Table;
use lake::tables::{TxnNames, ended_us, txn_names};
use ledger::{Lacking, Ledger, Verdicts};
use processor::audit::Audited;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

mod acked;
mod files;
mod lake_rows;
mod ledger;
mod log_rows;
pub mod manifest;
mod repairs;
mod rollups;

pub use acked::Acked;

/// Rows whose keys are compared in one pass over the tables; more rows take more passes. A row takes 64 bytes here:
/// 10 M rows are 640 MB.
const ROWS_A_PASS: u64 = 10_000_000;
/// Findings that are spelled out; the rest is only counted.
const FINDINGS_MAX: usize = 100;

/// What an audit found. `ok` only if nothing is wrong.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Nothing is wrong.
    pub ok: bool,
    /// Rows of `events`.
    pub rows: u64,
    /// Distinct (tenant, event_id).
    pub ids: u64,
    /// Rows whose key, or whose place in the log, another row has too.
    pub duplicates: u64,
    /// Rows, records or offsets that should be in the lake and are not, or are and should not be.
    pub gaps: u64,
    /// Distinct ids of the file of acknowledged ids.
    pub acked: u64,
    /// Acknowledged ids that are neither in the lake nor in the log.
    pub missing: u64,
    /// Events that the log held when the audit began, above the lake's position (copies included): nothing is lost, the
    /// next run of the node brings them to the lake. Until then the audit does not pass.
    pub pending: u64,
    /// Files of ours that no commit names.
    pub orphans: u64,
    /// Their bytes.
    pub orphan_bytes: u64,
    /// Rows of the log whose dates are gone from the lake: retention.
    pub expired: u64,
    /// Rows of `dead_letters`.
    pub dead_letters: u64,
    /// Active files of these tables and of the rollups.
    pub files: u64,
    /// Of those, missing or of another size than the table says.
    pub files_wrong: u64,
    /// Closed windows of rollups that are not what their SQL gives of `events`.
    pub windows_wrong: u64,
    /// Each rollup by itself.
    pub rollups: Vec<Audited>,
    /// Each partition by itself.
    pub partitions: Vec<Partition>,
    /// What is wrong, in words (the first hundred).
    pub findings: Vec<String>,
    /// Findings beyond those.
    pub findings_more: u64,
    /// Commands that mend it, each for when the one before has succeeded: rollups are computed of events that are right.
    pub repairs: Vec<String>,
    #[serde(skip)]
    lacking: BTreeMap<u32, Lacking>,
}

/// One partition of the log against the lake.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Partition {
    /// Its number.
    pub partition: u32,
    /// Last offset that the lake has, by its `txn`.
    pub last_offset: Option<u64>,
    /// First offset that the log holds.
    pub log_start: u64,
    /// Next offset of the log, when the audit began; or the lake's, which was further by the time of its snapshot.
    pub log_end: u64,
    /// Rows in `events`.
    pub rows: u64,
    /// Duplicates that the sink dropped, by its total.
    pub duplicates_dropped: u64,
    /// Rows that compaction removed as copies, and retention with their dates, less those that replays added, by the table's
    /// total.
    pub removed: i64,
    /// Rows in `dead_letters`.
    pub dead_letters: u64,
    /// Records that were read from the log and compared.
    pub records_compared: u64,
    /// Offsets missing within the log.
    pub offsets_missing: u64,
    /// Offsets that no record took, where that is no fault: in Kafka markers of transactions have some.
    pub offsets_unused: u64,
}

impl Report {
    fn find(&mut self, words: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(words);
        } else {
            self.findings_more += 1;
        }
    }
}

/// The tables, opened once: all of the audit is about these snapshots.
pub struct Tables {
    /// `events`; `None`: nothing was ever committed.
    pub events: Option<Table>,
    /// `dead_letters`
    pub dead_letters: Option<Table>,
}

impl Tables {
    /// Opens both. `events` first: `dead_letters` is committed before it, so it can only be further on.
    pub async fn open(lake: &sink::Lake) -> Result<Tables, Error> {
        Ok(Tables { events: Table::open(&lake.events).await?, dead_letters: Table::open(&lake.dead_letters).await? })
    }

    /// The next offset that the lake wants of a partition.
    pub async fn next_offset(&self, log: &LogSource, partition: u32) -> Result<u64, Error> {
        let Some(events) = &self.events else { return Ok(0) };
        let last = events.txn(&txn_names(log.cluster(), log.topic(), partition).offset).await?;
        Ok(last.map_or(0, |last| last.unsigned_abs() + 1))
    }
}

/// What the audit is about: what was acknowledged, and what the log held, when it began. What comes while it runs is not
/// its business, or beside a running node it would never pass.
pub struct Begun {
    acked: Acked,
    /// What the log held of each partition.
    pub held: Bounds,
}

impl Begun {
    /// The acknowledged ids first: the log has all of them.
    pub async fn now(log: &LogSource, acked_file: Option<&Path>) -> Result<Begun, Error> {
        let acked = acked_file.map(Acked::read).transpose()?.unwrap_or_default();
        Ok(Begun { acked, held: log.bounds().await? })
    }
}

/// Makes the audit. Beside a running node it waits so long for a lake that lacks what a rollup has counted; `progress` is told how many
/// of how many steps are done.
pub async fn audit(
    config: &Config,
    begun: Begun,
    tables: &Tables,
    rollups: &processor::Lake,
    log: &LogSource,
    (wait, progress): (Duration, &indicatif::ProgressBar),
) -> Result<Report, Error> {
    let Begun { mut acked, held } = begun;
    let mut report = Report::default();
    for table in [&tables.events, &tables.dead_letters].into_iter().flatten() {
        files::check(table, &mut report).await?;
    }
    let dead = lake_rows::dead_letters(tables.dead_letters.as_ref()).await?;
    report.dead_letters = dead.total();
    report.partitions = partitions(tables, log, &held, &mut report).await?;

    let rows_said: u64 = match &tables.events {
        Some(table) => table.files().await?.iter().filter_map(|file| file.rows).sum(),
        None => 0,
    };
    let ended = Ended { events_us: ended(&tables.events).await?, letters_us: ended(&tables.dead_letters).await? };
    let passes = rows_said.div_ceil(ROWS_A_PASS).max(1);
    progress.set_length(passes * 2);
    for pass in 0..passes {
        let mut ledger = Ledger::new(passes, pass);
        if let Some(events) = &tables.events {
            lake_rows::read(events, &mut ledger).await?;
        }
        progress.inc(1);
        ledger.sort();
        acked.mark_found(&ledger);
        let mut verdicts = Verdicts::default();
        log_rows::compare(config, log, &ledger, &dead, &mut acked, &mut verdicts, &mut report, ended, pass == 0)
            .await?;
        conclude(&ledger, &verdicts, &mut report);
        progress.inc(1);
    }
    tell_lacking(&mut report);
    totals(tables, log, &dead, &mut report).await?;
    let patience = if log.is_live() { wait } else { Duration::ZERO };
    rollups::compare(rollups, config.rollups().bounds, patience, &mut report).await?;
    report.acked = acked.distinct();
    report.missing = acked.missing();
    for id in acked.missing_ids().take(FINDINGS_MAX) {
        report.find(format!("acknowledged id {id} is neither in the lake nor in the log"));
    }
    report.ok = report.duplicates == 0
        && report.gaps == 0
        && report.missing == 0
        && report.pending == 0
        && report.files_wrong == 0
        && report.windows_wrong == 0
        && report.findings.is_empty();
    Ok(report)
}

/// Dates before these moments are gone from the tables: retention. µs since 1970.
#[derive(Debug, Clone, Copy)]
struct Ended {
    events_us: i64,
    letters_us: i64,
}

async fn ended(table: &Option<Table>) -> Result<i64, Error> {
    match table {
        Some(table) => Ok(ended_us(table).await?),
        None => Ok(i64::MIN),
    }
}

/// The partitions' bounds and positions, and whether they can belong together: the log's first offset from before the
/// tables were looked at, its end from after that, so that a log and a lake that both move on do not look torn apart.
async fn partitions(
    tables: &Tables,
    log: &LogSource,
    begun: &Bounds,
    report: &mut Report,
) -> Result<Vec<Partition>, Error> {
    let mut partitions = Vec::new();
    for ((partition, now), begun) in (0u32..).zip(log.bounds().await?).zip(begun) {
        let next = tables.next_offset(log, partition).await?;
        if begun.start > next {
            report.gaps += begun.start - next;
            report.find(format!("partition {partition}: the lake has it up to offset {next}, and the log begins at {}: what lies between is lost", begun.start));
        }
        if now.end < next {
            report.gaps += next - now.end;
            report.find(format!("partition {partition}: the lake has it up to offset {next}, and the log ends at {}: it is not the log that the lake was written from", now.end));
        }
        partitions.push(Partition {
            partition,
            last_offset: next.checked_sub(1),
            log_start: begun.start,
            log_end: now.end.min(next.max(begun.end)),
            ..Partition::default()
        });
    }
    Ok(partitions)
}

/// Adds what one pass found.
fn conclude(ledger: &Ledger, verdicts: &Verdicts, report: &mut Report) {
    let counts = ledger.counts();
    report.rows += counts.rows;
    report.ids += counts.ids;
    report.duplicates += counts.rows - counts.ids + counts.places_repeated;
    for example in ledger.repeated().take(FINDINGS_MAX) {
        report.find(format!("in the lake more than once: {example}"));
    }
    for example in ledger.places_repeated().take(FINDINGS_MAX) {
        report.find(format!("two rows of the lake name the same place in the log: {example}"));
    }
    for partition in &mut report.partitions {
        partition.rows += ledger.rows_of(partition.partition);
    }
    let mut foreign = 0;
    for partition in report.partitions.clone() {
        let in_lake = ledger.rows_between(partition.partition, partition.log_start, partition.last_offset);
        let matched = verdicts.matched.get(&partition.partition).copied().unwrap_or(0);
        let unmatched = in_lake.saturating_sub(matched);
        if unmatched > 0 {
            report.find(format!(
                "partition {}: {unmatched} rows of the lake are not in the log's records that they name",
                partition.partition
            ));
        }
        let beyond = ledger.rows_beyond(partition.partition, partition.last_offset);
        if beyond > 0 {
            report.find(format!(
                "partition {}: {beyond} rows of the lake lie above its txn, offset {:?}",
                partition.partition, partition.last_offset
            ));
        }
        foreign += unmatched + beyond;
    }
    for (partition, lacking) in &verdicts.lacking {
        let held = report.lacking.get(partition).map_or(*lacking, |held| held.and(*lacking));
        report.lacking.insert(*partition, held);
    }
    report.pending += verdicts.pending;
    report.expired += verdicts.expired;
    report.gaps += foreign + verdicts.absent;
    for words in &verdicts.examples {
        report.find(words.clone());
    }
}

/// Ranges of records of which the lake lacks something, before all else, and how to have them again.
fn tell_lacking(report: &mut Report) {
    let mut ranges = Vec::new();
    for (partition, Lacking { rows, first, last }) in &report.lacking {
        ranges.push(format!(
            "partition {partition}: {rows} rows of offsets {first} to {last} of the log are not in the lake"
        ));
        report
            .repairs
            .push(format!("playhead replay --partition {partition} --from-offset {first} --to-offset {last}"));
    }
    report.findings.splice(0..0, ranges);
}

/// The tables' running totals against what is there: the proof for offsets that the log no longer holds.
async fn totals(
    tables: &Tables,
    log: &LogSource,
    dead: &lake_rows::DeadLetters,
    report: &mut Report,
) -> Result<(), Error> {
    let Some(events) = &tables.events else { return Ok(()) };
    let mut partitions = std::mem::take(&mut report.partitions);
    for partition in &mut partitions {
        let names: TxnNames = txn_names(log.cluster(), log.topic(), partition.partition);
        let total = async |app: &str| -> Result<i64, Error> { Ok(events.txn(app).await?.unwrap_or(0)) };
        partition.removed = total(&names.removed).await?;
        // What the sink brought, less what maintenance took away.
        let rows = total(&names.rows).await? - partition.removed;
        let letters_removed = match &tables.dead_letters {
            Some(table) => table.txn(&names.removed).await?.unwrap_or(0),
            None => 0,
        };
        let dead_letters = total(&names.dead_letters).await? - letters_removed;
        partition.duplicates_dropped = total(&names.duplicates).await?.unsigned_abs();
        partition.dead_letters = dead.up_to(partition.partition, partition.last_offset);
        let mut told = report.lacking.get(&partition.partition).map_or(0, |lacking| lacking.rows);
        for (what, said, there) in
            [("rows", rows, partition.rows), ("dead letters", dead_letters, partition.dead_letters)]
        {
            let there = there.cast_signed();
            if said != there {
                // What was missed record by record is counted already.
                let more = said.abs_diff(there);
                report.gaps += more.saturating_sub(told);
                told = told.saturating_sub(more);
                report.find(format!(
                    "partition {}: the table's total says {said} {what}, and there are {there}",
                    partition.partition
                ));
            }
        }
    }
    report.partitions = partitions;
    Ok(())
}

/// Counts by partition.
type ByPartition = BTreeMap<u32, u64>;
