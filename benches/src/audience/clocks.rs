//! When a session's events arrive, and what its device takes the time for. Drawn once a session: a device that was
//! offline delivers its whole session late, one whose clock is wrong is wrong all along.
use super::dice::{chance, weighted};
use rand::Rng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, StandardNormal};

/// Lateness with its share in thousandths: under 2 s, to a minute, to an hour, to three days.
const LATENESS_MS: [(u64, u64, u32); 4] =
    [(0, 2_000, 920), (2_000, 60_000, 60), (60_000, 3_600_000, 17), (3_600_000, 72 * 3_600_000, 3)];
/// Standard deviation of a device's clock.
const SKEW_MS: f64 = 2_000.0;
/// Devices whose clock is off by hours.
const OFF_BY_HOURS: f64 = 0.005;
/// Players that say when they sent.
const TELLS_SENT_AT: f64 = 0.3;

/// A session's clocks; milliseconds of wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// From an event to its being sent.
    pub(crate) lateness_ms: i64,
    /// The device's clock less the true one.
    pub(crate) skew_ms: i64,
    /// Whether events carry `sent_at`, by the device's clock.
    pub(crate) tells_sent_at: bool,
}

impl Clocks {
    pub(crate) fn draw(dice: &mut SmallRng) -> Clocks {
        let (least, most, _) = LATENESS_MS[weighted(dice, LATENESS_MS.iter().map(|class| class.2))];
        let normal: f64 = StandardNormal.sample(dice);
        let off_by_hours = chance(dice, OFF_BY_HOURS);
        let hours = dice.random_range(1..12i64) * if dice.random() { 1 } else { -1 };
        Clocks {
            lateness_ms: dice.random_range(least..most) as i64,
            skew_ms: (normal * SKEW_MS) as i64 + if off_by_hours { hours * 3_600_000 } else { 0 },
            // Hours ahead and silent about it would be refused as from the future: then it is bad, and not planned so.
            tells_sent_at: chance(dice, TELLS_SENT_AT) || off_by_hours,
        }
    }

    /// What the device's clock says of an event that is sent at `sent_ms` (true time).
    pub(crate) fn event_time_ms(self, sent_ms: i64) -> i64 {
        sent_ms - self.lateness_ms + self.skew_ms
    }

    /// What it says at the sending.
    pub(crate) fn sent_at_ms(self, sent_ms: i64) -> i64 {
        sent_ms + self.skew_ms
    }
}
