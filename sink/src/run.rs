//! The loop: reads, buffers, flushes, drains. All I/O of the sink is awaited here, one thing at a time, so that no
//! commit is ever under way beside a change of the assignment.
//!
//! While the store does not answer, nothing is read: what is buffered stays, bounded, and goes in when it is back.
use crate::backoff::Backoff;
use crate::buffer::Buffer;
use crate::dead_letter;
use crate::flush_policy::{Due, FlushPolicy, Waiting};
use crate::intake::{self, Sifted};
use crate::partition::{Partition, Place};
use crate::readiness::Readiness;
use crate::tables::Tables;
use crate::{Config, Error, Parts, Timing, telemetry, upkeep};
use event::clock::Clock;
use event::codec;
use event::decode::TimeBounds;
use lake::table::Error as LakeError;
use log::{Entry, Log, Next, ReadError, Reader};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

mod assignment;
mod commit;

/// The name under which retention waits for this reader.
const READER: &str = "sink";

/// A sink that was told to stop before it was given any partition waits for them this long.
const ASSIGNMENT_WAIT: Duration = Duration::from_secs(1);

/// See [`crate::run`].
pub(crate) async fn run(
    config: Config,
    parts: Parts,
    timing: Timing,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    telemetry::describe();
    let stop_upkeep = shutdown.child_token();
    let mut upkeep = JoinSet::new();
    let (lake, clock) = (parts.lake.clone(), parts.clock.clone());
    let Some(mut sink) = Sink::open(&config, parts, timing.slow, &shutdown).await? else { return Ok(()) };
    upkeep.spawn(upkeep::run(lake, clock, timing.pace, stop_upkeep));
    sink.drive(&mut upkeep, &shutdown).await
}

struct Sink {
    log: Arc<dyn Log>,
    reader: Box<dyn Reader>,
    /// Not before then, after the log didn't answer.
    read_at: Option<Instant>,
    tables: Tables,
    partitions: BTreeMap<u32, Partition>,
    assigned: bool,
    draining_since: Option<Instant>,
    buffer: Buffer,
    policy: FlushPolicy,
    /// See [`Timing::slow`].
    slow: Duration,
    bounds: TimeBounds,
    clock: Arc<dyn Clock>,
    readiness: Readiness,
    backoff: Backoff,
    /// Flushes lost in a row to another sink.
    superseded: Backoff,
}

impl Sink {
    /// Opens tables and log, waiting for them as long as it takes; `None`: told to stop meanwhile.
    async fn open(
        config: &Config,
        parts: Parts,
        slow: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Option<Sink>, Error> {
        let Parts { log, lake, dedup_rows, bounds, clock, report } = parts;
        let mut readiness = Readiness::new(report);
        let mut backoff = Backoff::new(clock.now().cast_unsigned());
        let (tables, reader) = loop {
            let opened = async {
                let tables = Tables::open(&lake, log.as_ref(), dedup_rows).await?;
                let reader = log.reader(Some(READER)).await?;
                Ok::<_, Error>((tables, reader))
            };
            match opened.await {
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
        Ok(Some(Sink {
            log,
            reader,
            read_at: None,
            tables,
            partitions: BTreeMap::new(),
            assigned: false,
            draining_since: None,
            buffer: Buffer::default(),
            policy: FlushPolicy::new(config),
            slow,
            bounds,
            superseded: Backoff::new(clock.now().cast_unsigned().rotate_left(32)),
            clock,
            readiness,
            backoff,
        }))
    }

    async fn drive(
        &mut self,
        upkeep: &mut JoinSet<Result<(), LakeError>>,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        loop {
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
            let wake = match due {
                Due::At(at) => Some(at),
                _ => self.draining_since.filter(|_| !self.assigned).map(|since| since + ASSIGNMENT_WAIT),
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if self.draining_since.is_none() => self.begin_drain().await?,
                Some(ended) = upkeep.join_next() => match ended {
                    Ok(ended) => ended?,
                    Err(error) => {
                        tracing::error!(%error, "upkeep of all tables stopped until a restart: this is a bug");
                        upkeep::TABLES.iter().for_each(|table| telemetry::upkeep_stopped(table, true));
                    }
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                next = read(self.reader.as_mut(), self.read_at) => self.take(next).await?,
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

    // ---- Reading ----

    async fn take(&mut self, next: Result<Next, ReadError>) -> Result<(), Error> {
        let next = match next {
            Ok(next) => next,
            Err(ReadError::OutOfRange { partition, offset, start, end }) => {
                return self.offset_error(partition, format!("offset {offset} is outside of {start}..{end}")).await;
            }
            Err(ReadError::Unavailable(reason)) => {
                tracing::warn!(reason, "log can't be read now");
                self.readiness.trouble(format!("log can't be read now: {reason}"));
                self.read_at = Some(Instant::now() + self.backoff.wait());
                return Ok(());
            }
            Err(error @ ReadError::Corrupt(_)) => return Err(error.into()),
        };
        if self.read_at.take().is_some() {
            self.backoff.reset();
            self.readiness.recovered();
        }
        match next {
            Next::Assigned(partitions) => {
                self.assigned = true;
                self.resume_all(&partitions).await?;
                self.readiness.started();
            }
            Next::Revoked(partitions) => self.revoke(&partitions),
            Next::Record(entry) => {
                self.record(&entry).await?;
                // Other tasks get their turn after each record: a log with a backlog is always ready.
                tokio::task::yield_now().await;
            }
            Next::CaughtUp { partition, end } => self.caught_up(partition, end),
        }
        Ok(())
    }

    async fn record(&mut self, entry: &Entry) -> Result<(), Error> {
        let number = entry.partition;
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
        let place = partition.place(entry);
        match place {
            Place::Ignore => return Ok(()),
            Place::Stop(words) => return self.stop(number, words).await,
            Place::Feed | Place::FeedLast => {
                let decoded = decode(&self.tables.topic, entry, self.bounds);
                intake::feed(&decoded, entry.offset, &mut partition.window).map_err(Error::Broken)?;
            }
            Place::Keep => self.keep(entry)?,
        }
        if place == Place::FeedLast {
            self.release(number, entry.offset + 1).await?;
        }
        Ok(())
    }

    fn keep(&mut self, entry: &Entry) -> Result<(), Error> {
        let Some(partition) = self.partitions.get_mut(&entry.partition) else { return Ok(()) };
        let topic = &self.tables.topic;
        let decoded = decode(topic, entry, self.bounds);
        let Sifted { kept, duplicates, dead, received_at_max } =
            intake::sift(decoded, entry.offset, &mut partition.window).map_err(Error::Broken)?;
        let now = Instant::now();
        let pending = &mut partition.pending;
        pending.since.get_or_insert(now);
        pending.last = Some((entry.offset, entry.record.clone()));
        pending.duplicates += duplicates;
        pending.dead_letters += dead.len() as u64;
        pending.received_at_max = pending.received_at_max.max(received_at_max);
        for rows in kept {
            pending.rows += rows.rows.len() as u64;
            let batch = self.tables.columns.build(&rows.batch, place_of(topic, entry), &rows.rows);
            batch
                .and_then(|batch| self.buffer.push(rows.date, entry.partition, batch, now))
                .map_err(|error| Error::Broken(error.to_string()))?;
        }
        if !dead.is_empty() && partition.wants_dead_letters_of(entry.offset) {
            self.buffer.push_dead(entry.partition, dead_letter::rows(entry, dead), now);
        }
        Ok(())
    }

    fn caught_up(&mut self, partition: u32, end: u64) {
        let Some(Partition { committed, .. }) = self.partitions.get(&partition) else { return };
        telemetry::lag(partition, end.saturating_sub(committed.map_or(0, |committed| committed.last + 1)));
    }

    // ---- Draining ----

    /// From here on: read up to the end as it is now, flush, stop.
    async fn begin_drain(&mut self) -> Result<(), Error> {
        self.draining_since = Some(Instant::now());
        let healthy: Vec<u32> = self
            .partitions
            .iter()
            .filter(|(_, partition)| !partition.is_stopped())
            .map(|(number, _)| *number)
            .collect();
        for number in healthy {
            let end = loop {
                match self.reader.bounds(number).await {
                    Ok(held) => break held.end,
                    Err(error) => self.wait_for_log(error).await?,
                }
            };
            if let Some(partition) = self.partitions.get_mut(&number) {
                partition.drain_to = Some(end);
            }
        }
        self.recovered();
        tracing::info!(topic = self.log.topic(), "sink drains");
        Ok(())
    }

    fn is_drained(&self) -> bool {
        let Some(since) = self.draining_since else { return false };
        let given = self.assigned || since.elapsed() >= ASSIGNMENT_WAIT;
        given && self.partitions.values().all(Partition::is_drained)
    }

    // ---- Waiting ----

    /// Waits before the next try, unready; any error but a passing one ends the sink.
    async fn wait_for_lake(&mut self, error: LakeError) -> Result<(), Error> {
        let LakeError::Unavailable(reason) = error else { return Err(error.into()) };
        let wait = self.backoff.wait();
        tracing::warn!(reason, ?wait, "lake is unavailable: nothing is read until it is back");
        self.readiness.trouble(format!("lake is unavailable: {reason}"));
        sleep(wait).await;
        Ok(())
    }

    async fn wait_for_log(&mut self, error: ReadError) -> Result<(), Error> {
        if matches!(error, ReadError::Corrupt(_)) {
            return Err(error.into());
        }
        let wait = self.backoff.wait();
        tracing::warn!(%error, ?wait, "log can't be read now");
        self.readiness.trouble(format!("log can't be read now: {error}"));
        sleep(wait).await;
        Ok(())
    }

    fn recovered(&mut self) {
        self.backoff.reset();
        self.readiness.recovered();
    }
}

async fn read(reader: &mut dyn Reader, not_before: Option<Instant>) -> Result<Next, ReadError> {
    if let Some(at) = not_before {
        sleep_until(at).await;
    }
    reader.next().await
}

fn place_of<'a>(topic: &'a str, entry: &Entry) -> codec::Place<'a> {
    codec::Place { topic, partition: entry.partition, offset: entry.offset, timestamp: entry.timestamp }
}

fn decode(topic: &str, entry: &Entry, bounds: TimeBounds) -> codec::Decoded {
    codec::decode(&entry.record, place_of(topic, entry), bounds)
}
