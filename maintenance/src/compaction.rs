//! Compaction of `events`: one date at a time, in one commit.
//!
//! ```text
//!  settle ─▶ plan ─▶ copies ─▶ write files ─▶ mark windows of copies ─▶ commit
//! ```
//! Marks come last before the commit: what fails before them has marked nothing. A kill between any two steps leaves files that no commit names, and perhaps marks that await a value that `events` does not
//! reach: whoever has the lease moves `events` there before its next step (`settle`), and those windows are computed again, to the same figures.
use crate::copies::{self, Copies, Search};
use crate::limits::{Bounds, PUT_OFF_MS};
use crate::rewrite::{Gone, less, sorted_anew};
use crate::telemetry;
use crate::windows::{Windows, next_rewrite, settle};
use async_trait::async_trait;
use lake::table::{ActiveFile, Commit, Error, Outcome, Table, Txn};
use lake::tables::{LOG, txn_names};
use lake::upkeep::Job;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

mod plan;
mod sort;

use plan::{Task, plan};

pub(crate) use sort::sorted;

pub use plan::{Scope, Unsorted, unsorted};

/// Settings `[compaction]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether `up` and `sink` compact by themselves. Without it small files are still merged, in the log's order; copies
    /// further apart than the dedup window stay, until `playhead compact`.
    pub enabled: bool,
    /// A file of `events` lies unsorted for so long at most, ms.
    pub after_ms: u64,
    /// A date with so many unsorted bytes is compacted sooner.
    pub bytes_min: u64,
    /// Compacted files are about this large, bytes.
    pub file_bytes: u64,
    /// Memory for sorting, bytes; of more rows sorted runs are spilled. All of a compaction takes about 400 MB more.
    pub memory_bytes: usize,
    /// Where they are spilled; empty: the system's folder for temporary files.
    pub spill_dir: String,
    /// Disk space for that, bytes. A compaction takes 2 GiB of files at most, which are some 10 GiB of spilled rows.
    pub spill_bytes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            after_ms: 6 * 3_600_000,
            bytes_min: 1 << 30,
            file_bytes: 384 << 20,
            memory_bytes: 256 << 20,
            spill_dir: String::new(),
            spill_bytes_max: 32 << 30,
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Files that went.
    pub files_from: usize,
    /// Files that came.
    pub files_into: usize,
    /// Bytes of those that went.
    pub bytes_from: u64,
    /// Bytes of those that came.
    pub bytes_into: u64,
    /// Rows of those that came.
    pub rows: u64,
    /// Copies that were removed.
    pub copies: u64,
}

impl Compacted {
    /// Takes up what another step did.
    pub fn add(&mut self, other: &Compacted) {
        self.files_from += other.files_from;
        self.files_into += other.files_into;
        self.bytes_from += other.bytes_from;
        self.bytes_into += other.bytes_into;
        self.rows += other.rows;
        self.copies += other.copies;
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is in the table; ask for the next.
    Done(Compacted),
    /// There was nothing to be done.
    Nothing,
    /// Another process changed what this one would have: nothing was changed.
    Superseded,
    /// Windows that copies were counted in can't be marked now: nothing was changed.
    NoRoom,
}

/// The compaction of one table `events`.
#[derive(Debug)]
pub struct Compaction {
    config: Config,
    scope: Scope,
    spill_dir: PathBuf,
    windows: Box<dyn Windows>,
    bounds: Bounds,
    /// After a failure: not before, ms since 1970.
    put_off_to_ms: Option<i64>,
}

impl Compaction {
    /// Of the table that it is given, step by step. Rows are spilled to `spill_dir`; `windows` are told of copies before they
    /// go.
    pub fn new(config: Config, scope: Scope, spill_dir: PathBuf, windows: Box<dyn Windows>) -> Compaction {
        Compaction { config, scope, spill_dir, windows, bounds: Bounds::default(), put_off_to_ms: None }
    }

    /// With other bounds: for tests, which have few rows.
    pub fn bounded(self, bounds: Bounds) -> Compaction {
        Compaction { bounds, ..self }
    }

    /// One step: at most one date's files, or a part of them, in one commit that carries `fence`. `now_ms`: ms since 1970.
    ///
    /// # Errors
    /// As [`Job::pass`].
    pub async fn step(&mut self, table: &mut Table, fence: &Txn, now_ms: i64) -> Result<Step, Error> {
        let started = Instant::now();
        settle(table, self.windows.as_mut(), fence).await?;
        let planned = plan(&table.files().await?, &self.config, &self.scope, now_ms);
        telemetry::unsorted(planned.unsorted_bytes);
        let is_wanted = self.config.enabled || self.scope != Scope::Due;
        let Some(task) = planned.task.filter(|_| is_wanted) else { return Ok(Step::Nothing) };
        let copies = copies::find(table, &task.sorted_anew, &task.beside, &Search::default(), &self.bounds).await?;
        let written = self.written(table, &task, &copies).await;
        // Whatever was spilled is gone by now; what isn't ours stays.
        let _ = std::fs::remove_dir(&self.spill_dir);
        let mut commit = written?;
        commit.txns.push(fence.clone());
        if copies.count() > 0 {
            let fits = self.rows_go(table, &copies, &mut commit).await;
            if !matches!(fits, Ok(true)) {
                table.discard(&commit.adds).await;
            }
            if !fits? {
                return Ok(Step::NoRoom);
            }
        }
        let done = told(&commit, &copies);
        commit.info.insert("playhead.compaction".to_owned(), json!(done));
        match table.commit(&commit).await? {
            Outcome::Committed { version } => {
                telemetry::compacted(&done, started.elapsed());
                tracing::info!(table = table.name(), version, ?done, took = ?started.elapsed(), "compacted");
                Ok(Step::Done(done))
            }
            Outcome::Superseded => {
                tracing::info!(
                    table = table.name(),
                    files = commit.adds.len(),
                    "compaction thrown away: another one was first"
                );
                table.discard(&commit.adds).await;
                Ok(Step::Superseded)
            }
        }
    }

    /// Marks the windows of copies, and adds to the commit what tells that they go; `false`: there is no room for the marks.
    async fn rows_go(&mut self, table: &Table, copies: &Copies, commit: &mut Commit) -> Result<bool, Error> {
        let (counted, next) = next_rewrite(table).await?;
        commit.data_change = true;
        commit.txns.push(counted);
        commit.txns.extend(removed_totals(table, &copies.partitions).await?);
        let times_us: Vec<i64> = copies.times_us.iter().copied().collect();
        self.windows.mark(&times_us, next).await
    }

    /// The files of a task, written, as the commit that swaps them in.
    async fn written(&self, table: &Table, task: &Task, copies: &Copies) -> Result<Commit, Error> {
        let mut commit = Commit::default();
        let written = self.write(table, task, copies, &mut commit).await;
        if written.is_err() {
            table.discard(&commit.adds).await;
        }
        written.map(|()| commit)
    }

    async fn write(&self, table: &Table, task: &Task, copies: &Copies, commit: &mut Commit) -> Result<(), Error> {
        // Where copies are left their file must stay one that is looked at.
        let (sorted, rest): (&[ActiveFile], &[ActiveFile]) =
            if copies.is_cut { (&[], &task.sorted_anew) } else { (&task.sorted_anew, &[]) };
        let gone = Gone { rows: copies.rows.clone(), ..Gone::default() };
        let mut rows = 0;
        for file in task.beside.iter().chain(rest).filter(|file| copies.rows.contains_key(&file.path)) {
            let (written, _) = less(table, file, &gone).await?;
            rows += written.tally.rows;
            commit.adds.extend(written.files);
            commit.removes.push(file.clone());
        }
        if !sorted.is_empty() {
            let copied = sorted.iter().filter_map(|file| copies.rows.get(&file.path));
            let left = copies.rows_read - copied.map(|rows| rows.len() as u64).sum::<u64>();
            let place = (&self.config, self.spill_dir.as_path());
            let written = sorted_anew(table, &task.values, sorted, &gone, left, place).await?;
            rows += written.tally.rows;
            commit.adds.extend(written.files);
            commit.removes.extend(sorted.iter().cloned());
        }
        let before: Option<u64> = commit.removes.iter().map(|file| file.rows).sum();
        match before {
            Some(before) if before != rows + copies.count() => Err(Error::Broken {
                table: table.name().to_owned(),
                reason: format!(
                    "a compaction of {before} rows with {} copies would leave {rows}: nothing is changed",
                    copies.count()
                ),
            }),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Job for Compaction {
    /// What a compaction can't get over is said, and tried again later: nothing else of the table's upkeep waits for it.
    async fn pass(&mut self, table: &mut Table, fence: &Txn, now_ms: i64) -> Result<bool, Error> {
        if self.put_off_to_ms.is_some_and(|to| now_ms < to) {
            return Ok(false);
        }
        self.put_off_to_ms = None;
        let words = match self.step(table, fence, now_ms).await {
            Ok(Step::Done(_)) => return Ok(true),
            Ok(Step::Nothing | Step::Superseded) => return Ok(false),
            Ok(Step::NoRoom) => NO_ROOM.to_owned(),
            Err(error @ Error::NotDurable { .. }) => return Err(error),
            Err(error) => error.to_string(),
        };
        telemetry::failed();
        self.put_off_to_ms = Some(now_ms.saturating_add(PUT_OFF_MS));
        tracing::error!(
            table = table.name(),
            reason = words,
            "compaction can't go on; nothing was changed, events come in and small files are merged; it is tried again in \
             ten minutes"
        );
        Ok(false)
    }
}

/// Why copies stay for now.
pub const NO_ROOM: &str = "copies were found, and too many windows wait to be computed again (table late_windows): they go when \
                           who keeps the rollups has corrected some";

fn told(commit: &Commit, copies: &Copies) -> Compacted {
    Compacted {
        files_from: commit.removes.len(),
        files_into: commit.adds.len(),
        bytes_from: commit.removes.iter().map(|file| file.bytes).sum(),
        bytes_into: commit.adds.iter().map(|file| file.bytes).sum(),
        rows: commit.adds.iter().map(|file| file.rows).sum(),
        copies: copies.count(),
    }
}

/// What the audit adds to the rows that are there.
pub(crate) async fn removed_totals(table: &Table, removed: &BTreeMap<i32, i64>) -> Result<Vec<Txn>, Error> {
    let log = table.property(LOG).unwrap_or_default();
    let Some((cluster, topic)) = log.split_once('/') else {
        let reason = format!("it does not say of which log it is ({LOG} is {log:?})");
        return Err(Error::Incompatible { table: table.name().to_owned(), reason });
    };
    let mut totals = Vec::new();
    for (partition, count) in removed.iter().filter(|(_, count)| **count != 0) {
        let app = txn_names(cluster, topic, partition.unsigned_abs()).removed;
        let expected = table.txn(&app).await?;
        totals.push(Txn { app, expected, new: expected.unwrap_or(0) + count });
    }
    Ok(totals)
}
