//! Showing: open windows, and those closed lately, to whoever looks.
use super::{Processor, Rollup};
use crate::Error;
use crate::fold::WindowRows;
use crate::limits::{RECENT_ROWS_MAX, RECENT_WINDOWS};
use crate::live::{Shown, Window};
use crate::telemetry;

impl Processor {
    /// Shows the rollups that somebody looks at.
    pub(super) fn show(&mut self) -> Result<(), Error> {
        let at = self.clock.now();
        for (index, rollup) in self.rollups.iter_mut().enumerate() {
            let unshown = rollup.unshown.take();
            if !self.live.is_wanted(index, rollup.has_changed) {
                continue;
            }
            rollup.has_changed = false;
            let closed = rollup.recent.iter().map(|rows| Window { rows: rows.clone(), is_open: false });
            let mut windows: Vec<Window> = closed.collect();
            windows.extend(rollup.kept.look()?.into_iter().map(|rows| Window { rows, is_open: true }));
            let watermark_us = Some(rollup.kept.watermark_us()).filter(|watermark| *watermark > i64::MIN);
            self.live.show(index, Shown { at, watermark_us, windows });
            telemetry::shown(unshown.map(|received| self.clock.now() - received));
        }
        Ok(())
    }
}

impl Rollup {
    /// Keeps a few of the windows that were just closed, to be shown.
    pub(super) fn remember(&mut self, closed: Vec<WindowRows>) {
        self.has_changed |= !closed.is_empty();
        let with_rows = closed.into_iter().filter(|window| window.rows.num_rows() > 0);
        self.recent.extend(with_rows.map(|window| window.without_states(&self.plan)));
        let rows = |recent: &std::collections::VecDeque<WindowRows>| -> usize {
            recent.iter().map(|window| window.rows.num_rows()).sum()
        };
        while self.recent.len() > RECENT_WINDOWS || self.recent.len() > 1 && rows(&self.recent) > RECENT_ROWS_MAX {
            self.recent.pop_front();
        }
    }
}
