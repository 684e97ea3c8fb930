//! The commit: a compare-and-swap on the snapshot that the caller decided from.
//!
//! Delta's own `txn` check compares names, not values: a writer that reloads and commits the same `txn` again
//! succeeds, and doubles its rows. So the values are compared here, before each build, and the commit goes without
//! retries: it fails whenever anyone committed after the snapshot.
//!
//! ```text
//!   fences as expected, removes active? ──no──▶ ours already? ──yes──▶ Committed
//!        │ yes            ▲                          └──no──▶ Superseded
//!        ▼                │ no: the same files again
//!   build on S, put N+1 ──error──▶ reload ──▶ is it ours that is there? ──yes──▶ Committed (a lost reply)
//!        └──ok──▶ Committed
//! ```
//!
//! A commit is recognised by a token in its commitInfo and by the path of its first file, so that a lost reply, and
//! two writers who wanted the same values, are told apart.
use crate::error::{self, Error, Missing};
use crate::file::{ActiveFile, DataFile};
use crate::table::Table;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, Add, LogicalFileView, Transaction};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStoreExt as _;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Races lost to other writers before giving up: at ten of their commits a second and 10 ms for ours, one in ten is.
const RACES_MAX: u32 = 50;
/// Failures of the store, with the outcome known to be "not committed", before giving up.
const FAILURES_MAX: u32 = 4;
/// Reloads tried to learn how a commit ended: with their backoff about 40 s when each fails at once.
const RELOADS_MAX: u32 = 12;
/// No further try of any kind begins later than this. The operation under way then ends within 30 s more (see
/// `store`): a caller has its answer after 90 s at worst, also when every request hangs.
const TRIES: Duration = Duration::from_secs(60);
/// First and longest wait between tries.
const BACKOFF_MS: (u64, u64) = (10, 5_000);
/// Commits searched for a file when its commit was begun by an earlier call.
const SEARCH_MAX: u64 = 256;
/// Adds whose files are looked at at the same time.
const HEADS_AT_ONCE: usize = 8;
/// Key of the token in commitInfo.
const TOKEN: &str = "playhead.commit";

/// A `txn` action and the value it must replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    /// appId.
    pub app: String,
    /// The value in the snapshot that the caller decided from.
    pub expected: Option<i64>,
    /// The value to set.
    pub new: i64,
}

/// One commit: all of it, or nothing.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Files to add.
    pub adds: Vec<DataFile>,
    /// Files to remove (merging small files); the commit only goes while each is still active.
    pub removes: Vec<ActiveFile>,
    /// Fences: checked against each snapshot that the commit is built on.
    pub txns: Vec<Txn>,
    /// False for a rewrite of the same rows.
    pub data_change: bool,
    /// Extra commitInfo, e.g. rows read, duplicates.
    pub info: BTreeMap<String, serde_json::Value>,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the table (perhaps since an earlier try whose reply was lost).
    Committed {
        /// The table's version that it made.
        version: u64,
    },
    /// Another writer moved a fence or removed a file: throw these files away and read again from the table.
    Superseded,
}

impl Table {
    /// Commits by strict compare-and-swap on the snapshot (`max_retries(0)`); the one place of the protocol. When it
    /// returns `Committed`, the snapshot is at least of that version.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the store failed for longer than this waits. If that was before the outcome was known,
    /// the commit may be in the table: call this again with the same `commit` (never discard its files), and it is
    /// found. [`Error::NotDurable`]: an fsync failed, the process must end. [`Error::Broken`]: a file to add is missing
    /// or of another size, rows would appear or vanish in a rewrite.
    pub async fn commit(&mut self, commit: &Commit) -> Result<Outcome, Error> {
        let started = Instant::now();
        let outcome = self.compare_and_swap(commit, started + TRIES).await;
        if let Ok(Outcome::Committed { .. }) = outcome {
            metrics::histogram!("playhead_lake_commit_seconds", "table" => self.label.clone())
                .record(started.elapsed().as_secs_f64());
            metrics::counter!("playhead_lake_commits_total", "table" => self.label.clone()).increment(1);
            metrics::gauge!("playhead_lake_active_files", "table" => self.label.clone())
                .set(self.state.log_data().num_files() as f64);
        }
        outcome
    }

    async fn compare_and_swap(&mut self, commit: &Commit, until: Instant) -> Result<Outcome, Error> {
        self.check(commit)?;
        let token = token();
        if !self.stands(commit).await? {
            let since = self.version().saturating_sub(SEARCH_MAX);
            return Ok(self.found(since, None, commit).await?.unwrap_or(Outcome::Superseded));
        }
        let adds = self.adds(commit).await?;
        let (mut races, mut failures) = (0, 0);
        loop {
            let base = self.version();
            let failure = match self.put(commit, &adds, &token).await {
                Ok(outcome) => return Ok(outcome),
                Err(failure @ Error::Unavailable(_)) => failure,
                Err(stop) => return Err(stop),
            };
            self.reload_for_outcome(&failure, until).await?;
            if let Some(outcome) = self.found(base, Some(&token), commit).await? {
                return Ok(outcome);
            }
            metrics::counter!("playhead_lake_commit_conflicts_total", "table" => self.label.clone()).increment(1);
            if !self.stands(commit).await? {
                return Ok(Outcome::Superseded);
            }
            if self.version() > base {
                races += 1
            } else {
                failures += 1
            }
            if races > RACES_MAX || failures > FAILURES_MAX || Instant::now() >= until {
                return Err(failure);
            }
            tracing::debug!(table = self.name, races, failures, error = %failure, "the same commit again");
            backoff(if self.version() > base { races.min(6) } else { failures + 4 }).await;
        }
    }

    /// What can't be right on any snapshot.
    fn check(&self, commit: &Commit) -> Result<(), Error> {
        if commit.adds.is_empty() && commit.removes.is_empty() && commit.txns.is_empty() {
            return Err(Error::broken(&self.name, "a commit without any action was asked for"));
        }
        for add in &commit.adds {
            let named: Vec<_> = add.partition_values.keys().collect();
            let mut wanted: Vec<_> = self.partition_columns.iter().collect();
            wanted.sort();
            if named != wanted {
                return Err(Error::broken(&self.name, format!("{} has partition values for {named:?}", add.path)));
            }
        }
        if commit.data_change || commit.adds.is_empty() && commit.removes.is_empty() {
            return Ok(());
        }
        let added: u64 = commit.adds.iter().map(|file| file.rows).sum();
        let removed: Option<u64> = commit.removes.iter().map(|file| file.rows).sum();
        if removed.is_some_and(|removed| removed != added) {
            let reason = format!("a rewrite would turn {removed:?} rows into {added}");
            return Err(Error::broken(&self.name, reason));
        }
        Ok(())
    }

    /// Whether the snapshot is the one that the commit was decided from: every fence as expected, every file to
    /// remove active.
    async fn stands(&self, commit: &Commit) -> Result<bool, Error> {
        for txn in &commit.txns {
            if self.txn(&txn.app).await? != txn.expected {
                return Ok(false);
            }
        }
        Ok(commit.removes.is_empty() || self.views_of(&commit.removes).is_some())
    }

    /// The snapshot's views of `files`; `None` unless all are active.
    fn views_of(&self, files: &[ActiveFile]) -> Option<Vec<LogicalFileView>> {
        let mut wanted: HashMap<&str, Option<LogicalFileView>> =
            files.iter().map(|f| (f.path.as_str(), None)).collect();
        for view in self.views() {
            if let Some(slot) = wanted.get_mut(view.path().as_ref()) {
                *slot = Some(view);
            }
        }
        wanted.into_values().collect()
    }

    /// The Add actions. Each file is looked at: a commit never names one that is not there.
    async fn adds(&self, commit: &Commit) -> Result<Vec<Add>, Error> {
        let adds = commit.adds.iter().map(|file| async move {
            let head = self.store.head(&self.store_path(&file.path)?).await;
            let head =
                head.map_err(|error| error::store(&self.name, "look for a file to add", &error, Missing::Breaks))?;
            if head.size != file.bytes {
                let reason = format!("{} has {} bytes, {} were written", file.path, head.size, file.bytes);
                return Err(Error::broken(&self.name, reason));
            }
            Ok(file.add(head.last_modified.timestamp_millis(), commit.data_change))
        });
        futures::stream::iter(adds.collect::<Vec<_>>()).buffered(HEADS_AT_ONCE).try_collect().await
    }

    /// One try on the snapshot as it is.
    async fn put(&mut self, commit: &Commit, adds: &[Add], token: &str) -> Result<Outcome, Error> {
        let base = self.version();
        let mut actions: Vec<Action> = adds.iter().cloned().map(Action::Add).collect();
        let Some(removes) = self.views_of(&commit.removes) else {
            return Err(Error::Unavailable(format!("{}: a file to remove is not active", self.name)));
        };
        actions.extend(removes.iter().map(|view| Action::Remove(view.remove_action(commit.data_change))));
        let txns = commit.txns.iter().map(|txn| Transaction::new(&txn.app, txn.new)).collect();
        let mut info = commit.info.clone();
        info.insert(TOKEN.to_owned(), token.into());
        let properties = strict().with_application_transactions(txns).with_metadata(info);
        let put = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(&self.state), self.log.clone(), operation(commit))
            .await;
        let done = put.map_err(|error| error::delta(&self.name, "commit", error))?;
        if done.version() != base + 1 {
            let reason = format!("a commit on version {base} made version {}", done.version());
            return Err(Error::broken(&self.name, reason));
        }
        self.adopt(done.snapshot, &commit.txns);
        Ok(Outcome::Committed { version: base + 1 })
    }

    /// A new snapshot, however long the store takes within bounds: without it nobody knows how the commit ended.
    async fn reload_for_outcome(&mut self, failure: &Error, until: Instant) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            match self.reload().await {
                Err(Error::Unavailable(reason)) if tries < RELOADS_MAX && Instant::now() < until => {
                    tracing::warn!(table = self.name, tries, reason, "can't read how a commit ended");
                    tries += 1;
                    backoff(tries + 3).await;
                }
                Err(Error::Unavailable(reason)) => {
                    let what = format!("{failure}; and how it ended can't be read: {reason}");
                    return Err(Error::Unavailable(what));
                }
                reloaded => return reloaded,
            }
        }
    }

    /// Looks for the commit among those after version `since`: by its token, or by its first file.
    async fn found(&self, since: u64, token: Option<&str>, commit: &Commit) -> Result<Option<Outcome>, Error> {
        let first = commit.adds.first().map(|file| file.path.as_str());
        if token.is_none() && first.is_none() {
            return Ok(None);
        }
        for version in (since + 1..=self.version()).rev() {
            let Some(actions) = self.actions(version).await? else {
                if token.is_none() {
                    break;
                }
                let reason = format!("commit {version} was deleted before it was seen how one beside it ended");
                return Err(Error::broken(&self.name, reason));
            };
            if actions.iter().any(|action| is_of(action, token, first)) {
                return Ok(Some(Outcome::Committed { version }));
            }
        }
        Ok(None)
    }
}

/// How each of our commits goes: a true compare-and-swap, and nothing else done in it.
pub(crate) fn strict() -> CommitProperties {
    CommitProperties::default().with_max_retries(0).with_create_checkpoint(false).with_cleanup_expired_logs(Some(false))
}

fn is_of(action: &Action, token: Option<&str>, first: Option<&str>) -> bool {
    match action {
        Action::CommitInfo(info) => token.is_some() && info.info.get(TOKEN).and_then(|value| value.as_str()) == token,
        Action::Add(add) => Some(add.path.as_str()) == first,
        _ => false,
    }
}

fn operation(commit: &Commit) -> DeltaOperation {
    if commit.data_change || commit.removes.is_empty() {
        return DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
    }
    let bytes = commit.adds.iter().map(|file| file.bytes).max().unwrap_or(0);
    DeltaOperation::Optimize { predicate: None, target_size: i64::try_from(bytes).unwrap_or(i64::MAX) }
}

/// Waits `2^step` times the first wait, half of it by chance, so that two who collide do not meet again.
async fn backoff(step: u32) {
    let (first, longest) = BACKOFF_MS;
    let wait = first.saturating_mul(1 << step.min(20)).min(longest);
    tokio::time::sleep(Duration::from_millis(wait / 2 + chance() % (wait / 2 + 1))).await;
}

#[allow(clippy::disallowed_methods, reason = "only the length of a wait hangs on it")]
fn chance() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

#[allow(clippy::disallowed_methods, reason = "marks one commit among all; nothing depends on its value")]
fn token() -> String {
    uuid::Uuid::new_v4().to_string()
}
