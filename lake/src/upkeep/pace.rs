//! How often a role that keeps its tables up runs a pass. One place for it: the simulation of a week goes by it too.
use std::time::Duration;

/// Times between passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two passes, when nothing waits.
    pub idle: Duration,
    /// Between two passes while merges wait: the flush path shall not feel them.
    pub busy: Duration,
    /// After a pass that can't succeed (a file that is missing): long, since only an operator can heal that.
    pub stopped: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { idle: Duration::from_secs(30), busy: Duration::from_secs(2), stopped: Duration::from_secs(600) }
    }
}
