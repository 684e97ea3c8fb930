//! Whether the edge is ready: it is while appends succeed.
//!
//! A failed append makes it unready; the next that succeeds makes it ready again, and so does [`UNREADY_TIME`] without
//! another failure: an unready node gets no requests, and would never learn that its log is well again.
use crate::Report;
use crate::limits::UNREADY_TIME;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Reports changes of readiness, each once.
pub struct Readiness {
    report: Report,
    state: Mutex<State>,
}

enum State {
    Ready,
    Failing { last: Instant },
    Stopping,
}

impl Readiness {
    /// Ready from now on.
    pub fn begin(report: Report) -> Self {
        report(Ok(()));
        Readiness { report, state: Mutex::new(State::Ready) }
    }

    /// An append failed.
    pub fn failed(&self, reason: &str, now: Instant) {
        let mut state = self.lock();
        match *state {
            State::Stopping => {}
            State::Failing { .. } => *state = State::Failing { last: now },
            State::Ready => {
                *state = State::Failing { last: now };
                drop(state);
                tracing::warn!(reason, "appends fail: clients get 503 until the log takes records again");
                (self.report)(Err(format!("ingest: {reason}")));
            }
        }
    }

    /// An append succeeded.
    pub fn succeeded(&self) {
        self.recover(|_| true);
    }

    /// Called now and then: forgives failures that lie back long enough.
    pub fn expire(&self, now: Instant) {
        self.recover(|last| now.duration_since(last) >= UNREADY_TIME);
    }

    /// Not ready for good.
    pub fn stop(&self) {
        *self.lock() = State::Stopping;
        (self.report)(Err("ingest: stopping, no more requests are taken".to_owned()));
    }

    fn recover(&self, recovers: impl FnOnce(Instant) -> bool) {
        let mut state = self.lock();
        let State::Failing { last } = *state else { return };
        if recovers(last) {
            *state = State::Ready;
            drop(state);
            tracing::info!("ready again");
            (self.report)(Ok(()));
        }
    }

    /// Each change of the state is one assignment: a panic while it was locked leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn readiness_comes_back_with_a_success_or_with_time() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let report: Report = {
            let seen = seen.clone();
            Arc::new(move |ready| seen.lock().unwrap().push(ready.is_ok()))
        };
        let (readiness, now) = (Readiness::begin(report), Instant::now());
        readiness.failed("log is full", now);
        readiness.failed("log is full", now);
        readiness.succeeded();
        readiness.succeeded();
        readiness.failed("log is full", now);
        readiness.expire(now + UNREADY_TIME / 2);
        readiness.expire(now + UNREADY_TIME);
        readiness.stop();
        readiness.succeeded();
        readiness.expire(now + 2 * UNREADY_TIME);
        assert_eq!(*seen.lock().unwrap(), [true, false, true, false, true, false]);
    }
}
