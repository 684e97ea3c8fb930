//! Upkeep beside the flush path: checkpoints and merging of small files, for both tables, with handles of its own.
use crate::Lake;
use event::clock::Clock;
use lake::location::Location;
use lake::table::{Error, Table};
use lake::upkeep::{Options, Upkeep};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two passes, when nothing waits.
const INTERVAL: Duration = Duration::from_secs(30);
/// Between two passes while merges wait: the flush path shall not feel them.
const INTERVAL_BUSY: Duration = Duration::from_secs(2);

/// One table's upkeep.
struct Kept {
    location: Location,
    table: Option<Table>,
    upkeep: Upkeep,
}

impl Kept {
    fn new(location: Location) -> Self {
        Kept { location, table: None, upkeep: Upkeep::new(Options::default()) }
    }

    /// One pass; true when more waits.
    async fn pass(&mut self, now_ms: i64) -> Result<bool, Error> {
        if self.table.is_none() {
            self.table = Table::open(&self.location).await?;
        }
        let Some(table) = &mut self.table else { return Ok(false) };
        Ok(self.upkeep.pass(table, now_ms).await?.more)
    }
}

/// Runs passes until `stop`. A store that does not answer is only logged: the flush path tells it. Dropping it at any
/// point is safe: a pass is a compare-and-swap as any other.
pub(crate) async fn run(lake: Lake, clock: Arc<dyn Clock>, stop: CancellationToken) -> Result<(), Error> {
    let mut tables = [Kept::new(lake.events), Kept::new(lake.dead_letters)];
    let mut wait = INTERVAL;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => wait = INTERVAL,
        }
        for kept in &mut tables {
            let passed = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                passed = kept.pass(clock.now() / 1000) => passed,
            };
            match passed {
                Ok(true) => wait = INTERVAL_BUSY,
                Ok(false) => {}
                Err(Error::Unavailable(reason)) => {
                    tracing::warn!(table = ?kept.location, reason, "upkeep is put off: the store does not answer");
                }
                Err(error) => return Err(error),
            }
        }
    }
}
