//! The audit of rollups: each closed window against what its SQL gives of the rows of the table `events`.
//!
//! ```text
//!  rollups/NAME ─▶ newest revision of each window ─▶ held ─┐
//!  events ─▶ rows that the rollup has read ─▶ the window anew ┴─▶ rows: the difference, in words
//! ```
//! It is read beside whoever writes (`snapshot`), and a window that differs is looked at again, in newer snapshots. The SQL is
//! evaluated and aggregated by the code that a correction uses.
use crate::fold::{Bounds, WindowRows};
use crate::late::{kept, recompute};
use crate::positions::covers;
use crate::rollup::{Definition, Plan};
use crate::{Error, Lake};
use held::Held;
use serde::Serialize;
use snapshot::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

mod held;
mod rows;
mod snapshot;

pub use snapshot::NOTHING_CLOSED;

/// Times that windows which differ are looked at: each time what changed meanwhile is seen.
const LOOKS: usize = 3;
/// Windows that are computed at once, when they are small: a day of minutes.
const AT_ONCE: usize = 1_440;

/// What was found of one rollup.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Audited {
    /// Its name.
    pub rollup: String,
    /// Closed windows that were compared, those without rows too.
    pub windows: u64,
    /// Rows of their newest revisions.
    pub rows: u64,
    /// Closed windows that are to be computed again, or were computed of more than the rollup has read: nothing is said of them.
    pub waiting: u64,
    /// Windows of which only sums are compared: groups were put together in them, or not every key is a column.
    pub sums_only: u64,
    /// Windows whose rows are not what the SQL gives.
    pub wrong: u64,
    /// Why none was compared, if so.
    pub not_compared: Option<String>,
    /// What is wrong, by start of the window (µs), in words.
    #[serde(skip)]
    pub different: BTreeMap<i64, String>,
}

/// The rollups of this lake that somebody keeps, and that an audit is about.
///
/// # Errors
/// The lake.
pub async fn rollups(lake: &Lake) -> Result<BTreeMap<String, Definition>, Error> {
    Ok(kept(&lake.rollups).await?)
}

/// Audits one of them. `groups`: as it is kept with. `patience`: how long a lake is waited for that lacks events which the
/// rollup has counted.
///
/// # Errors
/// The lake, or tables that can't be read.
pub async fn audit(lake: &Lake, definition: &Definition, groups: Bounds, patience: Duration) -> Result<Audited, Error> {
    let name = &definition.name;
    let plan = match Plan::new(definition).await {
        Ok(plan) => Arc::new(plan),
        Err(reason) => return Ok(Audited::not_compared(name, reason)),
    };
    let mut snapshot = match Snapshot::open(lake, name, patience).await? {
        Ok(snapshot) => snapshot,
        Err(why) => return Ok(Audited::not_compared(name, why)),
    };
    let starts = match snapshot.starts(plan.windows).await? {
        Ok(starts) => starts,
        Err(why) => return Ok(Audited::not_compared(name, why)),
    };
    let mut audited = look(&snapshot, &plan, groups, starts).await?;
    for _ in 1..LOOKS {
        if audited.different.is_empty() {
            break;
        }
        let newer = snapshot.newer(lake).await?;
        if newer.is_as(&snapshot) {
            break;
        }
        let again = audited.different.into_keys().collect();
        audited.different = look(&newer, &plan, groups, again).await?.different;
        snapshot = newer;
    }
    audited.wrong = audited.different.len() as u64;
    Ok(audited)
}

/// Compares these windows, as many at once as memory allows.
async fn look(snapshot: &Snapshot, plan: &Arc<Plan>, groups: Bounds, starts: Vec<i64>) -> Result<Audited, Error> {
    let mut looked = Audited { rollup: snapshot.name.clone(), ..Audited::default() };
    let is_whole = |start: &i64| *start >= snapshot.ended_us;
    let (marked, starts): (Vec<i64>, Vec<i64>) =
        starts.into_iter().filter(is_whole).partition(|start| snapshot.marked.contains(start));
    looked.waiting += marked.len() as u64;
    let (mut at, mut at_once) = (0, AT_ONCE);
    while at < starts.len() {
        let some: BTreeSet<i64> = starts[at..].iter().take(at_once).copied().collect();
        let compared = compare(snapshot, plan, groups, &some, &mut looked).await?;
        match compared {
            true => at += some.len(),
            // Their neighbours are as large.
            false => at_once = (some.len() / 2).max(1),
        }
    }
    Ok(looked)
}

/// Compares these windows; false: together they take more memory than is good, and there are several.
async fn compare(
    snapshot: &Snapshot,
    plan: &Arc<Plan>,
    groups: Bounds,
    starts: &BTreeSet<i64>,
    looked: &mut Audited,
) -> Result<bool, Error> {
    let Some(held) = held::newest(snapshot, plan, starts).await? else { return Ok(false) };
    // Corrections that knew more than was read yet.
    let (held, ahead): (BTreeMap<i64, Held>, BTreeMap<i64, Held>) =
        held.into_iter().partition(|(_, of)| covers(&snapshot.counted, &of.positions));
    let starts: BTreeSet<i64> = starts.iter().filter(|start| !ahead.contains_key(start)).copied().collect();
    let counted = Some(&snapshot.counted);
    let Some(windows) = recompute(&snapshot.events, plan, groups, &starts, counted).await? else { return Ok(false) };
    // A HAVING may leave out a window as a whole, and with it what a correction knew of it.
    let lacking = windows.iter().filter(|window| window.rows.num_rows() > 0 && !held.contains_key(&window.start_us));
    let lacking: BTreeSet<i64> = lacking.map(|window| window.start_us).collect();
    let mut left_out = BTreeSet::new();
    if plan.has_having() && !lacking.is_empty() {
        let Some(of_all) = recompute(&snapshot.events, plan, groups, &lacking, None).await? else { return Ok(false) };
        let with_rows: BTreeSet<i64> =
            of_all.iter().filter(|of| of.rows.num_rows() > 0).map(|of| of.start_us).collect();
        left_out = lacking.difference(&with_rows).copied().collect();
    }
    looked.windows += starts.len() as u64;
    looked.waiting += (ahead.len() + left_out.len()) as u64;
    for (start, of) in ahead {
        if !covers(&snapshot.reached, &of.positions) {
            looked.different.insert(start, "it says that it was computed of more than the lake has".to_owned());
        }
    }
    let is_judged = |window: &WindowRows| {
        !left_out.contains(&window.start_us)
            && (held.contains_key(&window.start_us) || snapshot.has_counted(window.end_us))
    };
    let windows: Vec<WindowRows> = windows.into_iter().filter(is_judged).collect();
    looked.add(plan, windows, held)?;
    Ok(true)
}

impl Audited {
    /// Of a rollup that there is nothing to compare of.
    pub fn not_compared(rollup: &str, why: impl ToString) -> Audited {
        Audited { rollup: rollup.to_owned(), not_compared: Some(why.to_string()), ..Audited::default() }
    }

    fn add(&mut self, plan: &Plan, windows: Vec<WindowRows>, mut held: BTreeMap<i64, Held>) -> Result<(), Error> {
        for window in windows {
            let start_us = window.start_us;
            let held = held.remove(&start_us);
            self.rows += held.as_ref().map_or(0, |held| held.rows.num_rows() as u64);
            let found = rows::compare(plan, &window, held.as_ref().map(|held| &held.rows)).map_err(held::arrow)?;
            self.sums_only += u64::from(found.sums_only);
            self.different.extend(found.difference.map(|words| (start_us, words)));
        }
        for (start, of) in held {
            self.rows += of.rows.num_rows() as u64;
            self.different.insert(start, format!("{} rows, and events has none for it", of.rows.num_rows()));
        }
        Ok(())
    }
}
