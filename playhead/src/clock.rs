//! The system's clock: the one place where the wall clock is read; and how a time is written.
use chrono::{DateTime, SecondsFormat};
use event::clock::{Clock, Micros};

/// A time as people and JSON have it (RFC 3339); `None`: no calendar reaches it.
pub fn rfc3339(us: Micros) -> Option<String> {
    DateTime::from_timestamp_micros(us).map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

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
