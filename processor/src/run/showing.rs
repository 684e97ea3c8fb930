//! Showing: open windows, and those closed lately, to whoever looks.
use super::output::Output;
use super::{Processor, Rollup};
use crate::Error;
use crate::fold::WindowRows;
use crate::limits::{RECENT_ROWS_MAX, RECENT_WINDOWS};
use crate::live::{Live, Part, Shown, Window};
use crate::telemetry;
use event::clock::Micros;

impl Processor {
    /// Shows the rollups that somebody looks at.
    pub(super) fn show(&mut self) -> Result<(), Error> {
        let at = self.clock.now();
        for rollup in &mut self.rollups {
            let unshown = rollup.unshown;
            let shown = match rollup.output {
                Output::Rows(_) => rollup.show(&self.live, at)?,
                Output::Partials(_) => rollup.show_part(&self.live)?,
            };
            if shown {
                (rollup.has_changed, rollup.unshown) = (false, None);
            }
            if shown && matches!(rollup.output, Output::Rows(_)) {
                telemetry::shown(unshown.map(|received| at - received));
            }
        }
        Ok(())
    }
}

impl Rollup {
    /// False: nobody looks.
    fn show(&mut self, live: &Live, at: Micros) -> Result<bool, Error> {
        let Some(place) = live.whole(&self.name).filter(|place| place.is_wanted(self.has_changed)) else {
            return Ok(false);
        };
        let closed = self.recent.iter().map(|rows| Window { rows: rows.clone(), is_open: false });
        let mut windows: Vec<Window> = closed.collect();
        windows.extend(self.kept.look()?.into_iter().map(|rows| Window { rows, is_open: true }));
        let watermark_us = Some(self.kept.watermark_us()).filter(|watermark| *watermark > i64::MIN);
        place.show(Shown { at, watermark_us, windows, missing: Vec::new() });
        Ok(true)
    }

    /// The same of what is to be merged with the others' parts.
    fn show_part(&mut self, live: &Live) -> Result<bool, Error> {
        let Some(place) = live.part(&self.name).filter(|place| place.is_wanted(self.has_changed)) else {
            return Ok(false);
        };
        let partials = self.kept.look_at_partials()?;
        // Partitions that were just assigned are missing until their open windows were read again.
        let Output::Partials(table) = &self.output else { return Ok(false) };
        match Part::new(table.id(), self.kept.read_again(), &partials, self.unshown) {
            Ok(part) => place.show(part),
            Err(error) => {
                tracing::warn!(rollup = self.name, %error, "its part is not shown");
                return Ok(false);
            }
        }
        Ok(true)
    }

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
