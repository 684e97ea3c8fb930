//! The task that merges: beside the loop, with handles of its own, from what the tables say alone.
use super::encoding::Undecodable;
use super::table::{Partials, Piece};
use crate::Error;
use crate::fold::{Bounds, Fold, WindowRows};
use crate::kept::Standing;
use crate::late::{LateWindows, Mark, Marks};
use crate::limits::{CLOSED_AT_ONCE, CORRECTED_BYTES_MAX, OPEN_BYTES_MAX};
use crate::positions::Positions;
use crate::rollup::Plan;
use crate::table::RollupTable;
use crate::telemetry::{self, Lasting};
use event::clock::{Clock, Micros};
use lake::table::{ActiveFile, Error as LakeError, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks of who does not close.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// So long may nobody count a partition before it is said: processors are started one after the other.
const UNCOUNTED_MAX: Duration = Duration::from_secs(60);

/// A rollup whose windows are merged.
pub(crate) struct Merged {
    name: String,
    plan: Arc<Plan>,
    allowed_lateness: Duration,
    table: RollupTable,
    partials: Partials,
    /// Windows that are merged at once: fewer where they were too large.
    at_once: usize,
    /// W is this at least, µs.
    reached_us: i64,
    /// Some partition is not counted by anybody.
    uncounted: Lasting,
}

/// Merges windows of which every partition has its part.
pub(crate) struct Closer {
    pub(crate) rollups: Vec<Merged>,
    pub(crate) late: LateWindows,
    pub(crate) partitions: u32,
    pub(crate) groups: Bounds,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether this processor is the one that closes.
    pub(crate) leads: Arc<AtomicBool>,
    /// When one that does not looked last.
    pub(crate) looked_at: Instant,
    /// Between two passes.
    pub(crate) pause: Duration,
}

impl Closer {
    /// Goes on until it is dropped, which is safe at any point.
    ///
    /// # Errors
    /// What does not pass: a table that is broken, an fsync that failed. Windows would never be closed.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        loop {
            let more = match self.leads.load(Ordering::Relaxed) {
                true => self.pass().await,
                false => self.look().await.map(|()| false),
            };
            match more {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => match error.passing() {
                    Some(reason) => tracing::warn!(reason, "windows are closed later"),
                    None => return Err(error),
                },
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Whoever does not close looks now and then whether all can be closed: who closes may not know a rollup.
    async fn look(&mut self) -> Result<(), Error> {
        if self.looked_at.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked_at = Instant::now();
        for rollup in &mut self.rollups {
            let standing = rollup.partials.reload(self.partitions).await?.clone();
            rollup.tell_uncounted(&standing, self.partitions);
        }
        Ok(())
    }

    /// Closes what can be now; true when more waits.
    async fn pass(&mut self) -> Result<bool, Error> {
        let (mut more, mut failed) = (false, None);
        for rollup in &mut self.rollups {
            match rollup.close(&mut self.late, self.partitions, self.groups, self.clock.as_ref()).await {
                Ok(is_more) => more |= is_more,
                // One that can't be closed does not hold up the others.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(more), Err)
    }
}

/// By start of a window, µs, how many events.
type Unreadable = BTreeMap<i64, u64>;

/// What is to be closed.
struct Due {
    /// W as it is.
    from_us: Option<i64>,
    /// W when the last partition was begun.
    began_us: i64,
    /// W as it is to be.
    to_us: i64,
    /// P of all partitions. What they have of these windows below it is in the partials: what came later is late, and such
    /// windows are marked.
    reached: Positions,
    files: Vec<ActiveFile>,
    /// Starts of the windows that have groups, µs.
    starts: BTreeSet<i64>,
    more: bool,
}

impl Merged {
    /// Of a rollup whose windows are to be merged.
    pub(crate) fn new(
        name: String,
        plan: Arc<Plan>,
        allowed_lateness: Duration,
        table: RollupTable,
        partials: Partials,
    ) -> Self {
        Merged {
            name,
            plan,
            allowed_lateness,
            table,
            partials,
            at_once: CLOSED_AT_ONCE,
            reached_us: i64::MIN,
            uncounted: Lasting::default(),
        }
    }

    async fn close(
        &mut self,
        late: &mut LateWindows,
        partitions: u32,
        groups: Bounds,
        clock: &dyn Clock,
    ) -> Result<bool, Error> {
        let Some(mut due) = self.due(partitions).await? else { return Ok(false) };
        // After the partials: who did not count an event of one of these windows had marked it before.
        let marks = if due.starts.is_empty() { Marks::new() } else { late.read().await? };
        let is_marked = |start: &i64| marks.get(&(self.name.clone(), *start)).is_some_and(Mark::has_late_events);
        due.starts.retain(|start| !is_marked(start));
        let Some((mut windows, unreadable)) = self.merge(&due, groups).await? else {
            self.at_once = (due.starts.len() / 2).max(1);
            return Ok(true);
        };
        let closed_at = clock.now();
        if !unreadable.is_empty() {
            // Before W moves past them.
            late.mark(&self.marks(&unreadable, &due.reached, closed_at)).await?;
            windows.retain(|window| !unreadable.contains_key(&window.start_us));
        }
        let Due { from_us, began_us, to_us, .. } = due;
        let prepared = self.table.prepare_merged(&windows, from_us, began_us, to_us, &due.reached, closed_at);
        let commit = prepared.await?;
        // Superseded: another one closes, and what it did is looked at in the next pass.
        if let Outcome::Committed { .. } = self.table.commit_merged(&commit).await? {
            self.at_once = (self.at_once * 2).min(CLOSED_AT_ONCE);
            telemetry::closed(&self.name, &windows, self.allowed_lateness, clock.now());
            telemetry::closed_to(&self.name, to_us);
            self.partials.take_out_done(due.to_us.saturating_sub(self.plan.windows.recent_us())).await?;
        }
        Ok(due.more)
    }

    /// Says, once, that no window will be closed as long as nobody counts some partitions.
    fn tell_uncounted(&mut self, standing: &Standing, partitions: u32) {
        let missing: Vec<u32> = (0..partitions).filter(|partition| !standing.contains_key(partition)).collect();
        if self.uncounted.is_to_be_told(!missing.is_empty(), UNCOUNTED_MAX) {
            let rollup = &self.name;
            tracing::warn!(rollup, partitions = ?missing, "no window is closed: nobody counts these partitions for it. Do all \
                processors keep this rollup?");
        }
    }

    /// `None`: nothing is.
    async fn due(&mut self, partitions: u32) -> Result<Option<Due>, LakeError> {
        let standing = self.partials.reload(partitions).await?.clone();
        self.tell_uncounted(&standing, partitions);
        let closed_to_us = standing.values().map(|position| position.closed_to_us).min();
        let Some(closed_to_us) = closed_to_us.filter(|_| standing.len() == partitions as usize) else {
            return Ok(None);
        };
        let latest_end_us = self.plan.windows.latest_end(closed_to_us);
        // Most times nothing is: then one table alone is looked at.
        if latest_end_us <= self.reached_us {
            return Ok(None);
        }
        let from_us = self.table.reached().await?.map(|(watermark_us, _)| watermark_us);
        let from = from_us.unwrap_or(i64::MIN);
        self.reached_us = from;
        if latest_end_us <= from {
            return Ok(None);
        }
        let files = self.partials.files_after(from).await?;
        let (windows, starts) = (self.plan.windows, self.partials.starts_in(&files).await?);
        let mut began_us = i64::MIN;
        for partition in 0..partitions {
            began_us = began_us.max(self.partials.began_us(partition).await?);
        }
        let is_due = |start: &i64| from < windows.end(*start) && windows.end(*start) <= closed_to_us;
        // Of windows before that somebody has no part.
        let (mut starts, parts): (Vec<i64>, Vec<i64>) =
            starts.into_iter().filter(is_due).partition(|start| windows.end(*start) > began_us);
        if !parts.is_empty() {
            let (rollup, parts) = (&self.name, parts.len());
            tracing::warn!(rollup, parts, "windows within which counting began have no rows: fill them in from events");
        }
        let more = starts.len() > self.at_once;
        starts.truncate(self.at_once);
        let to_us = match starts.last() {
            Some(last) if more => windows.end(*last),
            _ => closed_to_us,
        };
        let reached = standing.into_iter().map(|(partition, position)| (partition, position.next)).collect();
        Ok(Some(Due { from_us, began_us, to_us, reached, files, starts: starts.into_iter().collect(), more }))
    }

    /// The rows of these windows; and of those that another version has a part of, how many events it counted at least.
    /// `None`: together they take more memory than is good, and there are several.
    async fn merge(&self, due: &Due, groups: Bounds) -> Result<Option<(Vec<WindowRows>, Unreadable)>, Error> {
        let mut fold = Fold::new(self.plan.clone(), groups);
        let (mut is_large, mut unreadable) = (false, Unreadable::new());
        let mut each = |piece: Piece| -> Result<(), Error> {
            if is_large {
                return Ok(());
            }
            if let Err(why) = piece.merge_into(&self.plan, &mut fold)? {
                self.tell_unreadable(piece.start_us, &why);
                *unreadable.entry(piece.start_us).or_default() += piece.events.max(1);
                return Ok(());
            }
            is_large = due.starts.len() > 1 && fold.bytes() > CORRECTED_BYTES_MAX;
            while !is_large && fold.bytes() > OPEN_BYTES_MAX && fold.shrink()? {}
            Ok(())
        };
        self.partials.pieces_in(&due.files, &due.starts, &mut each).await?;
        if is_large {
            return Ok(None);
        }
        Ok(Some((fold.close(i64::MAX)?, unreadable)))
    }

    fn tell_unreadable(&self, start_us: i64, why: &Undecodable) {
        let rollup = &self.name;
        match why {
            Undecodable::Version(version) => {
                tracing::warn!(
                    rollup,
                    start_us,
                    version,
                    "a partial of another version: its window is computed from events"
                );
            }
            Undecodable::Broken(error) => {
                tracing::error!(rollup, start_us, %error, "a partial is broken: its window is computed from events");
            }
        }
    }

    fn marks(&self, unreadable: &Unreadable, reached: &Positions, marked_at: Micros) -> Marks {
        let mark = |(start, events): (&i64, &u64)| {
            let (end_us, positions) = (self.plan.windows.end(*start), reached.clone());
            ((self.name.clone(), *start), Mark { end_us, positions, events: *events, awaits: None, marked_at })
        };
        unreadable.iter().map(mark).collect()
    }
}
