//! The system's clock: the one place where the wall clock is read.
use event::clock::{Clock, Micros};

/// The wall clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the Clock that everyone else is told to take")]
    fn now(&self) -> Micros {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Micros::try_from(since_epoch.as_micros()).unwrap_or(Micros::MAX)
    }
}
