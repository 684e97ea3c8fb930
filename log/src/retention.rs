//! What retention drops. Pure: the log shows its oldest records, this says how many of them may go.
//!
//! A record may go when every named reader has released it, and when it is older than the retention or the disk
//! budget is more than [`ROOM_NEEDED_ABOVE`] used; then the oldest ones over all partitions go first.
use event::clock::Micros;
use std::iter::Peekable;

/// The part of the budget above which released records make room before their age asks for it: 80 %.
pub(crate) const ROOM_NEEDED_ABOVE: (u64, u64) = (4, 5);

/// A record as retention sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub offset: u64,
    pub timestamp: Micros,
    pub bytes: u64,
}

/// The limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub retention_ms: u64,
    pub bytes_max: u64,
}

impl Rule {
    /// Records with a timestamp below this are older than the retention.
    pub(crate) fn horizon(&self, now: Micros) -> Micros {
        let retention = i64::try_from(self.retention_ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        now.saturating_sub(retention)
    }

    /// Bytes in use above which released records make room.
    pub(crate) fn comfortable_bytes(&self) -> u64 {
        let (part, whole) = ROOM_NEEDED_ABOVE;
        self.bytes_max / whole * part
    }
}

/// The records that go, oldest first over all partitions, ended early by the caller if it wants small steps.
///
/// `partitions[p]` yields the records of partition `p` from its start up to, not including, the lowest release; one
/// that fails yields its error once and is left alone after that.
pub(crate) struct Expired<I: Iterator<Item = Result<Held, E>>, E> {
    partitions: Vec<Peekable<I>>,
    horizon: Micros,
    comfortable: u64,
    used: u64,
}

impl<I: Iterator<Item = Result<Held, E>>, E> Expired<I, E> {
    pub(crate) fn new(rule: Rule, now: Micros, used: u64, partitions: impl IntoIterator<Item = I>) -> Self {
        let partitions = partitions.into_iter().map(Iterator::peekable).collect();
        Self { partitions, horizon: rule.horizon(now), comfortable: rule.comfortable_bytes(), used }
    }
}

impl<I: Iterator<Item = Result<Held, E>>, E> Iterator for Expired<I, E> {
    /// Partition and record.
    type Item = Result<(u32, Held), E>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut oldest: Option<(usize, Micros)> = None;
        for (index, records) in self.partitions.iter_mut().enumerate() {
            match records.peek() {
                Some(Ok(held)) if oldest.is_none_or(|(_, timestamp)| held.timestamp < timestamp) => {
                    oldest = Some((index, held.timestamp));
                }
                Some(Err(_)) => return records.next().map(|failed| failed.map(|held| (index as u32, held))),
                _ => {}
            }
        }
        let (index, timestamp) = oldest?;
        if timestamp >= self.horizon && self.used <= self.comfortable {
            return None;
        }
        let Some(Ok(held)) = self.partitions[index].next() else { return None };
        self.used = self.used.saturating_sub(held.bytes);
        Some(Ok((index as u32, held)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn goes(rule: Rule, now: Micros, used: u64, partitions: &[&[(u64, Micros, u64)]]) -> Vec<(u32, u64)> {
        let shown = partitions.iter().map(|records| {
            records.iter().map(|&(offset, timestamp, bytes)| Ok::<_, Infallible>(Held { offset, timestamp, bytes }))
        });
        Expired::new(rule, now, used, shown).map(|gone| gone.map(|(p, held)| (p, held.offset)).unwrap()).collect()
    }

    const RULE: Rule = Rule { retention_ms: 10, bytes_max: 1_000 };

    #[test]
    fn what_is_older_than_the_retention_goes() {
        assert_eq!(goes(RULE, 20_000, 30, &[&[(3, 9_999, 10), (4, 10_000, 10)], &[(0, 5, 10)]]), [(1, 0), (0, 3)]);
    }

    #[test]
    fn a_budget_over_four_fifths_sends_the_oldest_until_it_is_under() {
        let records: &[&[_]] = &[&[(0, 100, 60), (1, 300, 60)], &[(7, 200, 60), (8, 400, 60)]];
        assert_eq!(goes(RULE, 500, 900, records), [(0, 0), (1, 7)]);
        assert_eq!(goes(RULE, 500, 800, records), []);
    }

    #[test]
    fn a_clock_near_its_ends_does_not_overflow() {
        let rule = Rule { retention_ms: u64::MAX, bytes_max: u64::MAX };
        assert_eq!(goes(rule, i64::MIN, 0, &[&[(0, 0, 1)]]), []);
    }
}
