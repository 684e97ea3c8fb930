//! Closing: what is known of the log's ends, windows that are complete, their commit.
use super::output::Output;
use super::{Processor, Rollup, Seen};
use crate::late::{Mark, Marks};
use crate::positions::Positions;
use crate::watermark::Moment;
use crate::{Error, telemetry};
use lake::table::{Error as LakeError, Outcome};
use log::ReadError;
use tokio::time::{Instant, sleep};

impl Processor {
    /// Folds and shows what was read, asks where the log ends, closes what is complete, and commits it.
    pub(super) async fn tick(&mut self) -> Result<(), Error> {
        self.fold_all()?;
        self.show()?;
        self.seen = Seen::default();
        if self.partitions.is_empty() {
            let now_us = self.clock.now();
            self.rollups.iter().for_each(|rollup| telemetry::open(&rollup.name, rollup.kept.fold(), now_us));
            return Ok(());
        }
        // One moment for all, from before the ends were asked for: what was in the log by then was read where it is idle.
        let now = self.now();
        if let Err(error) = self.look_at_ends(now).await {
            let error = Error::from(error);
            let Some(reason) = error.passing() else { return Err(error) };
            self.trouble(reason);
            return Ok(());
        }
        if self.marked_at.elapsed() >= self.timing.mark && !self.mark_late().await? {
            return Ok(());
        }
        if !self.look_at_others(now).await? {
            return Ok(());
        }
        for index in 0..self.rollups.len() {
            if self.close(index, now).await? == Outcome::Superseded {
                self.superseded(index);
                return Ok(());
            }
            if self.stopped {
                return Ok(());
            }
            self.rollups[index].ticked();
            tokio::task::yield_now().await;
        }
        match self.release().await {
            Err(ReadError::Unavailable(reason)) => {
                tracing::warn!(reason, "the log keeps for a while what is not needed any more");
                Ok(())
            }
            released => Ok(released?),
        }
    }

    /// Of partitions that were read to an end: whether it is the end still. One that is being read is not asked for.
    async fn look_at_ends(&mut self, now: Moment) -> Result<(), ReadError> {
        let ended: Vec<(u32, u64)> =
            self.partitions.iter().filter_map(|(number, read)| Some((*number, read.ended_at?))).collect();
        for (number, read) in self.partitions.iter().filter(|(_, read)| read.ended_at.is_none()) {
            if let Some(received) = read.received {
                telemetry::lag_seconds(*number, now.wall_us - received);
            }
        }
        for (number, ended_at) in ended {
            let end = self.reader.bounds(number).await?.end;
            telemetry::lag(number, end.saturating_sub(ended_at));
            for rollup in &mut self.rollups {
                match end <= ended_at {
                    true => rollup.kept.idle(number, now),
                    false => rollup.kept.busy(number),
                }
            }
        }
        Ok(())
    }

    /// How far partitions are, of all that share them: asked for where nothing is left to read here, since who reads goes by
    /// what it reads. False: what is here was committed by another.
    async fn look_at_others(&mut self, now: Moment) -> Result<bool, Error> {
        if !self.log.is_shared() || self.looked_at.elapsed() < self.timing.look {
            return Ok(true);
        }
        self.looked_at = Instant::now();
        let partitions = self.log.writer().partitions();
        for index in 0..self.rollups.len() {
            let Rollup { output: Output::Partials(partials), kept, .. } = &mut self.rollups[index] else { continue };
            if !kept.is_idle(now) {
                continue;
            }
            let before = partials.standing().clone();
            match partials.reload(partitions).await {
                // Nothing hangs on it: it is looked again soon.
                Err(LakeError::Unavailable(reason)) => {
                    self.trouble(format!("the lake does not answer: {reason}"));
                    return Ok(true);
                }
                loaded => loaded.map(|_| ())?,
            }
            let moved = |partition: &u32| before.get(partition) != partials.standing().get(partition);
            if self.partitions.keys().any(moved) {
                self.superseded(index);
                return Ok(false);
            }
            kept.follow(partials.furthest_us(), now);
        }
        Ok(true)
    }

    /// Another processor has committed what is here: it keeps all of it, or has some of the partitions now.
    fn superseded(&mut self, index: usize) {
        telemetry::superseded();
        match self.log.is_shared() {
            true => self.resume_due = true,
            false => self.begin_standby(index),
        }
    }

    /// Commits the windows of a rollup that are complete, and where it has come to.
    async fn close(&mut self, index: usize, now: Moment) -> Result<Outcome, Error> {
        let closed_at = self.clock.now();
        let rollup = &mut self.rollups[index];
        let watermark_us = rollup.kept.advance(now);
        telemetry::open(&rollup.name, rollup.kept.fold(), rollup.held_up_to(watermark_us, now));
        if !rollup.is_due(watermark_us, self.timing.commit) {
            return Ok(Outcome::Committed { version: 0 });
        }
        if let Some(words) = self.made_anew(index).await? {
            self.stop(words);
            return Ok(Outcome::Committed { version: 0 });
        }
        // P moves past them with the commit.
        if !self.rollups[index].kept.late().is_empty() && !self.mark_late().await? {
            return Ok(Outcome::Committed { version: 0 });
        }
        // From here on what is held is not whole, until the tables have the rest or it is read again.
        self.closing = true;
        let rollup = &mut self.rollups[index];
        let closed = rollup.output.close(&mut rollup.kept, watermark_us)?;
        let (before, after) = (rollup.kept.committed_all(), rollup.kept.positions(watermark_us));
        let commit = rollup.output.prepare(&closed, &before, &after, closed_at).await?;
        let mut outcome = loop {
            match self.rollups[index].output.commit(&commit, &after).await {
                // The commit may be in the table: the same again finds it, by its file.
                Err(LakeError::Unavailable(reason)) => {
                    self.trouble(format!("the lake does not answer: {reason}"));
                    sleep(self.timing.retry).await;
                }
                ended => break ended?,
            }
        };
        self.recovered();
        // One without a file is found by what it says; another's that says the same of the same log has the same rows.
        let partitions = self.log.writer().partitions();
        if outcome == Outcome::Superseded {
            let standing = self.rollups[index].output.reload(partitions).await?;
            if after.iter().all(|(partition, position)| standing.get(partition) == Some(position)) {
                outcome = Outcome::Committed { version: 0 };
            }
        }
        self.closing = false;
        if let Outcome::Committed { .. } = outcome {
            self.rollups[index].settled(closed, &after, self.clock.now());
        }
        Ok(outcome)
    }

    /// Marks the windows that late events came for, of all rollups, in one commit. False: it can't be done now, and nothing is
    /// lost by trying again later.
    async fn mark_late(&mut self) -> Result<bool, Error> {
        let marked_at = self.clock.now();
        let of_rollup = |rollup: &Rollup| {
            let (name, windows) = (rollup.name.clone(), rollup.plan.windows);
            // The window was closed by now: all that it was counted of, and its late events, lie below what was read.
            let read: Positions = rollup
                .kept
                .positions(i64::MIN)
                .into_iter()
                .map(|(partition, position)| (partition, position.next))
                .collect();
            let mark = move |(start, events): (&i64, &u64)| {
                let (end_us, positions) = (windows.end(*start), read.clone());
                let mark = Mark { end_us, positions, events: *events, awaits: None, marked_at };
                ((name.clone(), *start), mark)
            };
            rollup.kept.late().iter().map(mark).collect::<Vec<_>>()
        };
        let marks: Marks = self.rollups.iter().flat_map(of_rollup).collect();
        self.marked_at = Instant::now();
        if marks.is_empty() {
            return Ok(true);
        }
        match self.late_windows.mark(&marks).await {
            Err(Error::Lake(LakeError::Unavailable(reason))) => {
                self.trouble(format!("late events can't be marked now: {reason}"));
                return Ok(false);
            }
            marked => marked?,
        }
        self.recovered();
        self.rollups.iter_mut().for_each(|rollup| rollup.kept.marked());
        Ok(true)
    }

    /// What no rollup will read again need not be kept for this reader.
    async fn release(&mut self) -> Result<(), ReadError> {
        for partition in self.partitions.keys() {
            let safe =
                self.rollups.iter().map(|rollup| rollup.kept.committed(*partition).map_or(0, |at| at.safe)).min();
            if let Some(safe) = safe.filter(|safe| *safe > 0) {
                self.reader.release(*partition, safe).await?;
            }
        }
        Ok(())
    }
}
