//! Replay: rows of `events` and `dead_letters` are made again from the log, chunk by chunk, while a sink goes on writing.
//!
//! ```text
//!  plan ─▶ job ─▶ ┌ stage: read the chunk's records ─▶ files of rows, files of dead letters
//!                 │ swap: one commit of `events` {less what the chunk's records had before, plus those files, position}
//!                 └ swap: one commit of `dead_letters`, the same                       ▲
//!                                          windows whose rows are others now: marked ──┘
//! ```
//! Promise: after each commit the table holds of every record either what it held before or what the log gives now, never
//! both, never neither. Of rows with one key the lowest place stays, as compaction has it: a row is not brought back whose
//! copy stands lower down, and copies higher up go with the same commit. Positions are `txn`s of the same commits, so a
//! replay that was killed goes on where it was, and no chunk is done twice.
//!
//! Needs the log: what it has no more can't be made again, and is refused unless it may stay as it is. Needs the maintenance
//! lease of both tables, and holds it while it runs: nothing is compacted meanwhile.
use crate::limits::{Bounds, MARKS_TRIES};
use crate::windows::Windows;
use async_trait::async_trait;
use event::clock::Clock;
use event::decode::TimeBounds;
use lake::table::Table;
use lake::tables::{LOG, txn_names};
use log::Entry;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

mod accounts;
mod hold;
mod job;
mod plan;
mod run;
mod stage;
mod swap;
mod times;
mod totals;

pub use crate::limits::CHUNK_ROWS;
pub use hold::give_back;
pub use job::{Job, Jobs, Kind, State};
pub use plan::{Asked, Kept, Plan};
pub use run::Progress;

use hold::Hold;

/// Why a replay can't begin, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A table.
    #[error(transparent)]
    Lake(#[from] lake::table::Error),
    /// The log can't be read: what is done stays, run it again to go on.
    #[error("the log can't be read: {0}")]
    Log(String),
    /// What was asked for can't be done; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// Another process owns the tables' maintenance now: what is done stays, run it again to go on.
    #[error(
        "another process has taken over the tables' maintenance, or rewrote files that are to be exchanged: what was replayed stays; \
         run the same command again to go on"
    )]
    Overtaken,
    /// Windows of rollups can't be marked: what is done stays, run it again to go on.
    #[error(
        "{0} seconds of events would have other rows, and there is no room to mark their windows (table late_windows): nothing of \
         the chunk was changed. Let the node that keeps the rollups correct those that are marked, then run it again; if a chunk has \
         more than fit at all, give the job up (`playhead jobs --cancel`) and replay with a smaller --chunk-rows"
    )]
    NoRoom(usize),
    /// A bug: nothing of the chunk was committed.
    #[error("replay is broken: {0}")]
    Broken(String),
}

/// The log, wherever it can be read.
#[async_trait(?Send)]
pub trait Records {
    /// First offset held and next one to be written, of each partition.
    async fn bounds(&self) -> Result<Vec<Range<u64>>, Error>;

    /// Records of a partition from `offset` on, some at a time; none: its end. An offset that is gone is an error.
    async fn read(&self, partition: u32, offset: u64) -> Result<Vec<Entry>, Error>;
}

/// What a replay is given.
pub struct Parts<'a> {
    /// Table `events`.
    pub events: Table,
    /// Table `dead_letters`.
    pub dead_letters: Table,
    /// The log that they are of.
    pub records: &'a dyn Records,
    /// The log's name in the tables' `txn`s.
    pub cluster: String,
    /// Its topic.
    pub topic: String,
    /// Bounds for JSON records that others produced.
    pub bounds: TimeBounds,
    /// Who computes from `events`.
    pub windows: Box<dyn Windows>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Names this process in the job: who finds it unfinished sees whether it lives.
    pub process: String,
}

/// Replays of one lake.
pub struct Replay<'a> {
    events: Table,
    dead_letters: Table,
    records: &'a dyn Records,
    cluster: String,
    topic: String,
    bounds: TimeBounds,
    windows: Box<dyn Windows>,
    clock: Arc<dyn Clock>,
    process: String,
    copies: Bounds,
    marks_tries: u32,
    hold: Hold,
    jobs: Jobs,
}

impl<'a> Replay<'a> {
    /// Of these tables, which must be of this log: it is recognised by the record that each partition was brought up to.
    ///
    /// # Errors
    /// [`Error::Refused`]: they are of another log.
    pub async fn new(parts: Parts<'a>) -> Result<Replay<'a>, Error> {
        let Parts { events, dead_letters, records, cluster, topic, bounds, windows, clock, process } = parts;
        let (wanted, held) = (format!("{cluster}/{topic}"), events.property(LOG));
        if held.as_deref().is_some_and(|held| held != wanted) {
            let held = held.unwrap_or_default();
            return Err(Error::Refused(format!(
                "the table events was made from the log {held} (cluster/topic), this log is {wanted}: its records are others"
            )));
        }
        let jobs = Jobs::of(&events);
        let hold = Hold::new(clock.clone(), jobs.clone());
        let copies = Bounds::default();
        let marks_tries = MARKS_TRIES;
        let replay = Replay {
            events,
            dead_letters,
            records,
            cluster,
            topic,
            bounds,
            windows,
            clock,
            process,
            copies,
            marks_tries,
            hold,
            jobs,
        };
        replay.recognise().await?;
        Ok(replay)
    }

    /// With other bounds: for tests, which have few rows.
    pub fn bounded(self, copies: Bounds) -> Replay<'a> {
        Replay { copies, ..self }
    }

    /// Room for marks is asked for so often, every few seconds, before it fails.
    pub fn asking_for_room(self, marks_tries: u32) -> Replay<'a> {
        Replay { marks_tries, ..self }
    }

    /// The jobs of this lake.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// The record at each position must be the one that the table was written from.
    async fn recognise(&self) -> Result<(), Error> {
        for (partition, held) in (0u32..).zip(self.records.bounds().await?) {
            let names = txn_names(&self.cluster, &self.topic, partition);
            let (last, stored) = (self.events.txn(&names.offset).await?, self.events.txn(&names.fingerprint).await?);
            let (Some(last), Some(stored)) = (last, stored) else { continue };
            let last = last.unsigned_abs();
            if !held.contains(&last) && last + 1 != held.start {
                return Err(Error::Refused(format!(
                    "partition {partition}: the lake has it up to offset {last}, and the log holds {}..{}: it is not the log \
                     that the lake was written from, or a part of it is lost (`playhead audit` says more)",
                    held.start, held.end
                )));
            }
            if held.contains(&last) {
                let found = self.records.read(partition, last).await?;
                let found = found.first().filter(|entry| entry.offset == last).map(|entry| entry.record.fingerprint());
                if found != Some(stored) {
                    return Err(Error::Refused(format!(
                        "partition {partition}: another record stands at offset {last} than the one that the lake was \
                         written from: the log was made anew"
                    )));
                }
            }
        }
        Ok(())
    }

    /// The next offset that `events` wants, of each partition that the log holds.
    async fn positions(&self) -> Result<BTreeMap<u32, u64>, Error> {
        let mut positions = BTreeMap::new();
        for (partition, _) in (0u32..).zip(self.records.bounds().await?) {
            let last = self.events.txn(&txn_names(&self.cluster, &self.topic, partition).offset).await?;
            positions.insert(partition, last.map_or(0, |last| last.unsigned_abs() + 1));
        }
        Ok(positions)
    }

    fn now_us(&self) -> i64 {
        self.clock.now()
    }
}
