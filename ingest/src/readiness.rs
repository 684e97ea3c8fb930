//! Whether the edge is ready: it is while appends return, and succeed.
//!
//! ```text
//!         append fails                        no other failure for a while (on trial)
//! ready ────────────────▶ failing ───────────────────────────────────────▶ ready
//!   │                        └─────────────── an append succeeds ────────────▲
//!   └─ an append takes too long ─▶ stalled ── it returns ────────────────────┘ (or failing)
//! ```
//! An unready node gets no requests, and would never learn that its log is well again: so after [`UNREADY_TIME`]
//! without another failure it counts as ready on trial, and the requests that come then are the probe. Each trial that
//! fails doubles the time until the next, up to [`UNREADY_TIME_MAX`]; a success ends all that. A log that is full for
//! hours thus refuses a few requests a minute, and needs no probe that writes anything.
//!
//! A log that hangs returns no error at all: [`Readiness::review`] sees that its append is old.
use crate::Report;
use crate::limits::{UNREADY_TIME, UNREADY_TIME_MAX};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Reports changes of readiness, each once.
pub struct Readiness {
    report: Report,
    /// An append that takes longer hangs.
    stall: Duration,
    state: Mutex<State>,
}

/// How an append ended.
#[derive(Debug)]
pub enum Ended {
    /// The log has it.
    Durable,
    /// The log refused it or may have lost it, for this reason.
    Failed(String),
    /// The batch was wrong: this says nothing about the log.
    OwnFault,
}

struct State {
    /// By partition: since when an append is under way.
    appends: Vec<Option<Instant>>,
    failure: Option<Failure>,
    /// How long the failure counts, after its last time.
    unready_time: Duration,
    stopping: bool,
    reported: Verdict,
}

struct Failure {
    reason: String,
    last: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ready,
    Failing,
    /// The partition whose append is the oldest.
    Stalled(usize),
    Stopping,
}

impl Readiness {
    /// Ready from now on; an append that takes longer than `stall` hangs.
    pub fn begin(report: Report, partitions: u32, stall: Duration) -> Self {
        report(Ok(()));
        let state = State {
            appends: vec![None; partitions as usize],
            failure: None,
            unready_time: UNREADY_TIME,
            stopping: false,
            reported: Verdict::Ready,
        };
        Readiness { report, stall, state: Mutex::new(state) }
    }

    /// An append begins.
    pub fn began(&self, partition: u32, now: Instant) {
        self.lock().appends[partition as usize] = Some(now);
    }

    /// The append that [`Readiness::began`] is over.
    pub fn ended(&self, partition: u32, ended: Ended, now: Instant) {
        let mut state = self.lock();
        state.appends[partition as usize] = None;
        match ended {
            Ended::Durable => (state.failure, state.unready_time) = (None, UNREADY_TIME),
            Ended::Failed(reason) => state.failure = Some(Failure { reason, last: now }),
            Ended::OwnFault => {}
        }
        self.say(&mut state, now);
    }

    /// Called now and then: finds appends that hang, and puts a failure that lies back long enough on trial.
    pub fn review(&self, now: Instant) {
        let mut state = self.lock();
        let unready_time = state.unready_time;
        if state.failure.take_if(|failure| now.duration_since(failure.last) >= unready_time).is_some() {
            state.unready_time = (2 * unready_time).min(UNREADY_TIME_MAX);
        }
        self.say(&mut state, now);
    }

    /// Not ready for good.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        self.say(&mut state, Instant::now());
    }

    /// Reports under the lock, so that the last report is of the last change.
    fn say(&self, state: &mut State, now: Instant) {
        let verdict = state.judge(now, self.stall);
        if verdict == state.reported {
            return;
        }
        state.reported = verdict;
        let reason = match (verdict, &state.failure) {
            (Verdict::Ready, _) => {
                tracing::info!("ready again");
                return (self.report)(Ok(()));
            }
            (Verdict::Failing, failure) => failure.as_ref().map_or(String::new(), |failure| failure.reason.clone()),
            (Verdict::Stalled(partition), _) => format!(
                "the log hangs: an append to partition {partition} has not returned for more than {} ms; look at its \
                 disk, or at Kafka's brokers",
                self.stall.as_millis()
            ),
            (Verdict::Stopping, _) => "stopping, no more requests are taken".to_owned(),
        };
        if verdict != Verdict::Stopping {
            tracing::warn!(reason, "not ready: clients get 503 until the log takes records again");
        }
        (self.report)(Err(format!("ingest: {reason}")));
    }

    /// Each change of the state is an assignment or two: a panic while it was locked leaves nothing that misleads.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn judge(&self, now: Instant, stall: Duration) -> Verdict {
        if self.stopping {
            return Verdict::Stopping;
        }
        let oldest =
            self.appends.iter().enumerate().filter_map(|(partition, since)| Some(((*since)?, partition))).min();
        match oldest {
            Some((since, partition)) if now.duration_since(since) > stall => Verdict::Stalled(partition),
            _ if self.failure.is_some() => Verdict::Failing,
            _ => Verdict::Ready,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const STALL: Duration = Duration::from_secs(4);
    const SECOND: Duration = Duration::from_secs(1);

    /// What was reported: the reasons, or nothing for ready.
    type Seen = Arc<Mutex<Vec<String>>>;

    fn readiness() -> (Readiness, Seen) {
        let seen = Seen::default();
        let report: Report = {
            let seen = seen.clone();
            Arc::new(move |ready| seen.lock().unwrap().push(ready.err().unwrap_or_default()))
        };
        (Readiness::begin(report, 2, STALL), seen)
    }

    fn last(seen: &Seen) -> String {
        seen.lock().unwrap().last().unwrap().clone()
    }

    fn fail(readiness: &Readiness, now: Instant) {
        readiness.began(0, now);
        readiness.ended(0, Ended::Failed("log is full".to_owned()), now);
    }

    #[test]
    fn readiness_comes_back_with_a_success_or_with_time_and_each_change_is_said_once() {
        let (readiness, seen) = readiness();
        let now = Instant::now();
        fail(&readiness, now);
        fail(&readiness, now);
        readiness.ended(0, Ended::Durable, now);
        readiness.ended(0, Ended::Durable, now);
        fail(&readiness, now);
        readiness.ended(0, Ended::OwnFault, now);
        readiness.review(now + UNREADY_TIME / 2);
        readiness.review(now + UNREADY_TIME);
        readiness.stop();
        readiness.ended(0, Ended::Durable, now);
        readiness.review(now + 2 * UNREADY_TIME);
        let full = "ingest: log is full";
        let stopping = "ingest: stopping, no more requests are taken";
        assert_eq!(*seen.lock().unwrap(), ["", full, "", full, "", stopping]);
    }

    #[test]
    fn while_trials_fail_the_next_comes_later_and_a_success_ends_that() {
        let (readiness, seen) = readiness();
        let mut now = Instant::now();
        for seconds in [5, 10, 20, 40, 60, 60] {
            fail(&readiness, now);
            readiness.review(now + seconds * SECOND - SECOND / 10);
            assert_ne!(last(&seen), "", "on trial before {seconds} s");
            now += seconds * SECOND;
            readiness.review(now);
            assert_eq!(last(&seen), "", "not on trial after {seconds} s");
        }
        readiness.ended(0, Ended::Durable, now);
        fail(&readiness, now);
        readiness.review(now + UNREADY_TIME);
        assert_eq!(last(&seen), "");
    }

    #[test]
    fn an_append_that_hangs_is_said_whatever_other_partitions_do_until_it_returns() {
        let (readiness, seen) = readiness();
        let now = Instant::now();
        readiness.began(1, now);
        readiness.review(now + STALL);
        assert_eq!(last(&seen), "");
        let later = now + STALL + SECOND;
        readiness.review(later);
        assert!(last(&seen).contains("an append to partition 1 has not returned for more than 4000 ms"));
        readiness.began(0, later);
        readiness.ended(0, Ended::Durable, later);
        readiness.review(later + 10 * UNREADY_TIME);
        assert_ne!(last(&seen), "", "another partition's success is not this one's");
        readiness.ended(1, Ended::Durable, later);
        assert_eq!(last(&seen), "");
    }

    #[test]
    fn a_hung_append_that_returns_a_failure_was_never_ready_in_between() {
        let (readiness, seen) = readiness();
        let now = Instant::now();
        readiness.began(0, now);
        readiness.review(now + 2 * STALL);
        readiness.ended(0, Ended::Failed("disk is gone".to_owned()), now + 2 * STALL);
        let seen = seen.lock().unwrap();
        assert_eq!((seen.len(), seen[2].as_str()), (3, "ingest: disk is gone"), "{seen:?}");
    }
}
