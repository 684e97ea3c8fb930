//! What a snapshot of the table `events` holds.
use super::Mark;
use crate::positions::{Positions, covers};
use lake::table::{Error, Table};
use lake::tables::{LOG, PARTITIONS, REWRITES, ended_us, txn_names};

/// What is in a snapshot of `events`.
pub(crate) struct Reached {
    /// By partition of the log, the next offset.
    pub(crate) positions: Positions,
    pub(crate) rewrites: i64,
    /// Windows that begin before this moment (µs) have lost rows to retention.
    pub(crate) ended_us: i64,
}

impl Reached {
    /// Of this log.
    pub(crate) async fn of(events: &Table, cluster: &str, topic: &str, partitions: u32) -> Result<Reached, Error> {
        let mut positions = Positions::new();
        for partition in 0..partitions {
            let last = events.txn(&txn_names(cluster, topic, partition).offset).await?;
            let last = last.and_then(|last| u64::try_from(last).ok());
            positions.insert(partition, last.map_or(0, |last| last + 1));
        }
        let rewrites = events.txn(REWRITES).await?.unwrap_or(0);
        Ok(Reached { positions, rewrites, ended_us: ended_us(events).await? })
    }

    /// Of the log that a rollup's table is of.
    pub(crate) async fn of_log_of(rollup: &Table, events: &Table) -> Result<Reached, Error> {
        let broken =
            |what: &str| Error::Broken { table: rollup.name().to_owned(), reason: format!("it has no {what}") };
        let log = rollup.property(LOG).ok_or_else(|| broken(LOG))?;
        let (cluster, topic) = log.rsplit_once('/').ok_or_else(|| broken(LOG))?;
        let partitions = rollup.property(PARTITIONS).and_then(|count| count.parse().ok());
        Self::of(events, cluster, topic, partitions.ok_or_else(|| broken(PARTITIONS))?).await
    }

    pub(super) fn has(&self, mark: &Mark) -> bool {
        covers(&self.positions, &mark.positions) && mark.awaits.is_none_or(|awaits| awaits <= self.rewrites)
    }
}
