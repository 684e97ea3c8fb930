//! Whoever computes from `events`, seen from here: it is told before rows go that it had counted.
use async_trait::async_trait;
use lake::table::{Commit, Error, Table, Txn};
use lake::tables::REWRITES;
use std::fmt::Debug;

/// Marks windows to be computed again.
#[async_trait]
pub trait Windows: Debug + Send + Sync {
    /// Marks every window that holds one of these moments (µs), to be computed again from an `events` whose `txn`
    /// [`lake::tables::REWRITES`] is at `awaits` or above. Durable when it returns. `false`: there is no room for so many
    /// marks now.
    async fn mark(&mut self, times_us: &[i64], awaits: i64) -> Result<bool, Error>;

    /// The largest value that a mark waits for.
    async fn awaited(&mut self) -> Result<Option<i64>, Error>;
}

/// What a commit carries that removes or changes rows, and the value that marks of it await.
pub(crate) async fn next_rewrite(table: &Table) -> Result<(Txn, i64), Error> {
    let rewrites = table.txn(REWRITES).await?;
    let next = rewrites.unwrap_or(0) + 1;
    Ok((Txn { app: REWRITES.to_owned(), expected: rewrites, new: next }, next))
}

/// Marks that await what `events` does not have are of a rewrite that did not come to its commit, and never will: its owner was
/// killed, or has lost the lease. Nobody else would set what they await.
pub(crate) async fn settle(table: &mut Table, windows: &mut dyn Windows, fence: &Txn) -> Result<(), Error> {
    let (awaited, held) = (windows.awaited().await?, table.txn(REWRITES).await?);
    if let Some(awaited) = awaited.filter(|awaited| *awaited > held.unwrap_or(0)) {
        let moved = Txn { app: REWRITES.to_owned(), expected: held, new: awaited };
        let commit = Commit { txns: vec![fence.clone(), moved], ..Commit::default() };
        // Superseded: whoever was first looks as well.
        table.commit(&commit).await?;
    }
    Ok(())
}
