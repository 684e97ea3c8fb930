//! Upkeep beside a role that writes: checkpoints and merging of small files of its tables, with handles of its own.
//!
//! Upkeep may fail, the role goes on: one old file that somebody deleted is no reason to refuse new events. What a pass
//! can't get over stops the upkeep of that table, loudly; long after it is tried again, so that a file that was restored
//! heals it. What breaks the role's own commits too is found there, and ends the role. One thing ends it from here: a
//! failed fsync, since the role's handles can't know of it and would build on what may be lost.
use super::{Pace, Tended, Upkeep};
use crate::location::Location;
use crate::table::{Error, Table};
use event::clock::Clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// 1: upkeep of the table stopped and waits for an operator; the log says why.
const STOPPED: &str = "playhead_lake_upkeep_stopped";

/// Tells whether the upkeep of a table, by its name in the metrics, stands still.
pub fn tell_stopped(table: &str, stopped: bool) {
    metrics::gauge!(STOPPED, "table" => table.to_owned()).set(if stopped { 1.0 } else { 0.0 });
}

/// One table's upkeep.
struct Kept {
    name: String,
    location: Location,
    table: Option<Table>,
    upkeep: Upkeep,
    /// Stopped, until then.
    stopped_until: Option<Instant>,
}

impl Kept {
    fn new(Tended { name, location, options, jobs }: Tended) -> Self {
        tell_stopped(&name, false);
        Kept { name, location, table: None, upkeep: Upkeep::with_jobs(options, jobs), stopped_until: None }
    }

    fn is_stopped(&self) -> bool {
        self.stopped_until.is_some_and(|until| Instant::now() < until)
    }

    /// One pass; true when more waits.
    async fn pass(&mut self, now_ms: i64) -> Result<bool, Error> {
        if self.table.is_none() {
            self.table = Table::open(&self.location).await?;
        }
        let Some(table) = &mut self.table else { return Ok(false) };
        Ok(self.upkeep.pass(table, now_ms).await?.more)
    }

    fn passed(&mut self) {
        if self.stopped_until.take().is_some() {
            tell_stopped(&self.name, false);
            tracing::info!(table = self.name, "upkeep goes on");
        }
    }

    /// The table is opened anew at the next try.
    fn stop(&mut self, error: &Error, retry: Duration) {
        self.table = None;
        let before = self.stopped_until.replace(Instant::now() + retry);
        tell_stopped(&self.name, true);
        if before.is_some() {
            tracing::warn!(table = self.name, %error, ?retry, "upkeep was tried again and is still stopped");
            return;
        }
        tracing::error!(
            table = self.name,
            place = ?self.location,
            %error,
            ?retry,
            "upkeep of this table stopped; events still come in, but small files pile up and \
             commits get slower. Repair what the error names (restore a missing file from a backup, or remove it from \
             the table with an engine that writes Delta): it is tried again by itself"
        );
    }
}

/// Runs passes over tables until it is dropped, which is safe at any point: a pass is
/// a compare-and-swap as any other. A store that does not answer is only logged: the role's own commits tell it.
///
/// # Errors
/// [`Error::NotDurable`] alone.
pub async fn tend(tables: Vec<Tended>, clock: Arc<dyn Clock>, pace: Pace) -> Result<(), Error> {
    let mut tables: Vec<Kept> = tables.into_iter().map(Kept::new).collect();
    let mut wait = pace.idle;
    loop {
        tokio::time::sleep(std::mem::replace(&mut wait, pace.idle)).await;
        for kept in tables.iter_mut().filter(|kept| !kept.is_stopped()) {
            match kept.pass(clock.now() / 1000).await {
                Ok(more) => {
                    kept.passed();
                    if more {
                        wait = pace.busy;
                    }
                }
                Err(Error::Unavailable(reason)) => {
                    tracing::warn!(table = kept.name, reason, "upkeep is put off: the store does not answer");
                }
                Err(error @ Error::NotDurable { .. }) => return Err(error),
                Err(error @ (Error::Incompatible { .. } | Error::Refused { .. } | Error::Broken { .. })) => {
                    kept.stop(&error, pace.stopped)
                }
            }
        }
    }
}
