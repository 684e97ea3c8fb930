//! The load generator: an audience over real HTTP, open loop, latencies from the time a request was due.
//!
//! It drives any collector that takes JSON or NDJSON by POST, ours or another's, so that figures compare.
//!
//! ```text
//!  producer thread      pacer thread                   driver thread (one tokio runtime)
//!  ───────────────      ────────────                   ─────────────────────────────────
//!  rate | audience ───▶ waits until a body is due ───▶ due queue ──▶ N keep-alive connections ──▶ collector
//!        bounded channel                     bounded │        ▲                 │
//!                              full: counted, `not_sent`      └── backoff ◀─────┤ 5xx, 429, connection lost
//!                                                                               ▼
//!                                              acked thread: ids, one a line ◀─ tally: counts, latencies
//! ```
//!
//! Promises:
//! - **Open loop.** The schedule does not wait for answers. A request's latency counts from the time it was due, so a
//!   server that stalls is charged for everyone who had to wait (no coordinated omission; Gil Tene, HdrHistogram).
//! - **Everything is accounted for**: `events = acknowledged + rejected + unknown`, and what never left is `not_sent`.
//! - **An acknowledged id was acknowledged**: only events that a 2xx accepted, each id once.
//! - **Deterministic**: same options, same bodies ([`bodies`]).
//! - **Its own cost is told**: the CPU of the generator's threads alone, even when the server shares the process.
//!
//! Not for: TLS, HTTP/2, pipelining; nor for judging a server from one machine that both share beyond what
//! `cpu_seconds` and `late` can excuse.
mod acked;
mod answer;
pub mod audience;
mod backoff;
mod body;
mod connection;
pub mod cpu;
mod driver;
mod ids;
mod json;
mod options;
pub mod rate;
mod report;
mod run;
mod schedule;
mod tally;

pub use body::Body;
pub use options::{Error, Format, Options, Shape, Target};
pub use report::{LatencyMs, Progress, Report};
pub use run::run;

/// The bodies of a run, in the order in which they are due: a function of `options` alone.
///
/// # Errors
/// [`Error::Options`] when a figure is out of range.
pub fn bodies(options: &Options) -> Result<Box<dyn Iterator<Item = Body> + Send>, Error> {
    options.check()?;
    Ok(match options.shape {
        Shape::Rate { events_per_s } => Box::new(rate::Rate::new(options, events_per_s)),
        Shape::Audience { viewers } => Box::new(audience::Audience::new(options, viewers)),
    })
}
