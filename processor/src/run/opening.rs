//! Opening: definitions are planned, tables opened or made, the log's reader begun.
use super::{Processor, READER, Rollup, passing};
use crate::kept::Kept;
use crate::late::{Corrected, Corrector, LateWindows};
use crate::rollup::{Definition, Plan};
use crate::table::RollupTable;
use crate::{Config, Error, Parts, Timing};
use lake::location::Location;
use lake::table::{Error as LakeError, Table};
use lake::tables::DEDUP_ROWS;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Every rollup with its plan.
pub(crate) async fn plans(config: &Config) -> Result<Vec<(&Definition, Arc<Plan>)>, Error> {
    let mut plans = Vec::new();
    for (number, definition) in config.rollups.iter().enumerate() {
        if config.rollups[..number].iter().any(|other| other.name == definition.name) {
            return Err(Error::Twice(definition.name.clone()));
        }
        let plan = Plan::new(definition).await;
        let refused = |reason| Error::Refused { rollup: definition.name.clone(), reason };
        plans.push((definition, Arc::new(plan.map_err(refused)?)));
    }
    Ok(plans)
}

impl Processor {
    /// Opens log and tables, waiting for them as long as it takes; `None`: told to stop meanwhile.
    pub(super) async fn open(
        config: Config,
        parts: Parts,
        timing: Timing,
        shutdown: &CancellationToken,
    ) -> Result<Option<(Processor, Corrector)>, Error> {
        let Parts { log, lake, dedup_rows, bounds, clock, live, report } = parts;
        let plans = plans(&config).await?;
        let (groups, open_bytes_max) = (config.bounds, config.open_bytes_max);
        // Windows are of all partitions: where readers of one name share them, it has no name.
        let name = (!log.is_shared()).then_some(READER);
        loop {
            let opened = async {
                let dedup_rows = dedup_rows_of(&lake.events).await?.unwrap_or(dedup_rows);
                let (mut rollups, mut corrected) = (Vec::new(), Vec::new());
                for (definition, plan) in &plans {
                    let at = lake.rollups.join(&definition.name);
                    let open = async || RollupTable::open(&at, definition, plan, log.as_ref(), dedup_rows).await;
                    let table = open().await?;
                    let (name, plan) = (definition.name.clone(), plan.clone());
                    corrected.push(Corrected::new(name, plan.clone(), open().await?));
                    let allowed_lateness = definition.allowed_lateness;
                    let kept = Kept::new(plan.clone(), groups, allowed_lateness, i64::MIN);
                    rollups.push(Rollup {
                        name: definition.name.clone(),
                        table,
                        kept,
                        plan,
                        allowed_lateness,
                        committed_at: Instant::now(),
                        recent: VecDeque::new(),
                        has_changed: true,
                        unshown: None,
                        open_at_tick: 0,
                    });
                }
                let late_windows = LateWindows::open(&lake.late_windows, log.as_ref()).await?;
                let corrector = Corrector {
                    rollups: corrected,
                    late: LateWindows::open(&lake.late_windows, log.as_ref()).await?,
                    events: (lake.events.clone(), None),
                    log: log.clone(),
                    groups,
                    clock: clock.clone(),
                    pause: timing.correct,
                };
                Ok::<_, Error>((rollups, late_windows, corrector, dedup_rows, log.reader(name).await?))
            };
            let opened = tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                opened = opened => opened,
            };
            match opened {
                Ok((rollups, late_windows, corrector, dedup_rows, reader)) => {
                    let (topic, partitions) = (log.topic().to_owned(), BTreeMap::new());
                    let (began, shutdown) = (Instant::now(), shutdown.clone());
                    let processor = Processor {
                        log,
                        reader,
                        topic,
                        rollups,
                        late_windows,
                        marked_at: began,
                        live,
                        partitions,
                        dedup_rows,
                        bounds,
                        groups,
                        open_bytes_max,
                        records_since_look: 0,
                        clock,
                        began,
                        timing,
                        report,
                        shutdown,
                        resume_due: false,
                        closing: false,
                        standby: None,
                        offset_errors: 0,
                        trouble: false,
                        stopped: false,
                    };
                    return Ok(Some((processor, corrector)));
                }
                Err(error) => {
                    let Some(reason) = passing(&error) else { return Err(error) };
                    (report)(Err(format!("processor can't start yet: {reason}")));
                    tokio::select! {
                        () = shutdown.cancelled() => return Ok(None),
                        () = sleep(timing.retry) => {}
                    }
                }
            }
        }
    }
}

/// Rows of the dedup window that the table `events` was made with; `None`: there is none yet.
async fn dedup_rows_of(events: &Location) -> Result<Option<usize>, LakeError> {
    let table = Table::open(events).await?;
    Ok(table.and_then(|table| table.property(DEDUP_ROWS)).and_then(|rows| rows.parse().ok()))
}
