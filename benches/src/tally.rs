//! The ledger of a run: every event that is sent ends in exactly one of acknowledged, rejected, unknown.
use crate::body::Body;
use crate::report::Progress;
use hdrhistogram::Histogram;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use uuid::Uuid;

/// Latencies from a microsecond to an hour, three digits: 0.4 MB.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A 2xx; these positions (ascending) were not accepted.
    Accepted { rejected: Vec<u32> },
    /// Refused as a whole.
    Refused,
    /// Given up, or answered in a way that says nothing.
    Unknown,
}

/// What was counted.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) events: u64,
    pub(crate) acknowledged: u64,
    pub(crate) distinct_acknowledged: u64,
    pub(crate) rejected: u64,
    pub(crate) unknown: u64,
    pub(crate) duplicates_sent: u64,
    pub(crate) bad_sent: u64,
    pub(crate) bad_rejected: u64,
    pub(crate) retries: u64,
    pub(crate) first_trouble: Option<String>,
    pub(crate) latency_us: Histogram<u64>,
    /// Of ids that are sent twice: whether the copy that has ended was acknowledged. Gone when the other one ends.
    half_ended: HashMap<Uuid, bool>,
    /// Acknowledged ids that are not yet written; None when nobody wants them.
    acked: Option<Vec<Uuid>>,
    progress: Arc<Progress>,
}

impl Tally {
    /// `acked`: whether ids are wanted.
    pub(crate) fn new(progress: Arc<Progress>, acked: bool) -> Tally {
        let Ok(latency_us) = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3) else {
            unreachable!("the bounds are constants that HdrHistogram takes");
        };
        Tally {
            requests: 0,
            events: 0,
            acknowledged: 0,
            distinct_acknowledged: 0,
            rejected: 0,
            unknown: 0,
            duplicates_sent: 0,
            bad_sent: 0,
            bad_rejected: 0,
            retries: 0,
            first_trouble: None,
            latency_us,
            half_ended: HashMap::new(),
            acked: acked.then(Vec::new),
            progress,
        }
    }

    /// A request is tried, for the `attempt`th time (0: the first).
    pub(crate) fn begin(&mut self, body: &Body, attempt: u32) {
        if attempt > 0 {
            self.retries += 1;
            return;
        }
        self.events += body.events();
        self.duplicates_sent += u64::from(body.duplicates);
        self.bad_sent += body.bad.len() as u64;
        self.progress.sent.fetch_add(body.events(), Relaxed);
    }

    /// A request that was begun has ended, so long after it was due.
    pub(crate) fn end(&mut self, body: &Body, ending: Ending, latency: Duration) {
        self.requests += 1;
        self.latency_us.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        match ending {
            Ending::Accepted { rejected } => self.accept(body, &rejected),
            Ending::Refused => {
                self.reject(body.events());
                self.bad_rejected += body.bad.len() as u64;
                self.lose_copies(body);
            }
            Ending::Unknown => {
                self.unknown += body.events();
                self.lose_copies(body);
            }
        }
    }

    /// Something other than a 2xx that accepts all came back.
    pub(crate) fn trouble(&mut self, what: impl FnOnce() -> String) {
        if self.first_trouble.is_none() {
            self.first_trouble = Some(what());
        }
    }

    /// Ids that were acknowledged since the last call.
    pub(crate) fn take_acked(&mut self) -> Vec<Uuid> {
        self.acked.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn reject(&mut self, events: u64) {
        self.rejected += events;
        self.progress.rejected.fetch_add(events, Relaxed);
    }

    fn accept(&mut self, body: &Body, rejected: &[u32]) {
        let accepted = body.events() - rejected.len() as u64;
        self.acknowledged += accepted;
        self.progress.acknowledged.fetch_add(accepted, Relaxed);
        self.reject(rejected.len() as u64);
        if rejected.is_empty() && body.repeated.is_empty() && body.bad.is_empty() {
            self.distinct_acknowledged += accepted;
            if let Some(acked) = &mut self.acked {
                acked.extend_from_slice(&body.ids);
            }
            return;
        }
        for (position, &id) in body.ids.iter().enumerate() {
            let position = position as u32;
            let accepted = rejected.binary_search(&position).is_err();
            if body.bad.contains(&position) {
                // A bad event has no row to look for: one that is accepted shows as `bad_sent` above `bad_rejected`.
                self.bad_rejected += u64::from(!accepted);
                continue;
            }
            let first =
                if body.repeated.contains(&position) { self.half_end(body, position, accepted) } else { accepted };
            if first {
                self.distinct_acknowledged += 1;
                if let Some(acked) = &mut self.acked {
                    acked.push(id);
                }
            }
        }
    }

    /// Copies in a body that was not accepted.
    fn lose_copies(&mut self, body: &Body) {
        for &position in &body.repeated {
            self.half_end(body, position, false);
        }
    }

    /// One of the two copies of an event has ended. Whether it is the first to be acknowledged.
    fn half_end(&mut self, body: &Body, position: u32, accepted: bool) -> bool {
        let id = body.ids[position as usize];
        match self.half_ended.remove(&id) {
            Some(before) => accepted && !before,
            None => {
                self.half_ended.insert(id, accepted);
                accepted
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn body(ids: &[u128], repeated: &[u32], bad: &[u32]) -> Body {
        Body {
            due: Duration::ZERO,
            bytes: Bytes::new(),
            ids: ids.iter().map(|&id| Uuid::from_u128(id)).collect(),
            repeated: repeated.to_vec(),
            bad: bad.to_vec(),
            duplicates: 0,
        }
    }

    fn ended(endings: &[(Body, Ending)]) -> Tally {
        let mut tally = Tally::new(Arc::default(), true);
        for (body, ending) in endings {
            tally.begin(body, 0);
            tally.end(body, ending.clone(), Duration::from_millis(1));
        }
        tally
    }

    #[test]
    fn every_event_ends_once() {
        let tally = ended(&[
            (body(&[1, 2, 3], &[], &[]), Ending::Accepted { rejected: vec![1] }),
            (body(&[4, 5], &[], &[]), Ending::Refused),
            (body(&[6], &[], &[]), Ending::Unknown),
        ]);
        assert_eq!((tally.events, tally.acknowledged, tally.rejected, tally.unknown), (6, 2, 3, 1));
        assert_eq!(tally.requests, 3);
    }

    #[test]
    fn both_copies_acknowledged_are_one_distinct_event() {
        let all = Ending::Accepted { rejected: vec![] };
        let mut tally = ended(&[(body(&[1, 2], &[0], &[]), all.clone()), (body(&[1], &[0], &[]), all)]);
        assert_eq!((tally.acknowledged, tally.distinct_acknowledged), (3, 2));
        assert_eq!(tally.take_acked(), [Uuid::from_u128(1), Uuid::from_u128(2)]);
        assert!(tally.half_ended.is_empty(), "an id is kept only while its other copy is out");
    }

    #[test]
    fn a_copy_whose_original_was_lost_is_acknowledged() {
        let all = Ending::Accepted { rejected: vec![] };
        for lost in [Ending::Unknown, Ending::Refused] {
            let mut tally = ended(&[(body(&[1], &[0], &[]), lost), (body(&[1], &[0], &[]), all.clone())]);
            assert_eq!(tally.distinct_acknowledged, 1);
            assert_eq!(tally.take_acked(), [Uuid::from_u128(1)]);
        }
    }

    #[test]
    fn a_bad_event_is_never_written_as_acknowledged() {
        let mut tally = ended(&[
            (body(&[1, 2], &[], &[0]), Ending::Accepted { rejected: vec![0] }),
            (body(&[3, 4], &[], &[1]), Ending::Accepted { rejected: vec![] }),
            (body(&[5], &[], &[0]), Ending::Refused),
        ]);
        assert_eq!((tally.bad_sent, tally.bad_rejected), (3, 2));
        assert_eq!(tally.distinct_acknowledged, 2);
        assert_eq!(tally.take_acked(), [Uuid::from_u128(2), Uuid::from_u128(3)]);
    }
}
