//! The maintenance lease: one owner rewrites files, and a paused owner that wakes up is fenced.
//!
//! The lease is a number in the table, the epoch: `txn` [`EPOCH`]. Taking it is a commit that moves it from the value
//! seen to the next one; of two that try at once, the compare-and-swap lets one through. Every maintenance commit
//! carries the fence `{expected: epoch, new: epoch}`, which is compared with the table's value on every snapshot that
//! the commit is built on. So an owner that slept through a takeover can't commit: its fence differs, and it throws
//! its files away. Time plays no part in this; a clock only keeps two live owners from taking the lease from each
//! other at every pass.
//!
//! On one machine the process that starts takes the lease from the one before it, which the folder's owner lock says
//! is gone (or is a command, which then stops).
//!
//! A job of hours (a replay) says until when it holds the lease, and says so anew while it lives: until then nobody but another
//! such job takes it, a process that starts neither. One that is killed keeps others waiting for
//! minutes. That is courtesy alone: what is exact goes by the epoch.
use super::Options;
use crate::table::{Commit, Error, Outcome, Table, Txn};

/// appId of the epoch.
pub const EPOCH: &str = "maintenance/epoch";

/// appId of the time until which a job holds the lease, ms since 1970.
const HELD_UNTIL: &str = "maintenance/held_until";

/// A time further ahead is of a clock that is wrong, and holds nothing.
const HELD_MS_MAX: i64 = 900_000;

/// What this process knows of the lease of one table.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    epoch: Option<i64>,
    /// Another owner's epoch, and since when it is known, ms.
    other: Option<(Option<i64>, i64)>,
}

/// Who owns the upkeep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// This process, with this epoch.
    Owner(i64),
    /// Another one.
    Other,
}

/// Until when a job holds the lease of a table, as its snapshot says, ms since 1970; `None`: none does.
///
/// # Errors
/// As [`Table::txn`].
pub async fn held_until(table: &Table, now_ms: i64) -> Result<Option<i64>, Error> {
    let until = table.txn(HELD_UNTIL).await?;
    Ok(until.filter(|until| (now_ms..now_ms.saturating_add(HELD_MS_MAX)).contains(until)))
}

impl Lease {
    /// Holds the lease on the table's snapshot, or takes it. From another process it is taken when that one has had it for
    /// `lease_retry_ms`: however many there are, each has it for so long. From a job only another job takes it.
    pub(crate) async fn hold(&mut self, table: &mut Table, now_ms: i64, options: &Options) -> Result<Standing, Error> {
        let seen = table.txn(EPOCH).await?;
        if let Some(epoch) = self.epoch {
            if seen == Some(epoch) {
                return self.hold_on(table, epoch, now_ms, options.held_ms).await;
            }
            // Daily bread where several sinks live.
            tracing::info!(table = table.name, epoch, now = ?seen, "another process took over the upkeep");
            (self.epoch, self.other) = (None, Some((seen, now_ms)));
        }
        match self.other {
            Some((known, _)) if known != seen => self.other = Some((seen, now_ms)),
            _ => {}
        }
        let waits = self.other.is_some_and(|(_, since)| now_ms.saturating_sub(since) < options.lease_retry_ms);
        if waits || (options.held_ms == 0 && held_until(table, now_ms).await?.is_some()) {
            return Ok(Standing::Other);
        }
        let next = seen.unwrap_or(0).saturating_add(1);
        let mut take = vec![Txn { app: EPOCH.to_owned(), expected: seen, new: next }];
        if options.held_ms > 0 {
            take.push(held(table, now_ms.saturating_add(options.held_ms)).await?);
        }
        self.moved(table, take, next, now_ms).await
    }

    /// Says anew until when, when half of the time is over.
    async fn hold_on(&mut self, table: &mut Table, epoch: i64, now_ms: i64, held_ms: i64) -> Result<Standing, Error> {
        let told_ms = now_ms.saturating_add(held_ms / 2)..=now_ms.saturating_add(held_ms);
        if held_ms == 0 || table.txn(HELD_UNTIL).await?.is_some_and(|until| told_ms.contains(&until)) {
            return Ok(Standing::Owner(epoch));
        }
        // A further epoch, so that whoever goes by epochs alone waits anew too.
        let next = epoch.saturating_add(1);
        let moved = Txn { app: EPOCH.to_owned(), expected: Some(epoch), new: next };
        let told = vec![moved, held(table, now_ms.saturating_add(held_ms)).await?];
        self.moved(table, told, next, now_ms).await
    }

    async fn moved(&mut self, table: &mut Table, txns: Vec<Txn>, epoch: i64, now_ms: i64) -> Result<Standing, Error> {
        match table.commit(&Commit { txns, ..Commit::default() }).await? {
            Outcome::Committed { .. } => {
                (self.epoch, self.other) = (Some(epoch), None);
                Ok(Standing::Owner(epoch))
            }
            Outcome::Superseded => {
                (self.epoch, self.other) = (None, Some((table.txn(EPOCH).await?, now_ms)));
                Ok(Standing::Other)
            }
        }
    }

    /// A job is over: others may take the lease.
    pub(crate) async fn release(&mut self, table: &mut Table) -> Result<(), Error> {
        let Some(epoch) = self.epoch.take() else { return Ok(()) };
        let release = vec![self.fence(epoch), held(table, 0).await?];
        // Superseded: it is another's already.
        table.commit(&Commit { txns: release, ..Commit::default() }).await.map(|_| ())
    }

    /// What every commit under the lease carries.
    pub(crate) fn fence(&self, epoch: i64) -> Txn {
        Txn { app: EPOCH.to_owned(), expected: Some(epoch), new: epoch }
    }
}

async fn held(table: &Table, until_ms: i64) -> Result<Txn, Error> {
    Ok(Txn { app: HELD_UNTIL.to_owned(), expected: table.txn(HELD_UNTIL).await?, new: until_ms })
}
