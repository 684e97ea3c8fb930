//! The loop: reads, folds, closes windows, commits. All I/O of the processor is awaited here, one thing at a time.
//!
//! All rollups are kept from one pass over the log. While a store does not answer, nothing is read.
use crate::days::Days;
use crate::fold::Bounds;
use crate::gathered::Gathered;
use crate::late::LateWindows;
use crate::limits::TICKS_UP_TO_BOUND;
use crate::live::Live;
use crate::rollup::{Definition, Plan};
use crate::telemetry;
use crate::watermark::Moment;
use crate::{Config, Error, Lake, Parts, Timing};
use event::clock::{Clock, Micros};
use event::decode::TimeBounds;
use event::dedup::Window;
use lake::upkeep::{Job, Options, Tended, tend};
use log::{Log, Next, ReadError, Reader};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

mod closing;
mod folding;
mod opening;
mod output;
mod resume;
mod rollup;
mod showing;
mod standby;

pub(crate) use opening::plans;
use rollup::Rollup;
use standby::Standby;

/// The name under which retention waits for this reader, and that its consumer group ends with in Kafka.
pub(crate) const READER: &str = "processor";

/// A partition that is read.
struct Partition {
    /// The next offset.
    next: u64,
    window: Window,
    /// Read, and not folded yet.
    gathered: Option<Gathered>,
    /// It was read up to this end, and nothing has come since.
    ended_at: Option<u64>,
    /// When the last record that was read was received.
    received: Option<Micros>,
}

/// Times in a row that the log did not have what was read next, after which an operator has to act: retention may
/// overtake what a dedup window is made of, which reading anew heals.
const OFFSET_ERRORS_MAX: u32 = 3;

/// Who has this partition closes and corrects.
const LEADING: u32 = 0;

/// A stop waits so long for the lake.
const END_MAX: Duration = Duration::from_secs(5);

impl Partition {
    fn new(next: u64, dedup_rows: usize) -> Self {
        Partition { next, window: Window::new(dedup_rows), gathered: None, ended_at: None, received: None }
    }
}

/// What was seen of the log in this tick: rollups are most times at the same place, and each question goes to a broker.
#[derive(Default)]
struct Seen {
    bounds: BTreeMap<u32, Range<u64>>,
    /// Partition, offset and fingerprint of records that stand there.
    records: Vec<(u32, u64, i64)>,
}

struct Processor {
    log: Arc<dyn Log>,
    reader: Box<dyn Reader>,
    topic: String,
    rollups: Vec<Rollup>,
    late_windows: LateWindows,
    marked_at: Instant,
    seen: Seen,
    /// When it was looked how far others are.
    looked_at: Instant,
    /// Whether this processor closes and corrects: of those that share the partitions the one that has the first.
    leads: Arc<AtomicBool>,
    live: Arc<Live>,
    partitions: BTreeMap<u32, Partition>,
    dedup_rows: usize,
    bounds: TimeBounds,
    groups: Bounds,
    open_bytes_max: usize,
    folded_since_look: usize,
    clock: Arc<dyn Clock>,
    began: Instant,
    timing: Timing,
    report: crate::Report,
    shutdown: CancellationToken,
    /// Reading is to begin anew, from what the tables say.
    resume_due: bool,
    /// A commit is under way: what is held is not whole.
    closing: bool,
    standby: Option<Standby>,
    offset_errors: u32,
    /// Log or lake did not answer.
    trouble: bool,
    /// Nothing is read any more: an operator has to act.
    stopped: bool,
}

/// See [`crate::run`].
pub(crate) async fn run(
    config: Config,
    parts: Parts,
    timing: Timing,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    telemetry::describe(&config.rollups);
    (parts.report)(Err(crate::STARTING.to_owned()));
    let clock = parts.clock.clone();
    let tables = kept_up(&plans(&config).await?, &parts.lake, parts.log.is_shared());
    let opened = Processor::open(config, parts, timing, &shutdown).await?;
    let Some((mut processor, corrector, sharing)) = opened else { return Ok(()) };
    // Tasks of their own: what they do shall not hold up the loop. They end with this future.
    let mut beside = JoinSet::new();
    beside.spawn(corrector.run());
    if let Some((closer, viewer)) = sharing {
        beside.spawn(closer.run());
        beside.spawn(viewer.run());
    }
    beside.spawn(async move { Ok(tend(tables, clock, timing.pace).await?) });
    tokio::select! {
        ended = processor.drive() => ended,
        Some(ended) = beside.join_next() => match ended {
            Ok(ended) => ended,
            Err(panic) => Err(Error::Broken(format!("corrections or upkeep ended: {panic}"))),
        },
    }
}

/// The processor's tables, each with its name in the metrics.
fn kept_up(plans: &[(&Definition, Arc<Plan>)], lake: &Lake, shared: bool) -> Vec<Tended> {
    let tended = |name, location, options: &Options| Tended { name, location, options: options.clone(), jobs: vec![] };
    // Rows of these are taken out by processors alone.
    let ours = Options { retire_removed: true, ..Options::default() };
    let rollups = plans.iter().map(|(of, plan)| {
        let (at, days) = (lake.rollups.join(&of.name), lake.days.join(&of.name));
        let days = Days::new(of, plan, at.clone(), days).map(|days| Box::new(days) as Box<dyn Job>);
        Tended { jobs: days.into_iter().collect(), ..tended(of.name.clone(), at, &ours) }
    });
    let days = plans.iter().map(|(of, _)| tended(format!("days/{}", of.name), lake.days.join(&of.name), &ours));
    // It is written anew as a whole, and nobody reads its past.
    let late_windows = Options { retire_ms: 3_600_000, ..ours.clone() };
    // Files of partials are taken out before they are worth merging.
    let of_partials = Options { merge_files_min: usize::MAX, merge_bytes_max: 0, ..late_windows.clone() };
    let named = |of: &Definition| tended(format!("partials/{}", of.name), lake.partials.join(&of.name), &of_partials);
    let partials = plans.iter().filter(|_| shared).map(|(of, _)| named(of));
    let late_windows = tended("late_windows".to_owned(), lake.late_windows.clone(), &late_windows);
    rollups.chain(days).chain(partials).chain([late_windows]).collect()
}

impl Processor {
    async fn drive(&mut self) -> Result<(), Error> {
        let mut tick = interval(self.timing.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.shutdown.clone();
        loop {
            let work = async {
                if self.stopped {
                    return self.idle().await;
                }
                if self.standby.is_some() {
                    return self.stand_by().await;
                }
                if self.resume_due {
                    return self.resume().await;
                }
                if self.opened_many() {
                    self.rollups.iter_mut().for_each(Rollup::ticked);
                    return self.tick().await;
                }
                tokio::select! {
                    biased;
                    _ = tick.tick() => self.tick().await,
                    next = self.reader.next() => self.take(next).await,
                }
            };
            // Ending anywhere is as safe as a crash: the tables say where to go on.
            let done = tokio::select! {
                biased;
                () = shutdown.cancelled() => return self.end().await,
                done = work => done,
            };
            match done {
                Ok(()) => {}
                Err(Error::Log(ReadError::OutOfRange { partition, offset, start, end })) => {
                    self.offset_error(format!(
                        "partition {partition}: offset {offset} is outside of the log's {start}..{end}"
                    ));
                }
                // What was under way may be half done: from the tables again.
                Err(error) => {
                    let Some(reason) = error.passing() else { return Err(error) };
                    self.trouble(reason);
                    self.resume_due = true;
                    tokio::select! {
                        () = shutdown.cancelled() => return Ok(()),
                        () = sleep(self.timing.retry) => {}
                    }
                }
            }
        }
    }

    /// Counts nothing, and stays in its group: else the next processor would get the partition that this one stopped at, stop
    /// as well, and so on, until nobody reads any partition.
    async fn idle(&mut self) -> Result<(), Error> {
        let _ = self.reader.next().await;
        sleep(self.timing.retry).await;
        Ok(())
    }

    /// Closes what is complete, for who looks at the lake while nothing runs. It is read again at the next start where
    /// that can't be done; a commit that was under way is left to it, too.
    async fn end(&mut self) -> Result<(), Error> {
        if self.stopped || self.resume_due || self.closing || self.standby.is_some() {
            return Ok(());
        }
        let reason = match timeout(END_MAX, self.tick()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.passing().ok_or(error)?,
            Err(_) => "the lake takes too long".to_owned(),
        };
        tracing::info!(reason, "windows that are complete are closed at the next start");
        Ok(())
    }

    fn trouble(&mut self, reason: String) {
        tracing::warn!(reason, "processor waits");
        self.trouble = true;
        (self.report)(Err(reason));
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.trouble) {
            (self.report)(Ok(()));
        }
    }

    async fn take(&mut self, next: Result<Next, ReadError>) -> Result<(), Error> {
        let next = match next {
            Err(ReadError::Unavailable(reason)) => {
                self.trouble(format!("the log does not answer: {reason}"));
                sleep(self.timing.retry).await;
                return Ok(());
            }
            next => next?,
        };
        self.recovered();
        match next {
            Next::Assigned(partitions) => {
                self.partitions
                    .extend(partitions.into_iter().map(|number| (number, Partition::new(0, self.dedup_rows))));
                self.assignment_changed();
            }
            Next::Revoked(partitions) => {
                partitions.iter().for_each(|partition| telemetry::lag(*partition, 0));
                self.partitions.retain(|number, _| !partitions.contains(number));
                self.assignment_changed();
            }
            Next::Record(entry) => {
                self.record(&entry)?;
                // Other tasks get their turn after each record: a log with a backlog is always ready.
                tokio::task::yield_now().await;
            }
            Next::CaughtUp { partition, end } => {
                if let Some(read) = self.partitions.get_mut(&partition) {
                    read.ended_at = Some(end);
                }
            }
        }
        Ok(())
    }

    /// Windows are of all that was assigned: they are begun anew.
    fn assignment_changed(&mut self) {
        self.leads.store(!self.log.is_shared() || self.partitions.contains_key(&LEADING), Ordering::Relaxed);
        self.resume_due = true;
    }

    /// The log has not what was to be read next.
    fn offset_error(&mut self, words: String) {
        self.offset_errors += 1;
        match self.offset_errors > OFFSET_ERRORS_MAX {
            true => self.stop(words),
            false => {
                tracing::warn!(words, "reading begins anew");
                self.resume_due = true;
            }
        }
    }

    /// Nothing is read until the next start: an operator has to act.
    fn stop(&mut self, words: String) {
        tracing::error!(words, "processor stopped");
        (self.report)(Err(format!("processor stopped: {words}")));
        self.stopped = true;
    }

    fn now(&self) -> Moment {
        Moment { wall_us: self.clock.now(), monotonic_us: self.began.elapsed().as_micros() as i64 }
    }

    /// Whether many windows were opened since the last tick, which closes those that are complete: a thin log of short
    /// windows opens thousands within a second.
    fn opened_many(&self) -> bool {
        let many = (self.groups.windows_max / TICKS_UP_TO_BOUND).max(1);
        self.rollups.iter().any(|rollup| rollup.kept.fold().windows() >= rollup.open_at_tick + many)
    }
}
