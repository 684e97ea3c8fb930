//! The task that corrects: beside the loop, with handles of its own, from what the tables say alone.
use super::marks::{Covered, LateWindows, Mark, Marks};
use super::reached::Reached;
use super::recompute::recompute;
use crate::fold::Bounds;
use crate::limits::{CORRECTED_AT_ONCE, CORRECTION_WAIT_MAX};
use crate::positions::{Positions, covers};
use crate::rollup::Plan;
use crate::table::{Latest, RollupTable};
use crate::{Error, telemetry};
use event::clock::{Clock, Micros};
use lake::location::Location;
use lake::table::{Error as LakeError, Outcome, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// From the second revision on a window waits: so long after the second, twice as long after the third, and so on. Each
/// revision holds all its groups, and a fleet that comes back from a tunnel brings late events for minutes.
const WAIT: Duration = Duration::from_secs(10);

/// Windows whose newest revision is looked for at once.
const LOOKED_AT_ONCE: usize = 10 * CORRECTED_AT_ONCE;

/// A rollup that is corrected.
pub(crate) struct Corrected {
    name: String,
    plan: Arc<Plan>,
    table: RollupTable,
    /// Windows that are computed at once: fewer where they were too large.
    at_once: usize,
    /// Of windows without a revision, what they were closed with or after, as it was seen first.
    needs: BTreeMap<i64, Arc<Positions>>,
}

/// Computes marked windows again, from `events`.
pub(crate) struct Corrector {
    pub(crate) rollups: Vec<Corrected>,
    pub(crate) late: LateWindows,
    /// The table `events`, and its handle once it is there.
    pub(crate) events: (Location, Option<Table>),
    pub(crate) log: Arc<dyn log::Log>,
    pub(crate) groups: Bounds,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether this processor is the one that corrects.
    pub(crate) leads: Arc<AtomicBool>,
    /// Between two passes.
    pub(crate) pause: Duration,
}

impl Corrector {
    /// Goes on until it is dropped, which is safe at any point.
    ///
    /// # Errors
    /// [`LakeError::NotDurable`] alone: whatever else can't be corrected now stays marked, is said, and is tried again.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        loop {
            let corrected = match self.leads.load(Ordering::Relaxed) {
                true => self.pass().await,
                false => Ok(false),
            };
            match corrected {
                // There is more: only the loop has its turn before it.
                Ok(true) => continue,
                Ok(false) => {}
                Err(error @ Error::Lake(LakeError::NotDurable { .. })) => return Err(error),
                Err(Error::Lake(LakeError::Unavailable(reason))) => {
                    tracing::warn!(reason, "late windows are corrected later: the lake does not answer");
                }
                Err(error) => {
                    telemetry::correction_failed();
                    tracing::error!(%error, "late windows can't be corrected; they stay marked, and it is tried again");
                }
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Corrects what can be now; true when more waits.
    async fn pass(&mut self) -> Result<bool, Error> {
        let mut marks = self.late.read().await?;
        // Those of rollups that are not kept any more wait, too, should they come back.
        let names = self.rollups.iter().map(|rollup| &rollup.name).chain(marks.keys().map(|(of, _)| of));
        for name in names.collect::<BTreeSet<_>>() {
            telemetry::late_windows(name, marks.keys().filter(|(of, _)| of == name).count());
        }
        if marks.is_empty() {
            return Ok(false);
        }
        let Some(reached) = self.reached().await? else { return Ok(false) };
        let Some(events) = &self.events.1 else { return Ok(false) };
        let now_us = self.clock.now();
        let (mut more, mut failed) = (false, None);
        for rollup in &mut self.rollups {
            let marks = take(&mut marks, &rollup.name);
            if marks.is_empty() {
                continue;
            }
            let corrected = async {
                let due = rollup.due(&marks, &reached, now_us).await?;
                let (covered, is_more) = rollup.correct(due, events, &reached, self.groups, now_us).await?;
                if !covered.is_empty() {
                    self.late.clear(&rollup.name, &covered).await?;
                }
                Ok::<_, Error>(is_more)
            };
            match corrected.await {
                Ok(is_more) => more |= is_more,
                // One that can't be corrected does not hold up the others.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(more), Err)
    }

    /// What the newest snapshot of `events` holds; `None`: there is no such table yet.
    async fn reached(&mut self) -> Result<Option<Reached>, LakeError> {
        let (at, held) = &mut self.events;
        match held {
            Some(events) => events.reload().await?,
            None => *held = Table::open(at).await?,
        }
        let Some(events) = held else { return Ok(None) };
        let (cluster, topic) = (self.log.cluster(), self.log.topic());
        Reached::of(events, cluster, topic, self.log.writer().partitions()).await.map(Some)
    }
}

fn take(marks: &mut Marks, rollup: &str) -> BTreeMap<i64, Mark> {
    marks.extract_if(.., |(of, _), _| of == rollup).map(|((_, start), mark)| (start, mark)).collect()
}

/// What is to be done of a rollup's marks.
struct Due {
    /// By start (µs): windows to be computed again, with their newest revision, if there is one.
    windows: BTreeMap<i64, Option<Latest>>,
    /// The newest revision has them already.
    covered: BTreeMap<i64, Covered>,
    /// What fences corrections, in the same snapshot.
    fence: Option<i64>,
    more: bool,
}

impl Corrected {
    /// Of a rollup that is to be corrected.
    pub(crate) fn new(name: String, plan: Arc<Plan>, table: RollupTable) -> Self {
        Corrected { name, plan, table, at_once: CORRECTED_AT_ONCE, needs: BTreeMap::new() }
    }

    async fn due(&mut self, marks: &BTreeMap<i64, Mark>, reached: &Reached, now_us: Micros) -> Result<Due, LakeError> {
        let mut due = Due { windows: BTreeMap::new(), covered: BTreeMap::new(), fence: None, more: false };
        let Some((watermark_us, counted)) = self.table.reached().await? else { return Ok(due) };
        let counted = Arc::new(counted);
        self.needs.retain(|start, _| marks.contains_key(start));
        due.fence = self.table.corrections().await?;
        let (counted_from_us, first_start_us) = (self.table.counted_from_us().await?, self.table.first_start().await?);
        let is_anothers = |start: i64, end_us: i64| match counted_from_us {
            Some(from) => end_us <= from,
            // A table of a version that did not say.
            None => first_start_us.is_none_or(|first| start < first),
        };
        let can_be = |(_, mark): &(&i64, &Mark)| mark.end_us <= watermark_us && reached.has(mark);
        let mut marks: Vec<(i64, &Mark)> = marks.iter().filter(can_be).map(|(start, mark)| (*start, mark)).collect();
        // Late events go before what is filled in.
        marks.sort_by_key(|(start, mark)| (mark.is_filled_in(), *start));
        // In parts: of a backfill many more wait than are computed at once.
        for marks in marks.chunks(LOOKED_AT_ONCE) {
            let starts: BTreeSet<i64> = marks.iter().map(|(start, _)| *start).collect();
            let mut latest = self.table.latest(&starts).await?;
            for (start, mark) in marks {
                let mut is_covered = |positions: &Positions, rewrites: Option<i64>| {
                    due.covered.insert(*start, Covered { positions: positions.clone(), rewrites });
                };
                match latest.remove(start) {
                    // What is left of its rows is a remnant: its figure stays, and that something came late is counted.
                    _ if *start < reached.ended_us => {
                        telemetry::late_windows_ended(&self.name);
                        is_covered(&mark.positions, Some(reached.rewrites));
                    }
                    Some(_) if mark.is_filled_in() => is_covered(&mark.positions, None),
                    // Its rows changed since: whatever it was computed of, it is computed again.
                    Some(held) if mark.awaits.is_none() && covers(&held.positions, &mark.positions) => {
                        is_covered(&held.positions, None)
                    }
                    // What it was computed of must be in `events` too: else the later revision would know less.
                    Some(held) if !covers(&reached.positions, &held.positions) => {}
                    Some(held) if now_us < held.closed_at.saturating_add(wait_us(held.revision)) => {}
                    // It was never this rollup's: nothing that went was counted.
                    None if mark.awaits.is_some() && !mark.has_late_events() && is_anothers(*start, mark.end_us) => {
                        is_covered(&mark.positions, Some(reached.rewrites))
                    }
                    // One that was merged, or left to the correction, knew of partitions that who marked it did not have.
                    None if !mark.is_filled_in()
                        && !covers(&reached.positions, self.needs.entry(*start).or_insert_with(|| counted.clone())) => {
                    }
                    _ if due.windows.len() == self.at_once => due.more = true,
                    held => drop(due.windows.insert(*start, held)),
                }
            }
            if due.more {
                break;
            }
        }
        Ok(due)
    }

    /// Computes what is due and commits it; what marks it covers by window, and whether more waits.
    async fn correct(
        &mut self,
        due: Due,
        events: &Table,
        reached: &Reached,
        groups: Bounds,
        now_us: Micros,
    ) -> Result<(BTreeMap<i64, Covered>, bool), Error> {
        let Due { windows: newest, mut covered, fence, more } = due;
        if newest.is_empty() {
            return Ok((covered, false));
        }
        let starts: BTreeSet<i64> = newest.keys().copied().collect();
        let Some(windows) = recompute(events, &self.plan, groups, &starts, None).await? else {
            self.at_once = (starts.len() / 2).max(1);
            return Ok((covered, true));
        };
        match self.table.correct(&windows, &newest, fence, &reached.positions, now_us).await? {
            Outcome::Committed { .. } => {
                self.at_once = (self.at_once * 2).min(CORRECTED_AT_ONCE);
                telemetry::corrected(&self.name, starts.len(), &windows);
                let with = Covered { positions: reached.positions.clone(), rewrites: Some(reached.rewrites) };
                covered.extend(starts.into_iter().map(|start| (start, with.clone())));
                Ok((covered, more))
            }
            Outcome::Superseded => Ok((covered, false)),
        }
    }
}

/// How long after this revision the next one may follow, µs.
fn wait_us(revision: i32) -> i64 {
    let doubled =
        u32::try_from(revision).unwrap_or(0).checked_sub(2).map(|times| WAIT.saturating_mul(1 << times.min(20)));
    doubled.map_or(0, |wait| wait.min(CORRECTION_WAIT_MAX).as_micros() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_was_corrected_often_waits_longer_but_not_for_ever() {
        let waits: Vec<i64> = [1, 2, 3, 4, 100].map(|revision| wait_us(revision) / 1_000_000).to_vec();
        assert_eq!(waits, [0, 10, 20, 40, 600]);
    }
}
