//! How often a fault is repeated, and the randomness of when: CI takes the defaults, `scripts/soak` more.
use rand::SeedableRng;
use rand::rngs::StdRng;

/// `SOAK_ROUNDS`, or the default.
pub fn rounds(default: u32) -> u32 {
    setting("SOAK_ROUNDS").unwrap_or(default)
}

/// Randomness by `SOAK_SEED`, or by a seed of this process; printed, so that a failure can be played again.
pub fn random(test: &str) -> StdRng {
    let seed = setting("SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{test}: SOAK_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// A variable of this test binary.
#[allow(clippy::disallowed_methods, reason = "scripts/soak asks for more by variables")]
pub fn setting<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error:?}")))
}
