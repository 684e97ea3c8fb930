//! What is watched: a catalogue with a long tail, and one live programme.
use crate::ids::mix;
use rand::Rng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Zipf};

/// Titles on demand.
pub const TITLES: u32 = 100_000;
/// Skew of their popularity: measured catalogues lie between 0.6 and 1.
pub const ZIPF_EXPONENT: f64 = 0.8;
/// Sessions that watch the live programme.
pub const LIVE_SHARE: f64 = 0.5;

/// Something to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Title {
    /// The live programme.
    Live,
    /// A title on demand, by its rank (1: the most watched).
    OnDemand { rank: u32 },
}

impl Title {
    /// How long it is; None: live.
    pub(crate) fn duration_ms(self) -> Option<i64> {
        let Title::OnDemand { rank } = self else { return None };
        let dice = mix(u64::from(rank));
        let minutes = |least: u64, spread: u64| ((least * 60_000) + (dice >> 8) % (spread * 60_000)) as i64;
        Some(match dice % 10 {
            0..4 => minutes(21, 6),
            4..8 => minutes(42, 18),
            _ => minutes(85, 55),
        })
    }

    /// As it stands in `content_id`.
    pub(crate) fn content_id(self, id: &mut String) {
        use std::fmt::Write;
        id.clear();
        match self {
            Title::Live => id.push_str("live-final"),
            // A String takes everything that is written to it.
            Title::OnDemand { rank } => drop(write!(id, "title-{rank:06}")),
        }
    }
}

/// The choice.
#[derive(Debug)]
pub(crate) struct Titles {
    popularity: Zipf<f64>,
}

impl Titles {
    pub(crate) fn new() -> Titles {
        let Ok(popularity) = Zipf::new(f64::from(TITLES), ZIPF_EXPONENT) else {
            unreachable!("the constants are a Zipf distribution's");
        };
        Titles { popularity }
    }

    /// What a viewer takes next.
    pub(crate) fn draw(&self, dice: &mut SmallRng) -> Title {
        if dice.random::<f64>() < LIVE_SHARE {
            return Title::Live;
        }
        Title::OnDemand { rank: self.popularity.sample(dice) as u32 }
    }
}
