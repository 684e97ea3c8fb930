//! Opening: definitions are planned, tables opened or made, the log's reader begun.
use super::output::Output;
use super::{Processor, READER, Rollup, Seen};
use crate::late::{Corrected, Corrector, LateWindows};
use crate::live::{Viewed, Viewer};
use crate::partials::{Closer, Merged, Partials};
use crate::rollup::{Definition, Plan};
use crate::table::RollupTable;
use crate::{Config, Error, Lake, Parts, Timing};
use lake::location::Location;
use lake::table::{Error as LakeError, Table};
use lake::tables::DEDUP_ROWS;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
    ) -> Result<Option<(Processor, Corrector, Option<(Closer, Viewer)>)>, Error> {
        let Parts { log, lake, dedup_rows, bounds, clock, live, peers, report } = parts;
        let plans = plans(&config).await?;
        let (groups, open_bytes_max) = (config.bounds, config.open_bytes_max);
        let leads = Arc::new(AtomicBool::new(false));
        loop {
            let opened = async {
                let dedup_rows = dedup_rows_of(&lake.events).await?.unwrap_or(dedup_rows);
                let (mut rollups, mut corrected) = (Vec::new(), Vec::new());
                let (mut merged, mut viewed) = (Vec::new(), Vec::new());
                for (definition, plan) in &plans {
                    let tables = Tables { lake: &lake, definition, plan, log: log.as_ref(), dedup_rows };
                    let output = match log.is_shared() {
                        true => Output::Partials(tables.partials().await?),
                        false => Output::Rows(tables.rollup().await?),
                    };
                    let name = definition.name.clone();
                    corrected.push(Corrected::new(name.clone(), plan.clone(), tables.rollup().await?));
                    if log.is_shared() {
                        let (table, partials) = (tables.rollup().await?, tables.partials().await?);
                        let allowed_lateness = definition.allowed_lateness;
                        merged.push(Merged::new(name.clone(), plan.clone(), allowed_lateness, table, partials));
                        let (table, partials) = (tables.rollup().await?, tables.partials().await?);
                        viewed.push(Viewed::new(name, plan.clone(), table, partials));
                    }
                    rollups.push(Rollup::new(definition, plan.clone(), output, groups));
                }
                let late_windows = || LateWindows::open(&lake.late_windows, log.as_ref());
                let corrector = Corrector {
                    rollups: corrected,
                    late: late_windows().await?,
                    events: (lake.events.clone(), None),
                    log: log.clone(),
                    groups,
                    clock: clock.clone(),
                    leads: leads.clone(),
                    pause: timing.correct,
                };
                let closer = Closer {
                    rollups: merged,
                    late: late_windows().await?,
                    partitions: log.writer().partitions(),
                    groups,
                    clock: clock.clone(),
                    leads: leads.clone(),
                    looked_at: Instant::now(),
                    pause: timing.look,
                };
                let viewer = Viewer {
                    rollups: viewed,
                    live: live.clone(),
                    peers: peers.clone(),
                    partitions: log.writer().partitions(),
                    groups,
                    clock: clock.clone(),
                    retry: timing.retry,
                };
                let sharing = log.is_shared().then_some((closer, viewer));
                let reader = log.reader(Some(READER)).await?;
                Ok::<_, Error>((rollups, late_windows().await?, corrector, sharing, dedup_rows, reader))
            };
            let opened = tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                opened = opened => opened,
            };
            match opened {
                Ok((rollups, late_windows, corrector, sharing, dedup_rows, reader)) => {
                    let (topic, partitions) = (log.topic().to_owned(), BTreeMap::new());
                    let (began, shutdown) = (Instant::now(), shutdown.clone());
                    let processor = Processor {
                        log,
                        reader,
                        topic,
                        rollups,
                        late_windows,
                        marked_at: began,
                        seen: Seen::default(),
                        looked_at: began,
                        leads,
                        live,
                        partitions,
                        dedup_rows,
                        bounds,
                        groups,
                        open_bytes_max,
                        folded_since_look: 0,
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
                    return Ok(Some((processor, corrector, sharing)));
                }
                Err(error) => {
                    let Some(reason) = error.passing() else { return Err(error) };
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

/// Opens a rollup's tables.
struct Tables<'a> {
    lake: &'a Lake,
    definition: &'a Definition,
    plan: &'a Plan,
    log: &'a dyn log::Log,
    dedup_rows: usize,
}

impl Tables<'_> {
    async fn rollup(&self) -> Result<RollupTable, LakeError> {
        let at = self.lake.rollups.join(&self.definition.name);
        RollupTable::open(&at, self.definition, self.plan, self.log, self.dedup_rows).await
    }

    async fn partials(&self) -> Result<Partials, LakeError> {
        let rollup = self.lake.rollups.join(&self.definition.name);
        if Table::open(&self.lake.partials.join(&self.definition.name)).await?.is_some()
            && Table::open(&rollup).await?.is_none()
        {
            // Before a new one is made there, which would be in the way of the old one.
            return Err(Partials::without_rollup(&self.definition.name));
        }
        let (at, mut rollup) = (self.lake.partials.join(&self.definition.name), self.rollup().await?);
        Partials::open(&at, &mut rollup, self.definition, self.plan, self.log, self.dedup_rows).await
    }
}

/// Rows of the dedup window that the table `events` was made with; `None`: there is none yet.
async fn dedup_rows_of(events: &Location) -> Result<Option<usize>, LakeError> {
    let table = Table::open(events).await?;
    Ok(table.and_then(|table| table.property(DEDUP_ROWS)).and_then(|rows| rows.parse().ok()))
}
