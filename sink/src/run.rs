//! The loop: reads, buffers, flushes, drains. All I/O of the sink is awaited here, one thing at a time, so that no
//! commit is ever under way beside a change of the assignment.
//!
//! While the store does not answer, nothing is read: what is buffered stays, bounded, and goes in when it is back.
use crate::aside::Aside;
use crate::backoff::Backoff;
use crate::buffer::Buffer;
use crate::flush_policy::{Due, FlushPolicy, Waiting};
use crate::lag::Lags;
use crate::partition::Partition;
use crate::position::Known;
use crate::random::Random;
use crate::readiness::Readiness;
use crate::record::Reading;
use crate::tables::Tables;
use crate::watch::LOG;
use crate::watch::{STORE, watched};
use crate::{Config, Error, Jobs, Lake, Parts, Timing, telemetry};
use event::clock::Clock;
use lake::table::Error as LakeError;
use lake::upkeep::{Options, Tended, tell_stopped, tend};
use log::{Log, ReadError, Reader};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

mod aside;
mod assignment;
mod commit;
mod drain;
mod identity;
mod reading;
mod waiting;

use drain::Drain;

/// The name under which retention waits for this reader.
const READER: &str = "sink";

/// See [`crate::run`].
pub(crate) async fn run(
    config: Config,
    mut parts: Parts,
    timing: Timing,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    telemetry::describe();
    let mut upkeep = JoinSet::new();
    let clock = parts.clock.clone();
    let kept_up = kept_up(&parts.lake, std::mem::take(&mut parts.jobs));
    let Some(mut sink) = Sink::open(&config, parts, timing, &shutdown).await? else { return Ok(()) };
    upkeep.spawn(tend(kept_up, clock.clone(), timing.pace));
    let mut gauges = JoinSet::new();
    gauges.spawn(sink.lags.clone().keep_telling(clock, timing.lag));
    let ended = sink.drive(&mut upkeep, &shutdown).await;
    sink.lags.tell(sink.clock.now());
    ended
}

/// Names of the tables in the metrics.
const TABLES: [&str; 2] = ["events", "dead_letters"];

fn kept_up(lake: &Lake, jobs: Jobs) -> Vec<Tended> {
    let [events, dead_letters] = TABLES.map(str::to_owned);
    vec![
        Tended { name: events, location: lake.events.clone(), options: Options::default(), jobs: jobs.events },
        Tended {
            name: dead_letters,
            location: lake.dead_letters.clone(),
            options: Options::default(),
            jobs: jobs.dead_letters,
        },
    ]
}

struct Sink {
    log: Arc<dyn Log>,
    reader: Box<dyn Reader>,
    /// Not before then, after the log didn't answer.
    read_at: Option<Instant>,
    tables: Tables,
    partitions: BTreeMap<u32, Partition>,
    /// Ends known of partitions that are not this sink's any more.
    known: BTreeMap<u32, Known>,
    /// Partitions for which the log does not answer now.
    aside: Aside,
    lags: Lags,
    assigned: bool,
    /// Told to stop.
    drain: Option<Drain>,
    buffer: Buffer,
    policy: FlushPolicy,
    timing: Timing,
    reading: Reading,
    shutdown: CancellationToken,
    clock: Arc<dyn Clock>,
    readiness: Readiness,
    backoff: Backoff,
    /// Flushes lost in a row to another sink.
    superseded: Backoff,
    random: Random,
}

impl Sink {
    /// Opens tables and log, waiting for them as long as it takes; `None`: told to stop meanwhile.
    async fn open(
        config: &Config,
        parts: Parts,
        timing: Timing,
        shutdown: &CancellationToken,
    ) -> Result<Option<Sink>, Error> {
        let Parts { log, lake, dedup_rows, bounds, clock, report, .. } = parts;
        let mut readiness = Readiness::new(report);
        // The microsecond of the start: no two of a fleet have the same.
        let seed = clock.now().cast_unsigned();
        let mut backoff = Backoff::new(seed);
        let (tables, reader) = loop {
            let opened = async {
                let tables = Tables::open(&lake, log.as_ref(), dedup_rows).await?;
                let reader = log.reader(Some(READER)).await?;
                Ok::<_, Error>((tables, reader))
            };
            // A store that hangs must be told, and not hold up a stop. One that answers lets a sink that is stopped at
            // once bring to the tables what the log has.
            let stopped = async {
                shutdown.cancelled().await;
                sleep(timing.answer).await;
            };
            let opened = tokio::select! {
                () = stopped => return Ok(None),
                opened = watched(&mut readiness, "opening log and tables", STORE, timing.slow, opened) => opened,
            };
            match opened {
                Ok(opened) => break opened,
                Err(Error::Lake(LakeError::Unavailable(reason)) | Error::Log(ReadError::Unavailable(reason))) => {
                    tracing::warn!(reason, "sink can't start yet");
                    readiness.trouble(format!("sink can't start yet: {reason}"));
                    tokio::select! {
                        () = shutdown.cancelled() => return Ok(None),
                        () = sleep(backoff.wait()) => {}
                    }
                }
                Err(error) => return Err(error),
            }
        };
        readiness.recovered();
        backoff.reset();
        let mut random = Random::new(seed.rotate_left(16));
        let mut policy = FlushPolicy::new(config);
        policy.next_flush(random.unit(), 0);
        let reading = Reading { topic: tables.topic.clone(), bounds };
        Ok(Some(Sink {
            log,
            reader,
            read_at: None,
            tables,
            partitions: BTreeMap::new(),
            known: BTreeMap::new(),
            aside: Aside::default(),
            lags: Lags::default(),
            assigned: false,
            drain: None,
            buffer: Buffer::default(),
            policy,
            timing,
            reading,
            shutdown: shutdown.clone(),
            superseded: Backoff::new(seed.rotate_left(32)),
            clock,
            readiness,
            backoff,
            random,
        }))
    }

    async fn drive(
        &mut self,
        upkeep: &mut JoinSet<Result<(), LakeError>>,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        loop {
            self.lags.update(&self.partitions);
            let due = self.policy.due(&self.waiting(), Instant::now());
            if due == Due::Now {
                self.flush().await?;
                continue;
            }
            if self.is_drained() {
                // A flush that was superseded reads again, and drains again.
                if !self.flush().await? {
                    return Ok(());
                }
                continue;
            }
            if self.is_silent() {
                self.give_up(LOG);
                continue;
            }
            let at = match due {
                Due::At(at) => Some(at),
                _ => None,
            };
            let aside_at = match self.next_aside() {
                Some((number, at)) if at.is_none_or(|at| at <= Instant::now()) => {
                    self.take_up(number).await?;
                    continue;
                }
                aside => aside.and_then(|(_, at)| at),
            };
            let wake = [at, aside_at, self.drain_wakes_at()].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if !self.drains() => {
                    upkeep.abort_all();
                    self.begin_drain().await?;
                }
                Some(ended) = upkeep.join_next() => match ended {
                    Ok(ended) => ended?,
                    // Told to, when a drain begins.
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => {
                        tracing::error!(%error, "upkeep of all tables stopped until a restart: this is a bug");
                        TABLES.iter().for_each(|table| tell_stopped(table, true));
                    }
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                next = reading::read(self.reader.as_mut(), self.read_at) => self.take(next).await?,
            }
        }
    }

    fn waiting(&self) -> Waiting {
        Waiting {
            rows: self.buffer.rows(),
            bytes: self.buffer.bytes(),
            rows_since: self.buffer.since(),
            records_since: self.partitions.values().filter_map(|partition| partition.pending.since).min(),
        }
    }

    /// Partitions that are read.
    fn healthy(&self) -> Vec<u32> {
        self.partitions.iter().filter(|(_, partition)| partition.is_read()).map(|(number, _)| *number).collect()
    }
}
