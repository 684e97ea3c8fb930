//! What is remembered of a replay beside its positions: an object `_jobs/{id}.json` in the folder of `events`. Readers and
//! vacuums of Delta pass over folders that begin with an underscore.
use super::Error;
use crate::ranges::Ranges;
use event::clock::Micros;
use futures::TryStreamExt as _;
use lake::table::{Error as LakeError, Table};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A job that says nothing for so long has died.
const SILENT_US: Micros = 120_000_000;

/// What kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Chunk by chunk.
    Replay,
    /// All in one commit.
    Rebuild,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A process is at it, or was killed at it.
    Running,
    /// It stopped, and says why; the next one goes on with it.
    Failed,
    /// All of it is in the tables.
    Done,
    /// Given up: what was replayed stays.
    Cancelled,
}

/// One replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number, from 1.
    pub id: u64,
    /// What it does.
    pub kind: Kind,
    /// Only records that have dead letters.
    pub dead_letters_only: bool,
    /// From the first offset to the one after the last, by partition.
    pub ranges: BTreeMap<u32, Range<u64>>,
    /// Rows of a chunk, about.
    pub chunk_rows: u64,
    /// How far it is.
    pub state: State,
    /// When it was begun, µs since 1970.
    pub begun_at: Micros,
    /// When it was heard of last, µs since 1970.
    pub heard_at: Micros,
    /// Who was at it last, as [`super::Parts::process`] says.
    pub process: String,
    /// Commits of `events`.
    pub chunks: u64,
    /// Rows that were there before, in what it has replayed.
    pub rows_before: u64,
    /// Rows that are there now.
    pub rows_after: u64,
    /// Dead letters before.
    pub dead_letters_before: u64,
    /// Dead letters now.
    pub dead_letters_after: u64,
    /// Copies elsewhere that went, and rows that were not brought back since a copy stands lower down.
    pub copies: u64,
    /// Seconds of event time whose rows are others now.
    pub seconds_changed: u64,
    /// What stopped it last.
    pub failure: Option<String>,
}

impl Job {
    /// Whether it is to be finished, or cancelled, before another one begins.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.state, State::Running | State::Failed)
    }

    /// Whether a process seems to be at it: it was heard of a while ago at most.
    pub fn is_alive(&self, now: Micros) -> bool {
        self.state == State::Running && now.saturating_sub(self.heard_at) < SILENT_US
    }

    /// Offsets of each partition.
    pub(super) fn wanted(&self) -> Ranges {
        Ranges::of(self.ranges.iter().map(|(partition, range)| (*partition, range.clone())))
    }
}

/// The jobs of a table.
#[derive(Debug, Clone)]
pub struct Jobs {
    table: String,
    store: Arc<dyn ObjectStore>,
}

impl Jobs {
    /// Of the table `events`.
    pub fn of(events: &Table) -> Jobs {
        Jobs { table: events.name().to_owned(), store: events.store() }
    }

    /// All, by number.
    ///
    /// # Errors
    /// The store, or an object that is no job.
    pub async fn all(&self) -> Result<Vec<Job>, Error> {
        let prefix = StorePath::from("_jobs");
        let listed = self.store.list(Some(&prefix)).map_err(|error| self.failed("list the jobs", &error));
        let mut paths: Vec<StorePath> = listed.map_ok(|meta| meta.location).try_collect().await?;
        paths.retain(|path| path.as_ref().ends_with(".json"));
        paths.sort();
        let mut jobs = Vec::with_capacity(paths.len());
        for path in paths {
            let read = async { self.store.get(&path).await?.bytes().await }.await;
            let bytes = read.map_err(|error| self.failed("read a job", &error))?;
            let job = serde_json::from_slice(&bytes);
            jobs.push(job.map_err(|error| Error::Broken(format!("{path} of {} is no job: {error}", self.table)))?);
        }
        Ok(jobs)
    }

    /// The one that waits to be finished.
    pub(super) async fn unfinished(&self) -> Result<Option<Job>, Error> {
        Ok(self.all().await?.into_iter().find(Job::is_unfinished))
    }

    /// Puts a new job on record, with a number above those of all others and above `last`, which the tables know.
    pub(super) async fn begin(&self, mut job: Job, last: u64) -> Result<Job, Error> {
        let others = self.all().await?;
        if let Some(other) = others.iter().find(|other| other.is_unfinished()) {
            return Err(Error::Refused(format!("job {} is unfinished; `playhead jobs` shows it", other.id)));
        }
        job.id = others.last().map_or(0, |last| last.id).max(last) + 1;
        match self.put(&job, PutMode::Create).await {
            // The store's client tries again when an answer is lost: then it may be this one's own.
            Err(object_store::Error::AlreadyExists { .. }) if self.all().await?.contains(&job) => Ok(job),
            Err(object_store::Error::AlreadyExists { .. }) => {
                Err(Error::Refused("another replay begins right now; `playhead jobs` shows it".to_owned()))
            }
            put => put.map(|()| job).map_err(|error| self.failed("write a job", &error)),
        }
    }

    /// Writes how far it is.
    pub(super) async fn update(&self, job: &Job) -> Result<(), Error> {
        self.put(job, PutMode::Overwrite).await.map_err(|error| self.failed("write a job", &error))
    }

    /// Gives a job up that no process is at: what it has replayed stays.
    ///
    /// # Errors
    /// [`Error::Refused`]: there is no such job that is unfinished.
    pub async fn cancel(&self, id: u64, now: Micros) -> Result<Job, Error> {
        let found = self.all().await?.into_iter().find(|job| job.id == id);
        let mut job = found.ok_or_else(|| Error::Refused(format!("there is no job {id}")))?;
        if !job.is_unfinished() {
            return Err(Error::Refused(format!("job {id} is not unfinished: nothing is to be cancelled")));
        }
        job.state = State::Cancelled;
        job.heard_at = now;
        self.update(&job).await?;
        Ok(job)
    }

    async fn put(&self, job: &Job, mode: PutMode) -> Result<(), object_store::Error> {
        let bytes = serde_json::to_vec_pretty(job)
            .map_err(|error| object_store::Error::Generic { store: "job", source: Box::new(error) })?;
        let path = StorePath::from(format!("_jobs/{:08}.json", job.id));
        self.store.put_opts(&path, bytes.into(), PutOptions { mode, ..PutOptions::default() }).await.map(|_| ())
    }

    fn failed(&self, what: &str, error: &object_store::Error) -> Error {
        Error::Lake(LakeError::Unavailable(format!("{}: can't {what}: {error}", self.table)))
    }
}
