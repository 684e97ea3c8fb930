//! What else is done for a table under its maintenance lease, by who knows what its rows mean: compaction.
use crate::table::{Error, Table, Txn};
use async_trait::async_trait;
use std::fmt::Debug;

/// One kind of work on one table, step by step.
#[async_trait]
pub trait Job: Debug + Send {
    /// One step: true when more waits. Each of its commits carries `fence`, so that an owner that slept changes nothing;
    /// `table` is of the newest snapshot. `now_ms`: ms since 1970.
    ///
    /// # Errors
    /// As [`super::Upkeep::pass`]. Whatever the step had written and not committed is gone, or an orphan.
    async fn pass(&mut self, table: &mut Table, fence: &Txn, now_ms: i64) -> Result<bool, Error>;
}

/// A table to be kept up.
#[derive(Debug)]
pub struct Tended {
    /// Its name in the metrics.
    pub name: String,
    /// Where it is.
    pub location: crate::location::Location,
    /// How.
    pub options: super::Options,
    /// What else is done for it.
    pub jobs: Vec<Box<dyn Job>>,
}
