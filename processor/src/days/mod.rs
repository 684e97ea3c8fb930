//! Days of a rollup as rows of a table of their own, `days/NAME`: a year of them is read in a moment, a year of minutes is not.
//!
//! ```text
//!  rollups/NAME ─▶ days that are over, and not kept as their windows are now ─▶ settled? (due) ─▶ newest revisions of the day,
//!    closed to W                                                                                   put together (merge)
//!    day/D: the last correction that touched D                                                              │
//!  days/NAME ◀── one commit: files of D out, its rows in, day/D: the correction that they know ◀────────────┘
//! ```
//! Rows of a day are a function of the rollup's table, and the table is the truth: whoever reads both takes a day from here only if
//! the two say the same of it ([`kept`]), and puts its windows together else. So a correction need not reach both in one step,
//! and of two processors that compute one day who is behind loses its compare-and-swap. Done under the upkeep's lease of the rollup's
//! table, which only keeps most work from being done twice: the fence of each day is what counts.
mod due;
mod merge;
mod merging;
mod table;

pub use merging::{Length, Merging};
pub use table::kept;

use crate::limits::{DAY_ROWS_AT_ONCE, DAYS_AT_ONCE};
use crate::rollup::{Definition, Plan, Refused};
use crate::table::{base_of, day};
use crate::{Error, telemetry};
use async_trait::async_trait;
use datafusion::common::DataFusionError;
use due::{Settling, WAIT_MAX_MS};
use event::clock::Micros;
use futures::{StreamExt, TryStreamExt};
use lake::location::Location;
use lake::table::{ActiveFile, Commit, DataFile, Error as LakeError, Layout, Outcome, Table, Txn};
use lake::upkeep::Job;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Whether days of a rollup can be kept as rows.
///
/// # Errors
/// Its windows can't be put together, or a column of its own is named as one of the days; and what to select instead.
pub fn can_be_kept(plan: &Plan) -> Result<(), Refused> {
    match Merging::new(plan, Length::Day)?.columns().iter().any(|column| column == table::DATE) {
        true => Err(Refused::new(
            format!("a column of it is named {}, as one of the days is", table::DATE),
            "give it another name",
        )),
        false => Ok(()),
    }
}

/// Keeps the days of one rollup.
#[derive(Debug)]
pub(crate) struct Days {
    name: String,
    plan: Arc<Plan>,
    rollup: Location,
    at: Location,
    table: Option<Table>,
    settling: Settling,
    /// When it met what it could not get over, ms.
    failed_ms: i64,
}

impl Days {
    /// Of the rollup whose table is at `rollup`; `None`: its days can't be kept ([`can_be_kept`]), and the log says why.
    pub(crate) fn new(definition: &Definition, plan: &Arc<Plan>, rollup: Location, at: Location) -> Option<Days> {
        let name = definition.name.clone();
        if let Err(reason) = can_be_kept(plan) {
            tracing::info!(rollup = name, %reason, "days of this rollup are not kept");
            return None;
        }
        let (plan, settling) = (plan.clone(), Settling::default());
        Some(Days { name, plan, rollup, at, table: None, settling, failed_ms: i64::MIN / 2 })
    }

    async fn step(&mut self, rollup: &Table, now_ms: i64) -> Result<bool, Error> {
        match &mut self.table {
            Some(days) => days.reload().await?,
            None => self.table = Table::open(&self.at).await?,
        }
        let over = table::over(&self.name, self.plan.windows.length_us(), rollup, self.table.as_ref()).await?;
        let due = self.settling.due(&over, now_ms);
        if due.is_empty() {
            return Ok(false);
        }
        let Some(rollup) = Table::open(&self.rollup).await?.map(Arc::new) else { return Ok(false) };
        let days = match self.table.take() {
            Some(days) => days,
            None => Table::open_or_create(&self.at, &table::spec(&rollup, &merge::merging(&self.plan)?)?).await?,
        };
        table::check(&days, &rollup)?;
        let days = self.table.insert(days);
        let mut of_step = Step::default();
        for waiting in due.iter().take(DAYS_AT_ONCE) {
            match of_step.compute(days, &rollup, (&self.name, &self.plan), waiting.number, now_ms * 1_000).await {
                Ok(()) => {}
                Err(error) if is_of_store(&error) => {
                    days.discard(&of_step.commit.adds).await;
                    return Err(error);
                }
                // One day that can't be computed holds up no other.
                Err(error) => {
                    self.settling.failed(waiting, now_ms);
                    telemetry::days_failed(&self.name);
                    let date = table::date(waiting.number);
                    tracing::error!(rollup = self.name, date, %error, "a day can't be computed; it is tried again in an hour");
                }
            }
            if of_step.rows_read > DAY_ROWS_AT_ONCE {
                break;
            }
        }
        self.commit(of_step, due.len()).await
    }

    async fn commit(&mut self, of_step: Step, due: usize) -> Result<bool, Error> {
        let Some(days) = self.table.as_mut().filter(|_| !of_step.computed.is_empty()) else { return Ok(false) };
        let Step { commit, computed, .. } = of_step;
        match days.commit(&commit).await? {
            Outcome::Committed { version } => {
                let rows: u64 = commit.adds.iter().map(|file| file.rows).sum();
                tracing::info!(rollup = self.name, days = computed.len(), rows, version, "days computed");
                telemetry::days(&self.name, commit.adds.len());
                let is_more = computed.len() < due;
                computed.into_iter().for_each(|day| self.settling.computed(day));
                Ok(is_more)
            }
            Outcome::Superseded => {
                days.discard(&commit.adds).await;
                Ok(true)
            }
        }
    }
}

#[async_trait]
impl Job for Days {
    /// What it can't get over is said, and tried again an hour later: nothing else of the table's upkeep waits for it, and
    /// who reads `days.NAME` gets them from the windows. Its commits are to another table, and so without the lease's fence: that
    /// of each day does for it.
    async fn pass(&mut self, table: &mut Table, _fence: &Txn, now_ms: i64) -> Result<bool, LakeError> {
        if (0..WAIT_MAX_MS).contains(&(now_ms - self.failed_ms)) {
            return Ok(false);
        }
        match self.step(table, now_ms).await {
            Ok(is_more) => Ok(is_more),
            Err(Error::Lake(error @ (LakeError::Unavailable(_) | LakeError::NotDurable { .. }))) => Err(error),
            Err(error) => {
                (self.table, self.failed_ms) = (None, now_ms);
                telemetry::days_failed(&self.name);
                tracing::error!(rollup = self.name, %error, "days can't be computed; it is tried again in an hour");
                Ok(false)
            }
        }
    }
}

/// The store does not answer, or takes no more writes.
fn is_of_store(error: &Error) -> bool {
    matches!(error, Error::Lake(LakeError::Unavailable(_) | LakeError::NotDurable { .. }))
}

/// Some days, computed for one commit.
struct Step {
    commit: Commit,
    computed: Vec<i64>,
    rows_read: u64,
}

impl Default for Step {
    fn default() -> Self {
        Step { commit: Commit { data_change: true, ..Commit::default() }, computed: Vec::new(), rows_read: 0 }
    }
}

impl Step {
    /// Adds a day, as this snapshot of the rollup's table says.
    async fn compute(
        &mut self,
        days: &Table,
        rollup: &Arc<Table>,
        (name, plan): (&str, &Plan),
        number: i64,
        now: Micros,
    ) -> Result<(), Error> {
        let seen = table::look(name, number, rollup, Some(days)).await?;
        let files = merge::files(rollup, number).await?;
        self.rows_read += files.iter().filter_map(|file| file.rows).sum::<u64>();
        let added = write(days, rollup, files, plan, number, now).await?;
        self.commit.adds.extend(added);
        self.commit.removes.extend(table::files(days, number).await?);
        let app = day(&base_of(rollup, name), number);
        self.commit.txns.push(Txn { app, expected: seen.computed, new: seen.corrected });
        self.computed.push(number);
        Ok(())
    }
}

/// Writes the rows of a day, if it has any.
async fn write(
    days: &Table,
    rollup: &Arc<Table>,
    files: Vec<ActiveFile>,
    plan: &Plan,
    number: i64,
    now: Micros,
) -> Result<Option<DataFile>, Error> {
    let Some(rows) = merge::day(rollup, files, plan, number, now).await? else { return Ok(None) };
    // Who writes knows errors of the lake alone: what else ended the rows is kept here.
    let failed = Arc::new(Mutex::new(None));
    let (name, ended) = (days.name().to_owned(), failed.clone());
    let rows = rows.map_ok(Some).map_err(move |error| {
        of_lake(error).unwrap_or_else(|error| {
            let reason = error.to_string();
            *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            LakeError::Broken { table: name.clone(), reason }
        })
    });
    let date = BTreeMap::from([(table::DATE.to_owned(), table::date(number))]);
    let written = days.write_stream(date, Layout::Log, rows.boxed()).await;
    if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(Error::Computing(error));
    }
    let file = written?;
    if file.rows == 0 {
        // Of windows that overlap none tiles time there.
        days.discard(std::slice::from_ref(&file)).await;
        return Ok(None);
    }
    Ok(Some(file))
}

/// The lake's own error where there is one: a store that does not answer is waited for.
fn of_lake(error: DataFusionError) -> Result<LakeError, DataFusionError> {
    match error {
        DataFusionError::External(error) => match error.downcast::<LakeError>() {
            Ok(error) => Ok(*error),
            Err(error) => Err(DataFusionError::External(error)),
        },
        DataFusionError::Context(words, error) => {
            of_lake(*error).map_err(|error| DataFusionError::Context(words, Box::new(error)))
        }
        other => Err(other),
    }
}
