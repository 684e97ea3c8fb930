//! The loop: reads, folds, closes windows, commits. All I/O of the processor is awaited here, one thing at a time.
//!
//! All rollups are kept from one pass over the log. While a store does not answer, nothing is read.
use crate::fold::Bounds;
use crate::kept::{Kept, Place};
use crate::reading::{Sifted, sift};
use crate::rollup::{Events, Plan};
use crate::table::RollupTable;
use crate::telemetry;
use crate::watermark::Moment;
use crate::{Config, Error, Parts, Timing};
use event::clock::Clock;
use event::codec;
use event::decode::TimeBounds;
use event::dedup::Window;
use lake::table::{Error as LakeError, Outcome};
use log::{Entry, Log, Next, ReadError, Reader};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

mod resume;

/// The name under which retention waits for this reader.
pub(crate) const READER: &str = "processor";

/// A rollup with its table.
struct Rollup {
    name: String,
    table: RollupTable,
    kept: Kept,
    plan: Arc<Plan>,
    allowed_lateness: std::time::Duration,
    committed_at: Instant,
}

/// A partition that is read.
struct Partition {
    /// The next offset.
    next: u64,
    window: Window,
}

struct Processor {
    log: Arc<dyn Log>,
    reader: Box<dyn Reader>,
    topic: String,
    rollups: Vec<Rollup>,
    partitions: BTreeMap<u32, Partition>,
    dedup_rows: usize,
    bounds: TimeBounds,
    groups: Bounds,
    clock: Arc<dyn Clock>,
    began: Instant,
    timing: Timing,
    report: crate::Report,
    shutdown: CancellationToken,
    /// Why nothing is read any more; an operator has to act.
    stopped: Option<String>,
}

/// See [`crate::run`].
pub(crate) async fn run(
    config: Config,
    parts: Parts,
    timing: Timing,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    telemetry::describe();
    (parts.report)(Err(crate::STARTING.to_owned()));
    let Some(mut processor) = Processor::open(config, parts, timing, &shutdown).await? else { return Ok(()) };
    processor.drive().await
}

impl Processor {
    /// Opens log and tables, waiting for them as long as it takes; `None`: told to stop meanwhile.
    async fn open(
        config: Config,
        parts: Parts,
        timing: Timing,
        shutdown: &CancellationToken,
    ) -> Result<Option<Processor>, Error> {
        let Parts { log, lake, dedup_rows, bounds, clock, report } = parts;
        let mut plans = Vec::new();
        for definition in &config.rollups {
            let plan = Plan::new(definition).await;
            let refused = |reason| Error::Refused { rollup: definition.name.clone(), reason };
            plans.push((definition, Arc::new(plan.map_err(refused)?)));
        }
        let groups = Bounds { groups_max: config.groups_max };
        loop {
            let opened = async {
                let mut rollups = Vec::new();
                for (definition, plan) in &plans {
                    let at = lake.rollups.join(&definition.name);
                    let table = RollupTable::open(&at, definition, plan, log.as_ref()).await?;
                    let allowed_lateness = definition.allowed_lateness;
                    let kept = Kept::new(plan.clone(), groups, allowed_lateness, i64::MIN);
                    let (name, committed_at, plan) = (definition.name.clone(), Instant::now(), plan.clone());
                    rollups.push(Rollup { name, table, kept, plan, allowed_lateness, committed_at });
                }
                Ok::<_, Error>((rollups, log.reader(Some(READER)).await?))
            };
            let opened = tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                opened = opened => opened,
            };
            match opened {
                Ok((rollups, reader)) => {
                    let (topic, partitions) = (log.topic().to_owned(), BTreeMap::new());
                    let (began, shutdown, stopped) = (Instant::now(), shutdown.clone(), None);
                    return Ok(Some(Processor {
                        log,
                        reader,
                        topic,
                        rollups,
                        partitions,
                        dedup_rows,
                        bounds,
                        groups,
                        clock,
                        began,
                        timing,
                        report,
                        shutdown,
                        stopped,
                    }));
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

    async fn drive(&mut self) -> Result<(), Error> {
        let mut tick = interval(self.timing.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.shutdown.clone();
        loop {
            let work = async {
                if self.stopped.is_some() {
                    return std::future::pending().await;
                }
                tokio::select! {
                    biased;
                    _ = tick.tick() => self.tick().await,
                    next = self.reader.next() => self.take(next).await,
                }
            };
            // Ending anywhere is as safe as a crash: the tables say where to go on.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                done = work => match done {
                    Ok(()) => {}
                    Err(error) => {
                        let Some(reason) = passing(&error) else { return Err(error) };
                        tracing::warn!(reason, "processor waits");
                        (self.report)(Err(reason));
                        tokio::select! {
                            () = shutdown.cancelled() => return Ok(()),
                            () = sleep(self.timing.retry) => {}
                        }
                        // What was under way is not known to be whole: from the tables again.
                        self.resume_patiently().await?;
                    }
                }
            }
        }
    }

    async fn take(&mut self, next: Result<Next, ReadError>) -> Result<(), Error> {
        match next {
            Ok(Next::Assigned(partitions)) => {
                for partition in partitions {
                    self.partitions.insert(partition, Partition { next: 0, window: Window::new(self.dedup_rows) });
                }
                self.resume().await
            }
            Ok(Next::Revoked(partitions)) => {
                self.partitions.retain(|partition, _| !partitions.contains(partition));
                self.resume().await
            }
            Ok(Next::Record(entry)) => {
                self.record(&entry)?;
                // Other tasks get their turn after each record: a log with a backlog is always ready.
                tokio::task::yield_now().await;
                Ok(())
            }
            Ok(Next::CaughtUp { partition, end }) => {
                self.caught_up(partition, end);
                Ok(())
            }
            Err(ReadError::OutOfRange { partition, offset, start, end }) => {
                self.stop(format!("partition {partition}: offset {offset} is outside of the log's {start}..{end}"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Nothing is read until the next start: an operator has to act.
    fn stop(&mut self, words: String) {
        tracing::error!(words, "processor stopped");
        (self.report)(Err(format!("processor stopped: {words}")));
        self.stopped = Some(words);
    }

    fn now(&self) -> Moment {
        Moment { wall_us: self.clock.now(), monotonic_us: self.began.elapsed().as_micros() as i64 }
    }

    fn record(&mut self, entry: &Entry) -> Result<(), Error> {
        let now = self.now();
        let Some(partition) = self.partitions.get_mut(&entry.partition) else { return Ok(()) };
        if entry.offset < partition.next {
            return Ok(());
        }
        if entry.offset > partition.next && self.log.is_gapless() {
            let words = format!(
                "partition {}: record {} came where {} was due: records are gone from the log",
                entry.partition, entry.offset, partition.next
            );
            self.stop(words);
            return Ok(());
        }
        let at = codec::Place {
            topic: &self.topic,
            partition: entry.partition,
            offset: entry.offset,
            timestamp: entry.timestamp,
        };
        let decoded = codec::decode(&entry.record, at, self.bounds);
        let dedup = partition.window.start_offset().unwrap_or(entry.offset);
        let Sifted { kept, duplicates, times } =
            sift(&decoded.batch, entry.offset, &mut partition.window).map_err(Error::Broken)?;
        partition.next = entry.offset + 1;
        let after = partition.window.start_offset().unwrap_or(partition.next);
        telemetry::read(kept.num_rows(), duplicates);
        let events = Events::new(kept)?;
        let fingerprint = entry.record.fingerprint();
        let place = Place { partition: entry.partition, offset: entry.offset, dedup, fingerprint };
        for rollup in &mut self.rollups {
            let counted = rollup.kept.record(place, &events, times, now)?;
            rollup.kept.dedup_from(entry.partition, after);
            telemetry::counted(&rollup.name, counted);
        }
        Ok(())
    }

    fn caught_up(&mut self, partition: u32, end: u64) {
        let now = self.now();
        let Some(read) = self.partitions.get(&partition) else { return };
        telemetry::lag(partition, end.saturating_sub(read.next));
        if read.next >= end || !self.log.is_gapless() {
            self.rollups.iter_mut().for_each(|rollup| rollup.kept.idle(partition, now));
        }
    }

    /// Asks where the log ends, closes what is complete, and commits it.
    async fn tick(&mut self) -> Result<(), Error> {
        let numbers: Vec<u32> = self.partitions.keys().copied().collect();
        // Windows are of all partitions: without one of them nothing is complete.
        if numbers.len() != self.log.writer().partitions() as usize {
            return Ok(());
        }
        for partition in numbers {
            let end = self.reader.bounds(partition).await?.end;
            self.caught_up(partition, end);
        }
        for index in 0..self.rollups.len() {
            if self.close(index).await? == Outcome::Superseded {
                tracing::warn!(
                    rollup = self.rollups[index].name,
                    "another processor has committed: reading starts again"
                );
                telemetry::superseded();
                return self.resume().await;
            }
        }
        self.release().await
    }

    /// Commits the windows of a rollup that are complete, and where it has come to.
    async fn close(&mut self, index: usize) -> Result<Outcome, Error> {
        let (now, closed_at) = (self.now(), self.clock.now());
        let rollup = &mut self.rollups[index];
        let nothing = Outcome::Committed { version: 0 };
        let watermark_us = rollup.kept.advance(now);
        let closed = rollup.kept.close(watermark_us)?;
        let due = rollup.kept.has_moved() && rollup.committed_at.elapsed() >= self.timing.commit;
        telemetry::open(&rollup.name, rollup.kept.fold(), watermark_us);
        if closed.is_empty() && !due {
            return Ok(nothing);
        }
        let positions = rollup.kept.positions();
        let commit = rollup.table.prepare(&closed, watermark_us, &positions, closed_at).await?;
        let outcome = loop {
            match rollup.table.commit(&commit, watermark_us, &positions).await {
                // The commit may be in the table: the same again finds it.
                Err(LakeError::Unavailable(reason)) => {
                    tracing::warn!(rollup = rollup.name, reason, "processor waits for the lake");
                    (self.report)(Err(format!("the lake does not answer: {reason}")));
                    sleep(self.timing.retry).await;
                }
                ended => break ended?,
            }
        };
        if let Outcome::Committed { .. } = outcome {
            rollup.kept.settle(watermark_us, &positions);
            rollup.committed_at = Instant::now();
            telemetry::closed(&rollup.name, &closed);
            (self.report)(Ok(()));
        }
        Ok(outcome)
    }

    /// What no rollup will read again need not be kept for this reader.
    async fn release(&mut self) -> Result<(), Error> {
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

/// Trouble that passes, in words.
fn passing(error: &Error) -> Option<String> {
    match error {
        Error::Lake(LakeError::Unavailable(reason)) => Some(format!("the lake does not answer: {reason}")),
        Error::Log(ReadError::Unavailable(reason)) => Some(format!("the log does not answer: {reason}")),
        _ => None,
    }
}
