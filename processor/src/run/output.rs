//! Where a rollup's closed windows go, and how far they came there.
use crate::Error;
use crate::fold::{Partial, WindowRows};
use crate::kept::{Kept, Standing};
use crate::partials::Partials;
use crate::table::RollupTable;
use event::clock::Micros;
use lake::table::{Commit, Error as LakeError, Outcome};

/// A table that closed windows go to.
pub(super) enum Output {
    /// Who has all partitions writes rows into the rollup's table.
    Rows(RollupTable),
    /// Who shares them writes what its own come to; they are merged where all are there.
    Partials(Partials),
}

/// Windows that were closed.
pub(super) enum Closed {
    Rows(Vec<WindowRows>),
    Partials(Vec<Partial>),
}

impl Output {
    /// Closes windows as this output takes them.
    pub(super) fn close(&self, kept: &mut Kept, watermark_us: i64) -> Result<Closed, Error> {
        Ok(match self {
            Output::Rows(_) => Closed::Rows(kept.close(watermark_us)?),
            Output::Partials(_) => Closed::Partials(kept.close_partials(watermark_us)?),
        })
    }

    /// The newest snapshot's word of every partition that was begun.
    pub(super) async fn reload(&mut self, partitions: u32) -> Result<Standing, LakeError> {
        match self {
            Output::Rows(table) => Ok(table.reload(partitions).await?.clone()),
            Output::Partials(partials) => Ok(partials.reload(partitions).await?.clone()),
        }
    }

    /// What the snapshot that was looked at last said.
    pub(super) fn standing(&self) -> &Standing {
        match self {
            Output::Rows(table) => table.standing(),
            Output::Partials(partials) => partials.standing(),
        }
    }

    /// What one commit is to bring in: it brings partitions from `before` to `after`.
    pub(super) async fn prepare(
        &self,
        closed: &Closed,
        before: &Standing,
        after: &Standing,
        closed_at: Micros,
    ) -> Result<Commit, Error> {
        match (self, closed) {
            (Output::Rows(table), Closed::Rows(windows)) => {
                Ok(table.prepare(windows, before, after, closed_at).await?)
            }
            (Output::Partials(table), Closed::Partials(windows)) => Ok(table.prepare(windows, before, after).await?),
            _ => Err(Error::Broken("windows were closed for another table".to_owned())),
        }
    }

    /// Commits what was prepared; the same may be tried again after [`LakeError::Unavailable`].
    pub(super) async fn commit(&mut self, commit: &Commit, after: &Standing) -> Result<Outcome, LakeError> {
        match self {
            Output::Rows(table) => table.commit(commit, after).await,
            Output::Partials(partials) => partials.commit(commit, after).await,
        }
    }
}
