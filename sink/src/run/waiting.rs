//! Questions to log and lake that may fail or hang: waited out, unready, with what is buffered kept. A partition of which the log
//! answers nothing is put aside ([`super::aside`]); while the sink drains, the log has only so much time ([`super::drain`]).
use super::Sink;
use crate::Error;
use crate::aside::Silence;
use crate::watch::{LOG, watched};
use lake::table::Error as LakeError;
use log::{ReadError, Reader};
use std::ops::Range;
use std::pin::Pin;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// A question under way.
type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, ReadError>> + Send + 'a>>;

/// Why a question has no answer.
pub(super) enum Unanswered {
    /// The log has none for this partition, for now.
    Silent(Silence),
    /// The log is silent, and the sink gave up draining.
    GaveUp,
}

/// A question's outcome, where the log is sound.
pub(super) type Asked<T> = Result<T, Unanswered>;

impl Sink {
    /// The log's bounds.
    pub(super) async fn bounds(&mut self, partition: u32) -> Result<Asked<Range<u64>>, Error> {
        self.ask("a look at its bounds", |reader| reader.bounds(partition)).await
    }

    /// The fingerprint of the record at an offset, or that there is none.
    pub(super) async fn fingerprint(&mut self, partition: u32, offset: u64) -> Result<Asked<Option<i64>>, Error> {
        self.ask("a look at a record", |reader| reader.fingerprint_at(partition, offset)).await
    }

    /// Puts the reader at an offset. The inner error: the log does not have it.
    pub(super) async fn seek(&mut self, partition: u32, offset: u64) -> Result<Asked<Result<(), ReadError>>, Error> {
        self.ask("a seek", |reader| Box::pin(sought(reader, partition, offset))).await
    }

    /// Asks until there is an answer, or the question has taken its time ([`crate::Timing::answer`]): one that fails is
    /// asked again within it, one that hangs has twice as much. While the sink drains, that has its own patience.
    async fn ask<T>(
        &mut self,
        what: &str,
        question: impl for<'a> Fn(&'a mut (dyn Reader + 'static)) -> Asking<'a, T>,
    ) -> Result<Asked<T>, Error> {
        let (since, answer) = (Instant::now(), self.timing.answer);
        loop {
            let limit = self.limit();
            let hangs_until = self.drain.is_none().then(|| since + answer * 2);
            let asked = until(hangs_until, what, question(self.reader.as_mut()));
            let asked = watched(&mut self.readiness, what, LOG, self.timing.slow.min(answer), asked);
            let answered = limit.of(asked).await;
            self.heed_stop();
            match answered {
                Some(Ok(answer)) => {
                    self.heard();
                    return Ok(Ok(answer));
                }
                Some(Err(error @ ReadError::Corrupt(_))) => return Err(error.into()),
                Some(Err(error)) if self.drain.is_none() && since.elapsed() >= answer => {
                    let silence = Silence { words: reason(error), took: since.elapsed() };
                    return Ok(Err(Unanswered::Silent(silence)));
                }
                Some(Err(error)) if !self.gave_up() && !self.is_silent() => self.wait_for_log(error).await?,
                Some(Err(_)) | None => {
                    self.give_up(LOG);
                    return Ok(Err(Unanswered::GaveUp));
                }
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
        let reason = reason(error);
        tracing::warn!(reason, ?wait, "log can't be read now");
        self.readiness.trouble(format!("log can't be read now: {reason}"));
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

/// A position that the log does not have is an answer.
async fn sought(reader: &mut dyn Reader, partition: u32, offset: u64) -> Result<Result<(), ReadError>, ReadError> {
    match reader.seek(partition, offset).await {
        Err(error @ ReadError::OutOfRange { .. }) => Ok(Err(error)),
        sought => sought.map(Ok),
    }
}

/// The work's outcome; unavailable when it is under way at that time.
async fn until<T>(
    at: Option<Instant>,
    what: &str,
    work: impl Future<Output = Result<T, ReadError>>,
) -> Result<T, ReadError> {
    let Some(at) = at else { return work.await };
    let hangs = |_| ReadError::Unavailable(format!("{what} was not answered in time"));
    timeout_at(at, work).await.map_err(hangs)?
}

/// What is wrong, without that it can't be read now.
fn reason(error: ReadError) -> String {
    match error {
        ReadError::Unavailable(reason) => reason,
        error => error.to_string(),
    }
}
