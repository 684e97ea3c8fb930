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
use crate::table::{Commit, Error, Outcome, Table, Txn};

/// appId of the epoch.
pub const EPOCH: &str = "maintenance/epoch";

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

impl Lease {
    /// Holds the lease on the table's snapshot, or takes it. From another process it is taken when that one has had it for
    /// `retry_ms`: however many there are, each has it for so long.
    pub(crate) async fn hold(&mut self, table: &mut Table, now_ms: i64, retry_ms: i64) -> Result<Standing, Error> {
        let seen = table.txn(EPOCH).await?;
        if let Some(epoch) = self.epoch {
            if seen == Some(epoch) {
                return Ok(Standing::Owner(epoch));
            }
            // Daily bread where several sinks live.
            tracing::info!(table = table.name, epoch, now = ?seen, "another process took over the upkeep");
            (self.epoch, self.other) = (None, Some((seen, now_ms)));
        }
        match self.other {
            Some((known, _)) if known != seen => self.other = Some((seen, now_ms)),
            _ => {}
        }
        if self.other.is_some_and(|(_, since)| now_ms.saturating_sub(since) < retry_ms) {
            return Ok(Standing::Other);
        }
        let next = seen.unwrap_or(0).saturating_add(1);
        let take = Commit { txns: vec![Txn { app: EPOCH.to_owned(), expected: seen, new: next }], ..Commit::default() };
        match table.commit(&take).await? {
            Outcome::Committed { .. } => {
                (self.epoch, self.other) = (Some(next), None);
                Ok(Standing::Owner(next))
            }
            Outcome::Superseded => {
                self.other = Some((table.txn(EPOCH).await?, now_ms));
                Ok(Standing::Other)
            }
        }
    }

    /// Moves the epoch on, while the lease is this process's: whoever waits for it waits anew.
    pub(crate) async fn renew(&mut self, table: &mut Table, now_ms: i64) -> Result<Standing, Error> {
        let Some(epoch) = self.epoch else { return Ok(Standing::Other) };
        let next = epoch.saturating_add(1);
        let moved = Txn { app: EPOCH.to_owned(), expected: Some(epoch), new: next };
        match table.commit(&Commit { txns: vec![moved], ..Commit::default() }).await? {
            Outcome::Committed { .. } => {
                self.epoch = Some(next);
                Ok(Standing::Owner(next))
            }
            Outcome::Superseded => {
                (self.epoch, self.other) = (None, Some((table.txn(EPOCH).await?, now_ms)));
                Ok(Standing::Other)
            }
        }
    }

    /// What every commit under the lease carries.
    pub(crate) fn fence(&self, epoch: i64) -> Txn {
        Txn { app: EPOCH.to_owned(), expected: Some(epoch), new: epoch }
    }
}
