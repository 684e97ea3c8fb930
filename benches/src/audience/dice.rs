//! Draws of the model: shares, exponential and lognormal times.
use rand::Rng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, LogNormal};

/// An index, by weights.
pub(crate) fn weighted(dice: &mut SmallRng, weights: impl Iterator<Item = u32> + Clone) -> usize {
    let mut at = dice.random_range(0..weights.clone().sum::<u32>());
    for (index, weight) in weights.enumerate() {
        if at < weight {
            return index;
        }
        at -= weight;
    }
    unreachable!("the draw is below the weights' sum");
}

/// True with this probability.
pub(crate) fn chance(dice: &mut SmallRng, share: f64) -> bool {
    dice.random::<f64>() < share
}

/// An exponential time.
pub(crate) fn exponential_ms(dice: &mut SmallRng, mean_ms: f64) -> u64 {
    (-(1.0 - dice.random::<f64>()).ln() * mean_ms) as u64
}

/// A power law's time: Pareto of shape `shape`, at least `least_ms`.
pub(crate) fn power_law_ms(dice: &mut SmallRng, least_ms: f64, shape: f64) -> u64 {
    (least_ms * (1.0 - dice.random::<f64>()).powf(-1.0 / shape)) as u64
}

/// A lognormal time of the given median and 95th percentile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogNormalMs(LogNormal<f64>);

/// Standard deviations from the median to the 95th percentile.
const Z95: f64 = 1.645;

impl LogNormalMs {
    pub(crate) fn new(median_ms: f64, p95_ms: f64) -> LogNormalMs {
        let Ok(distribution) = LogNormal::new(median_ms.ln(), (p95_ms / median_ms).ln() / Z95) else {
            unreachable!("the model's medians and percentiles are finite and ordered");
        };
        LogNormalMs(distribution)
    }

    /// Draws; at most a day.
    pub(crate) fn draw(self, dice: &mut SmallRng) -> u64 {
        self.0.sample(dice).min(86_400_000.0) as u64
    }
}
