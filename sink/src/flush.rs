//! One flush: what it commits, and the steps of its commit.
//!
//! ```text
//! Flush ─▶ dead_letters: write files ─▶ commit ─▶ events: write files ─▶ commit ─▶ Committed
//!              │                          │              │                 │
//!              └── unavailable: the same step again ─────┴─────────────────┘    fence moved: discard, Superseded
//! ```
//! Promise: [`FlushCommit::advance`] goes on where it failed. Files that are written are not written again, and the
//! same commit is tried again with the same fences, so that one whose reply was lost is found, not doubled.
use crate::Error;
use crate::buffer::{Dated, Rows, dated};
use crate::dead_letter::{self, DeadRow};
use crate::partition::{DeadCommitted, Partition};
use crate::position::Committed;
use crate::tables::Tables;
use event::clock::Micros;
use lake::table::{Commit, DataFile, Outcome, Table, Txn};
use lake::tables::{EVENT_DATE, RECEIVED_DATE, TxnNames};
use std::collections::BTreeMap;

/// One partition's step.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) partition: u32,
    names: TxnNames,
    from: Option<Committed>,
    pub(crate) to: Committed,
    dead_from: Option<DeadCommitted>,
    /// Set when this flush has new dead letters of the partition.
    pub(crate) dead_to: Option<DeadCommitted>,
}

/// A sealed flush.
#[derive(Debug)]
pub(crate) struct Flush {
    pub(crate) moves: Vec<Move>,
    rows: Rows,
    dead: BTreeMap<u32, Vec<DeadRow>>,
    /// The largest `received_at` of its rows.
    pub(crate) received_at_max: Option<Micros>,
}

/// What a flush brought, beside positions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) rows: u64,
    pub(crate) duplicates: u64,
    pub(crate) dead_letters: u64,
}

impl Flush {
    /// Everything that waits; `None`: nothing was read since the last commit.
    pub(crate) fn seal(
        partitions: &BTreeMap<u32, Partition>,
        rows: Rows,
        dead: BTreeMap<u32, Vec<DeadRow>>,
    ) -> Option<Flush> {
        let mut moves = Vec::new();
        for (number, partition) in partitions {
            let Some(to) = partition.next_committed() else { continue };
            let dead_to = dead.get(number).map(|rows| DeadCommitted {
                last: to.last,
                fingerprint: to.fingerprint,
                rows: partition.dead_committed.map_or(0, |before| before.rows) + rows.len() as u64,
            });
            moves.push(Move {
                partition: *number,
                names: partition.names.clone(),
                from: partition.committed,
                to,
                dead_from: partition.dead_committed,
                dead_to,
            });
        }
        let received_at_max = partitions.values().filter_map(|partition| partition.pending.received_at_max).max();
        (!moves.is_empty()).then_some(Flush { moves, rows, dead, received_at_max })
    }

    /// What it brings.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for Move { from, to, .. } in &self.moves {
            let before = |count: fn(&Committed) -> u64| from.as_ref().map_or(0, count);
            totals.rows += to.rows - before(|from| from.rows);
            totals.duplicates += to.duplicates - before(|from| from.duplicates);
            totals.dead_letters += to.dead_letters - before(|from| from.dead_letters);
        }
        totals
    }
}

/// A fence and its step; `None`: the value stays, and the fence of the offset stands for it.
fn txn(app: &str, expected: Option<i64>, new: i64) -> Option<Txn> {
    (expected != Some(new)).then(|| Txn { app: app.to_owned(), expected, new })
}

fn events_txns(step: &Move) -> impl Iterator<Item = Txn> {
    let Move { names, from, to, .. } = step;
    let number = |app: &str, value: fn(&Committed) -> u64| {
        txn(app, from.as_ref().map(|from| value(from).cast_signed()), value(to).cast_signed())
    };
    let txns = [
        number(&names.offset, |at| at.last),
        txn(&names.fingerprint, from.as_ref().map(|from| from.fingerprint), to.fingerprint),
        number(&names.dedup, |at| at.dedup),
        number(&names.rows, |at| at.rows),
        number(&names.duplicates, |at| at.duplicates),
        number(&names.dead_letters, |at| at.dead_letters),
    ];
    txns.into_iter().flatten()
}

fn dead_txns(step: &Move) -> Vec<Txn> {
    let Move { names, dead_from: from, dead_to: Some(to), .. } = step else { return Vec::new() };
    let number = |app: &str, value: fn(&DeadCommitted) -> u64| {
        txn(app, from.as_ref().map(|from| value(from).cast_signed()), value(to).cast_signed())
    };
    let txns = [
        number(&names.offset, |at| at.last),
        txn(&names.fingerprint, from.as_ref().map(|from| from.fingerprint), to.fingerprint),
        number(&names.dead_letters, |at| at.rows),
    ];
    txns.into_iter().flatten().collect()
}

/// A flush on its way into the tables.
pub(crate) struct FlushCommit {
    pub(crate) flush: Flush,
    /// `None`: committed, or nothing to commit.
    dead: Option<Step>,
    events: Step,
}

impl FlushCommit {
    /// Prepares the commit; takes the rows out of the flush.
    pub(crate) fn new(mut flush: Flush, tables: &Tables) -> Result<Self, Error> {
        let events = Step::new(EVENT_DATE, dated(std::mem::take(&mut flush.rows)));
        let dead = match std::mem::take(&mut flush.dead) {
            dead if dead.is_empty() => None,
            dead => Some(Step::new(
                RECEIVED_DATE,
                dead_letter::by_date(dead, &tables.dead_letters.schema(), &tables.topic).map_err(Error::Broken)?,
            )),
        };
        Ok(FlushCommit { flush, dead, events })
    }

    /// Goes on to the end, or to the first step that fails; call it again when the failure was a passing one.
    pub(crate) async fn advance(&mut self, tables: &mut Tables) -> Result<Outcome, lake::table::Error> {
        if let Some(dead) = &mut self.dead {
            let txns = self.flush.moves.iter().flat_map(dead_txns).collect();
            if dead.advance(&mut tables.dead_letters, txns).await? == Outcome::Superseded {
                return Ok(Outcome::Superseded);
            }
            self.dead = None;
        }
        let txns = self.flush.moves.iter().flat_map(events_txns).collect();
        self.events.advance(&mut tables.events, txns).await
    }
}

/// One table's part of a flush.
struct Step {
    partition_column: &'static str,
    unwritten: Dated,
    files: Vec<DataFile>,
    /// A commit failed before its outcome was known: its files may be the table's.
    in_doubt: bool,
}

impl Step {
    fn new(partition_column: &'static str, unwritten: Dated) -> Self {
        Step { partition_column, unwritten, files: Vec::new(), in_doubt: false }
    }

    async fn advance(&mut self, table: &mut Table, txns: Vec<Txn>) -> Result<Outcome, lake::table::Error> {
        while let Some((date, groups)) = self.unwritten.last() {
            let values = BTreeMap::from([(self.partition_column.to_owned(), Some(date.clone()))]);
            // Batches are shared, not copied: the rows stay here until their file is durable.
            self.files.push(table.write_file(values, groups.clone()).await?);
            self.unwritten.pop();
        }
        let commit = Commit { adds: self.files.clone(), txns, data_change: true, ..Commit::default() };
        let outcome = table.commit(&commit).await;
        match outcome {
            Err(_) => self.in_doubt = true,
            // What may be in the table after all is left to vacuum.
            Ok(Outcome::Superseded) if !self.in_doubt => table.discard(&self.files).await,
            Ok(_) => {}
        }
        outcome
    }
}
