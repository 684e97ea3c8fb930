//! The maintenance lease of both tables, held for as long as a replay takes.
use super::{Error, Job, Jobs};
use event::clock::{Clock, Micros};
use lake::table::{Table, Txn};
use lake::upkeep::{Options, Upkeep};
use std::sync::Arc;

/// How long it is held at a time, ms: a node that starts takes the tables' maintenance that long after a replay was killed.
const HELD_MS: i64 = 600_000;

/// Whether it is held still is seen after this.
const LOOK_US: Micros = 60_000_000;

/// That a job is alive is written as often.
const TELL_US: Micros = 20_000_000;

/// One table's.
pub(super) struct Lease {
    upkeep: Upkeep,
    fence: Option<Txn>,
    since: Micros,
}

impl Lease {
    fn new() -> Lease {
        Lease { upkeep: Upkeep::new(Options { held_ms: HELD_MS, ..Options::default() }), fence: None, since: 0 }
    }

    /// What a commit carries: taken at first, then held anew from time to time.
    pub(super) async fn fence(&mut self, table: &mut Table, now: Micros) -> Result<Txn, Error> {
        let fence = match self.fence.take() {
            Some(fence) if (0..LOOK_US).contains(&now.saturating_sub(self.since)) => Some(fence),
            _ => {
                self.since = now;
                self.upkeep.fence(table, now / 1000).await?
            }
        };
        self.fence = fence.clone();
        fence.ok_or(Error::Overtaken)
    }

    /// Checkpoints and merges that wait, since nobody else does them meanwhile.
    pub(super) async fn pass(&mut self, table: &mut Table, now: Micros) -> Result<(), Error> {
        match self.upkeep.pass(table, now / 1000).await?.not_owner {
            true => Err(Error::Overtaken),
            false => Ok(()),
        }
    }
}

/// Frees the maintenance of a table from a job that died and is given up: others need not wait for the end of its time.
///
/// # Errors
/// The store.
pub async fn give_back(table: &mut Table, now: Micros) -> Result<(), Error> {
    let mut lease = Lease::new();
    lease.fence(table, now).await?;
    Ok(lease.upkeep.release(table).await?)
}

/// Both tables'.
pub(super) struct Hold {
    pub(super) events: Lease,
    pub(super) dead_letters: Lease,
    clock: Arc<dyn Clock>,
    jobs: Jobs,
    job: Option<Job>,
}

impl Hold {
    pub(super) fn new(clock: Arc<dyn Clock>, jobs: Jobs) -> Hold {
        Hold { events: Lease::new(), dead_letters: Lease::new(), clock, jobs, job: None }
    }

    /// Writes how far the job is; from now on that it is alive is written from time to time.
    pub(super) async fn tell(&mut self, job: &mut Job) -> Result<(), Error> {
        job.heard_at = self.clock.now();
        self.jobs.update(job).await?;
        self.job = Some(job.clone());
        Ok(())
    }

    /// The job is over, well or not: others may keep the tables up.
    pub(super) async fn release(&mut self, events: &mut Table, dead_letters: &mut Table) {
        for (lease, table) in [(&mut self.events, events), (&mut self.dead_letters, dead_letters)] {
            lease.fence = None;
            if let Err(error) = lease.upkeep.release(table).await {
                tracing::warn!(table = table.name(), %error, "the table's maintenance can't be given back: it is free in minutes");
            }
        }
    }

    /// After a commit that another one was before: whose the lease is, is to be seen.
    pub(super) fn doubt(&mut self) {
        (self.events.fence, self.dead_letters.fence) = (None, None);
    }

    /// Holds both, anew if it is time, and says that the job is alive.
    pub(super) async fn keep(&mut self, events: &mut Table, dead_letters: &mut Table) -> Result<(), Error> {
        let now = self.clock.now();
        self.events.fence(events, now).await?;
        self.dead_letters.fence(dead_letters, now).await?;
        if let Some(job) = self.job.as_mut().filter(|job| now.saturating_sub(job.heard_at) >= TELL_US) {
            job.heard_at = now;
            self.jobs.update(job).await?;
        }
        Ok(())
    }
}
