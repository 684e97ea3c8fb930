//! What a run is asked to do, and what is refused.
use crate::ids::mix;
use std::time::Duration;
use uuid::Uuid;

/// Most viewers of a run: each takes about 250 bytes.
pub const VIEWERS_MAX: u64 = 1_000_000;
/// Most connections of a run: a process's usual limit on open files is 1,024 to 65,536.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Most events a request: at about 700 bytes an event, 7 MB.
pub const BATCH_MAX: usize = 10_000;
/// Highest rate: beyond it one producer thread is what would be measured.
pub const EVENTS_PER_S_MAX: f64 = 10_000_000.0;

/// Where the load goes.
#[derive(Debug, Clone)]
pub struct Target {
    /// `http://HOST:PORT`
    pub url: String,
    /// `/v1/events`
    pub path: String,
    /// Further headers; they replace our own of the same name.
    pub headers: Vec<(String, String)>,
    /// Body format.
    pub format: Format,
}

/// How bodies are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One event a line.
    Ndjson,
    /// An array; of the audience some come as `{"sent_at": ..., "events": [...]}`.
    Json,
}

/// What is sent.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Valid, distinct 480-byte events at a fixed rate.
    Rate {
        /// Events per second.
        events_per_s: f64,
    },
    /// The audience model.
    Audience {
        /// Concurrent viewers once all have come.
        viewers: u64,
    },
}

/// A run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to.
    pub target: Target,
    /// What.
    pub shape: Shape,
    /// Most events a request.
    pub batch: usize,
    /// How long.
    pub duration: Duration,
    /// Same seed, same traffic.
    pub seed: u64,
    /// This run. Ids come from it and the seed: another run of the same seed, be it at the same moment, is no copy of
    /// this one, which a collector that deduplicates would drop.
    pub run: Uuid,
    /// Connections.
    pub connections: usize,
    /// Epoch milliseconds of the run's start.
    pub start_ms: i64,
    /// Audience only: seconds of the audience's life in one second of the run. 1.0 is real time; 30.0 shows whole
    /// sessions in a run of 20 s. What is sent carries real send times.
    pub speed: f64,
}

impl Options {
    /// What ids are made from.
    pub(crate) fn id_seed(&self) -> u64 {
        let (high, low) = self.run.as_u64_pair();
        mix(mix(mix(self.seed) ^ high) ^ low)
    }

    /// Refuses figures that no run can have.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |what: String| Err(Error::Options(what));
        match self.shape {
            Shape::Rate { events_per_s } if !(events_per_s > 0.0 && events_per_s <= EVENTS_PER_S_MAX) => {
                return refuse(format!("rate {events_per_s}: must be above 0 and at most {EVENTS_PER_S_MAX} events/s"));
            }
            Shape::Audience { viewers } if viewers == 0 || viewers > VIEWERS_MAX => {
                return refuse(format!("viewers {viewers}: must be from 1 to {VIEWERS_MAX}"));
            }
            Shape::Rate { .. } | Shape::Audience { .. } => {}
        }
        if self.batch == 0 || self.batch > BATCH_MAX {
            return refuse(format!("batch {}: must be from 1 to {BATCH_MAX}", self.batch));
        }
        if self.connections == 0 || self.connections > CONNECTIONS_MAX {
            return refuse(format!("connections {}: must be from 1 to {CONNECTIONS_MAX}", self.connections));
        }
        if self.duration.is_zero() || self.duration > Duration::from_secs(7 * 24 * 3600) {
            return refuse(format!("duration {:?}: must be above 0 and at most 7 days", self.duration));
        }
        if !(0.01..=1000.0).contains(&self.speed) {
            return refuse(format!("speed {}: must be from 0.01 to 1000", self.speed));
        }
        // Thirteen digits: rate mode patches times in place. 2001 to 2286.
        if !(1_000_000_000_000..9_999_000_000_000).contains(&self.start_ms) {
            return refuse(format!("start_ms {}: must be epoch milliseconds", self.start_ms));
        }
        Ok(())
    }
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target's URL is not usable.
    #[error("{0}")]
    Target(String),
    /// A figure is out of range.
    #[error("{0}")]
    Options(String),
    /// The file of acknowledged ids can't be written.
    #[error("acknowledged ids can't be written: {0}")]
    Acked(std::io::Error),
    /// One of the generator's threads could not be started or broke off: the run's figures are lost.
    #[error("a thread of the load generator failed: {0}")]
    Thread(String),
}
