//! Upkeep away from the flush path: checkpoints, log cleanup, merging of small files, deletion of merged ones, under
//! one lease.
//!
//! The cost of a commit grows with the commits since the last checkpoint and with the active files, not with rows
//! (measured: 10 ms after 100 commits, 53 ms after 400; 6 ms at 1,000 files, 241 ms at 100,000). A sink that flushes
//! every 10 s makes 60,000 commits a week and more files than that: without upkeep it drowns in them.
//!
//! ```text
//!  pass ─▶ lease (epoch ours?) ─▶ checkpoint due? ─▶ log cleanup, retire tombstoned files
//!                              ├▶ plan ─▶ merge ─▶ one commit {removes, adds, fence: epoch}
//!                              └▶ jobs: compaction (`maintenance`), with the same fence
//! ```
//!
//! Safe beside a sink that commits at the same time: both go by compare-and-swap. A kill between the writing of a file and
//! its commit, a merge that failed half-way and a commit whose outcome was never learnt leave files that no commit names; no
//! reader sees them, and a vacuum once a day deletes those that are days old. On a store a kill within an upload leaves its
//! parts too, until the bucket's own rule for incomplete uploads deletes them.
mod checkpoint;
mod job;
mod lease;
mod merge;
mod pace;
mod plan;
mod retire;
mod tend;
mod vacuum;

pub use job::{Job, Tended};
pub use lease::{EPOCH, held_until};
pub use pace::Pace;
pub use plan::{one_pass, plan};
pub use tend::{tell_stopped, tend};
pub use vacuum::{Orphan, orphans};

pub(crate) use checkpoint::last_checkpoint;

use crate::durable::DurableFileSystem;
use crate::table::{Error, Outcome, Table, Txn};
use lease::{Lease, Standing};

/// Settings of upkeep.
#[derive(Debug, Clone)]
pub struct Options {
    /// Commits between checkpoints.
    pub checkpoint_commits: u64,
    /// Files of one date and size class that are merged together.
    pub merge_files_min: usize,
    /// Merged files are about this large, bytes; files above half of it are left alone.
    pub merge_bytes_max: u64,
    /// A date without a new file for this long is merged across size classes, ms.
    pub quiet_ms: i64,
    /// After another process took the lease: how long to wait before taking it back, ms.
    pub lease_retry_ms: i64,
    /// A job that nobody shall take the lease from while it lives: it holds it for so long at a time, ms. 0: it is no such job.
    pub held_ms: i64,
    /// Merged files are deleted from the store this long after the merge, ms: whoever reads an older snapshot has
    /// that much time. Below the table's `delta.deletedFileRetentionDuration`, or the log forgets them first.
    pub retire_ms: i64,
    /// Files whose rows a commit removed are deleted as merged ones are. Only for tables whose rows nobody but us
    /// removes: else what somebody deleted from a table could not be had back from an older version.
    pub retire_removed: bool,
    /// Files that no commit names are deleted when they are this old, ms: longer than the log remembers what it removed
    /// (`delta.deletedFileRetentionDuration`), and than anybody takes from writing a file to its commit.
    pub orphan_ms: i64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            checkpoint_commits: 100,
            merge_files_min: 8,
            merge_bytes_max: 128 << 20,
            quiet_ms: 6 * 3_600_000,
            lease_retry_ms: 600_000,
            held_ms: 0,
            retire_ms: 24 * 3_600_000,
            retire_removed: false,
            orphan_ms: 3 * 24 * 3_600_000,
        }
    }
}

/// What one pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// A checkpoint was written at this version.
    pub checkpoint: Option<u64>,
    /// Small files that were merged, and into how many.
    pub merged_from: usize,
    /// Files that came out.
    pub merged_into: usize,
    /// Files that earlier merges replaced and that were deleted from the store.
    pub retired: usize,
    /// Files that no commit names and that were deleted.
    pub vacuumed: usize,
    /// More merges are waiting: the next pass need not wait.
    pub more: bool,
    /// Another process owns the table's upkeep: nothing was done.
    pub not_owner: bool,
}

/// The upkeep of one table by this process: holds the maintenance epoch between passes.
#[derive(Debug)]
pub struct Upkeep {
    options: Options,
    lease: Lease,
    retired: retire::Retired,
    vacuum: vacuum::Vacuum,
    jobs: Vec<Box<dyn Job>>,
}

impl Upkeep {
    /// Upkeep that owns nothing yet; the first pass takes the lease.
    pub fn new(options: Options) -> Upkeep {
        Upkeep::with_jobs(options, Vec::new())
    }

    /// The same, with further work for the table.
    pub fn with_jobs(options: Options, jobs: Vec<Box<dyn Job>>) -> Upkeep {
        let (lease, retired, vacuum) = (Lease::default(), retire::Retired::default(), vacuum::Vacuum::default());
        Upkeep { options, lease, retired, vacuum, jobs }
    }

    /// One pass over a table: a checkpoint if due (then log cleanup and deletion of what was merged long ago), at
    /// most one merge commit, and a step of each further job. `table` is to be this task's own: the pass moves its snapshot. `now_ms`: ms since 1970.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: try at the next pass. [`Error::NotDurable`]: end the process, the table's other handles
    /// can't know. Everything else as [`Table::commit`].
    pub async fn pass(&mut self, table: &mut Table, now_ms: i64) -> Result<Done, Error> {
        let done = self.steps(table, now_ms).await;
        // Whatever the error said on its way up: a store that takes no more writes is no passing trouble.
        match (done, table.disk.as_ref().and_then(DurableFileSystem::failure)) {
            (Err(_), Some(failure)) => Err(Error::not_durable(&table.name, failure.to_string())),
            (done, _) => done,
        }
    }

    /// What a commit of this process carries under the table's lease, which is taken; `None`: another process owns it.
    ///
    /// # Errors
    /// As [`Upkeep::pass`].
    pub async fn fence(&mut self, table: &mut Table, now_ms: i64) -> Result<Option<Txn>, Error> {
        table.reload().await?;
        Ok(match self.lease.hold(table, now_ms, &self.options).await? {
            Standing::Owner(epoch) => Some(self.lease.fence(epoch)),
            Standing::Other => None,
        })
    }

    /// Gives the lease back, if it is this one's.
    ///
    /// # Errors
    /// As [`Upkeep::pass`]. What a job holds is free some minutes later in any case.
    pub async fn release(&mut self, table: &mut Table) -> Result<(), Error> {
        self.lease.release(table).await
    }

    async fn steps(&mut self, table: &mut Table, now_ms: i64) -> Result<Done, Error> {
        let Some(fence) = self.fence(table, now_ms).await? else {
            return Ok(Done { not_owner: true, ..Done::default() });
        };
        let mut done = Done::default();
        if let Some(version) = checkpoint::write_if_due(table, self.options.checkpoint_commits).await? {
            done.checkpoint = Some(version);
            checkpoint::clean_log(table).await?;
            done.retired = self.retired.pass(table, now_ms, &self.options).await?;
        }
        self.merge(table, &fence, now_ms, &mut done).await?;
        done.vacuumed = self.vacuum.pass(table, now_ms, &self.options).await;
        for job in &mut self.jobs {
            done.more |= job.pass(table, &fence, now_ms).await?;
        }
        let files = table.views().count();
        metrics::gauge!("playhead_lake_active_files", "table" => table.label.clone()).set(files as f64);
        Ok(done)
    }

    async fn merge(&mut self, table: &mut Table, fence: &Txn, now_ms: i64, done: &mut Done) -> Result<(), Error> {
        let planned = plan(&table.files().await?, &self.options, now_ms);
        let (groups, more) = one_pass(planned, &self.options);
        if groups.is_empty() {
            return Ok(());
        }
        let commit = merge::merged(table, &groups, fence.clone()).await?;
        let (from, into) = (commit.removes.len(), commit.adds.len());
        // On an error the merged files stay: the commit may be in the table.
        match table.commit(&commit).await? {
            Outcome::Committed { version } => {
                (done.merged_from, done.merged_into, done.more) = (from, into, more);
                metrics::counter!("playhead_lake_merged_files_total", "table" => table.label.clone())
                    .increment(from as u64);
                tracing::info!(table = table.name, from, into, version, "merged small files");
            }
            Outcome::Superseded => {
                tracing::info!(table = table.name, files = into, "merged files thrown away: another writer was first");
                table.discard(&commit.adds).await;
            }
        }
        Ok(())
    }
}

/// One pass of upkeep that owns the table for this pass only: for a command that runs while nothing else does.
///
/// # Errors
/// As [`Upkeep::pass`].
pub async fn pass(table: &mut Table, options: &Options, now_ms: i64) -> Result<Done, Error> {
    Upkeep::new(options.clone()).pass(table, now_ms).await
}
