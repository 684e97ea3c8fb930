//! Questions to log and lake that may fail or hang: waited out, unready, with what is buffered kept. While the sink
//! drains, the log has only so much time ([`super::drain`]).
use super::Sink;
use crate::Error;
use crate::watch::{LOG, watched};
use lake::table::Error as LakeError;
use log::ReadError;
use std::ops::Range;
use tokio::time::{Instant, sleep, sleep_until};

/// How a question to the log went.
enum Asked<T> {
    Answered(T),
    /// Ask again.
    Again,
    /// The log is silent, and the sink gave up draining.
    GaveUp,
}

impl Sink {
    /// The log's bounds; `None`: the log is silent, and the sink gave up draining.
    pub(super) async fn bounds(&mut self, partition: u32) -> Result<Option<Range<u64>>, Error> {
        loop {
            let limit = self.limit();
            let asked = self.reader.bounds(partition);
            let asked = watched(&mut self.readiness, "a look at its bounds", LOG, self.timing.slow, asked);
            let answer = limit.of(asked).await;
            match self.asked(answer).await? {
                Asked::Answered(held) => return Ok(Some(held)),
                Asked::Again => {}
                Asked::GaveUp => return Ok(None),
            }
        }
    }

    /// The fingerprint of the record at an offset, or that there is none; the outer `None`: as for [`Self::bounds`].
    pub(super) async fn fingerprint(&mut self, partition: u32, offset: u64) -> Result<Option<Option<i64>>, Error> {
        loop {
            let limit = self.limit();
            let asked = self.reader.fingerprint_at(partition, offset);
            let asked = watched(&mut self.readiness, "a look at a record", LOG, self.timing.slow, asked);
            let answer = limit.of(asked).await;
            match self.asked(answer).await? {
                Asked::Answered(found) => return Ok(Some(found)),
                Asked::Again => {}
                Asked::GaveUp => return Ok(None),
            }
        }
    }

    /// Puts the reader at an offset. The inner error: the log does not have it. `None`: as for [`Self::bounds`].
    pub(super) async fn seek(&mut self, partition: u32, offset: u64) -> Result<Option<Result<(), ReadError>>, Error> {
        loop {
            let limit = self.limit();
            let asked = self.reader.seek(partition, offset);
            let asked = watched(&mut self.readiness, "a seek", LOG, self.timing.slow, asked);
            let answer = match limit.of(asked).await {
                Some(Err(error @ ReadError::OutOfRange { .. })) => Some(Ok(Err(error))),
                Some(sought) => Some(sought.map(Ok)),
                None => None,
            };
            match self.asked(answer).await? {
                Asked::Answered(sought) => return Ok(Some(sought)),
                Asked::Again => {}
                Asked::GaveUp => return Ok(None),
            }
        }
    }

    /// What comes of an answer. `None`: there was none in the time that a drain has.
    async fn asked<T>(&mut self, answer: Option<Result<T, ReadError>>) -> Result<Asked<T>, Error> {
        self.heed_stop();
        match answer {
            Some(Ok(answer)) => {
                self.heard();
                Ok(Asked::Answered(answer))
            }
            Some(Err(error @ ReadError::Corrupt(_))) => Err(error.into()),
            Some(Err(error)) if !self.gave_up() && !self.is_silent() => {
                self.wait_for_log(error).await?;
                Ok(Asked::Again)
            }
            Some(Err(_)) | None => {
                self.give_up(LOG);
                Ok(Asked::GaveUp)
            }
        }
    }

    /// Waits before the next try, unready; any error but a passing one ends the sink.
    pub(super) async fn wait_for_lake(&mut self, error: LakeError) -> Result<(), Error> {
        let LakeError::Unavailable(reason) = error else { return Err(error.into()) };
        let wait = self.backoff.wait();
        tracing::warn!(reason, ?wait, "lake is unavailable: nothing is read until it is back");
        self.readiness.trouble(format!("lake is unavailable: {reason}"));
        sleep(wait).await;
        Ok(())
    }

    /// The same for the log.
    pub(super) async fn wait_for_log(&mut self, error: ReadError) -> Result<(), Error> {
        if matches!(error, ReadError::Corrupt(_)) {
            return Err(error.into());
        }
        let wait = self.backoff.wait();
        tracing::warn!(%error, ?wait, "log can't be read now");
        self.readiness.trouble(format!("log can't be read now: {error}"));
        let until = Instant::now() + wait;
        let pause = sleep_until(self.patience().map_or(until, |patience| patience.min(until)));
        tokio::select! {
            () = pause => {}
            () = self.shutdown.cancelled(), if self.drain.is_none() => {}
        }
        Ok(())
    }

    /// What did not answer answers again; what a drain gave up stays told.
    pub(super) fn recovered(&mut self) {
        if !self.gave_up() {
            self.backoff.reset();
            self.readiness.recovered();
        }
    }
}
