//! Upkeep beside the flush path: checkpoints and merging of small files, for both tables, with handles of its own.
//!
//! Upkeep may fail, ingestion goes on: one old file that somebody deleted is no reason to refuse new events. What a
//! pass can't get over stops the upkeep of that table, loudly; long after it is tried again, so that a file that was
//! restored heals it. What breaks the flush path too is found there, and ends the sink. One thing ends it from here: a
//! failed fsync, since the flush path's handles can't know of it and would build on what may be lost.
use crate::{Lake, telemetry};
use event::clock::Clock;
use lake::location::Location;
use lake::table::{Error, Table};
use lake::upkeep::{Options, Pace, Upkeep};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Names of the tables in the metrics.
pub(crate) const TABLES: [&str; 2] = ["events", "dead_letters"];

/// One table's upkeep.
struct Kept {
    name: &'static str,
    location: Location,
    table: Option<Table>,
    upkeep: Upkeep,
    /// Stopped, until then.
    stopped_until: Option<Instant>,
}

impl Kept {
    fn new(name: &'static str, location: Location) -> Self {
        telemetry::upkeep_stopped(name, false);
        Kept { name, location, table: None, upkeep: Upkeep::new(Options::default()), stopped_until: None }
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
            telemetry::upkeep_stopped(self.name, false);
            tracing::info!(table = self.name, "upkeep goes on");
        }
    }

    /// The table is opened anew at the next try.
    fn stop(&mut self, error: &Error, retry: Duration) {
        self.table = None;
        let before = self.stopped_until.replace(Instant::now() + retry);
        telemetry::upkeep_stopped(self.name, true);
        if before.is_some() {
            tracing::warn!(table = self.name, %error, ?retry, "upkeep was tried again and is still stopped");
            return;
        }
        tracing::error!(
            table = self.name,
            place = ?self.location,
            %error,
            ?retry,
            "upkeep of this table stopped; events still come in and the sink stays ready, but small files pile up and \
             commits get slower. Repair what the error names (restore a missing file from a backup, or remove it from \
             the table with an engine that writes Delta): it is tried again by itself"
        );
    }
}

/// Runs passes until `stop`. A store that does not answer is only logged: the flush path tells it. Dropping it at any
/// point is safe: a pass is a compare-and-swap as any other.
///
/// # Errors
/// [`Error::NotDurable`] alone.
pub(crate) async fn run(lake: Lake, clock: Arc<dyn Clock>, pace: Pace, stop: CancellationToken) -> Result<(), Error> {
    let [events, dead_letters] = TABLES;
    let mut tables = [Kept::new(events, lake.events), Kept::new(dead_letters, lake.dead_letters)];
    let mut wait = pace.idle;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => wait = pace.idle,
        }
        for kept in tables.iter_mut().filter(|kept| !kept.is_stopped()) {
            let passed = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                passed = kept.pass(clock.now() / 1000) => passed,
            };
            match passed {
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
