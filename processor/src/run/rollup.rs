//! One rollup of the loop: what is kept, where it goes, and when.
use super::output::{Closed, Output};
use crate::fold::{Bounds, WindowRows};
use crate::kept::{Kept, Standing};
use crate::rollup::{Definition, Plan};
use crate::telemetry;
use crate::watermark::Moment;
use event::clock::Micros;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A rollup with its table.
pub(super) struct Rollup {
    pub(super) name: String,
    pub(super) output: Output,
    pub(super) kept: Kept,
    pub(super) plan: Arc<Plan>,
    pub(super) allowed_lateness: Duration,
    pub(super) committed_at: Instant,
    /// Windows closed lately, to be shown.
    pub(super) recent: VecDeque<WindowRows>,
    /// Since it was shown.
    pub(super) has_changed: bool,
    /// When the oldest record that was counted since then was received.
    pub(super) unshown: Option<Micros>,
    /// Windows that were open at the last tick.
    pub(super) open_at_tick: usize,
}

impl Rollup {
    /// Of which nothing was read yet.
    pub(super) fn new(definition: &Definition, plan: Arc<Plan>, output: Output, groups: Bounds) -> Rollup {
        let allowed_lateness = definition.allowed_lateness;
        Rollup {
            name: definition.name.clone(),
            output,
            kept: Kept::new(plan.clone(), groups, allowed_lateness, i64::MIN),
            plan,
            allowed_lateness,
            committed_at: Instant::now(),
            recent: VecDeque::new(),
            has_changed: true,
            unshown: None,
            open_at_tick: 0,
        }
    }

    /// Up to when nothing is held up here, µs: beyond the watermark where all was read and no window is open.
    pub(super) fn held_up_to(&self, watermark_us: i64, now: Moment) -> i64 {
        match self.kept.is_idle(now) && self.kept.fold().windows() == 0 {
            true => watermark_us.max(now.wall_us.saturating_sub(self.allowed_lateness.as_micros() as i64)),
            false => watermark_us,
        }
    }

    /// Whether there is something to commit with this watermark (µs); positions alone are every so often.
    pub(super) fn is_due(&self, watermark_us: i64, every: Duration) -> bool {
        let has_moved = self.kept.has_moved();
        if has_moved && self.committed_at.elapsed() >= every || self.kept.has_complete(watermark_us) {
            return true;
        }
        match &self.output {
            Output::Rows(_) => false,
            // Others may have events of a window that has none here, and wait. Where nobody has any, nobody goes on.
            Output::Partials(partials) => {
                // Partitions that are here may be elsewhere, too: others have brought them there.
                let furthest_us = partials.furthest_us();
                self.kept.passes_an_end(watermark_us) && (has_moved || self.kept.passes_an_end(furthest_us))
            }
        }
    }

    /// So many windows are open at a tick.
    pub(super) fn ticked(&mut self) {
        self.open_at_tick = self.kept.fold().windows();
    }

    /// Nothing is open, and windows that end at or before this (µs) are closed.
    pub(super) fn begin_anew(&mut self, groups: Bounds, closed_to_us: i64) {
        self.kept = Kept::new(self.plan.clone(), groups, self.allowed_lateness, closed_to_us);
        (self.has_changed, self.unshown, self.open_at_tick) = (true, None, 0);
    }

    /// Closed windows were committed, and positions.
    pub(super) fn settled(&mut self, closed: Closed, after: &Standing, now: Micros) {
        self.kept.settle(after);
        self.committed_at = Instant::now();
        // Partials are windows when they are merged.
        if let Closed::Rows(closed) = closed {
            telemetry::closed(&self.name, &closed, self.allowed_lateness, now);
            telemetry::closed_to(
                &self.name,
                after.values().map(|position| position.closed_to_us).min().unwrap_or(i64::MIN),
            );
            self.remember(closed);
        }
    }
}
