//! The audience model: viewers who come at kickoff, watch, pause, rebuffer, see ads and leave; with the duplicates, late
//! events, wrong clocks and bad input that a real audience brings.
//!
//! ```text
//!  population (who does what when) ──▶ render ──▶ + duplicates, + bad events ──▶ bodies of up to `batch` events
//!   session, viewer, titles,                        seconds later                 grouped as an edge relay would
//!   programme, clocks
//! ```
//! The figures are a workload model, not a measurement: Zipf 0.8 over 100,000 titles, session lengths, startup times,
//! heartbeats of 10, 30 and 60 s, lateness and skew as in published surveys and player defaults.
//!
//! Audience time runs `speed` times as fast as the wall. Positions, startup times and rebufferings are in audience time,
//! `event_time` and `sent_at` are real: at a speed of 30 a heartbeat of 30 s comes each second.
mod clocks;
mod dice;
mod population;
mod programme;
mod render;
mod session;
mod titles;
mod viewer;

pub use programme::BREAK_SPREAD_MS;
pub use session::{EXITS_BEFORE_START, REBUFFERING, START_FAILURES};
pub use titles::{LIVE_SHARE, TITLES, ZIPF_EXPONENT};
pub use viewer::HEARTBEATS_MS;

use crate::body::{Body, Framer, Mark};
use crate::ids::Ids;
use crate::options::{Format, Options};
use population::Population;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use render::{DEFECTS, Defect, Renderer, Said};
use session::Happening;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;
use uuid::Uuid;

/// Events that are sent again, with the same id, in another body, seconds later.
pub const DUPLICATES: f64 = 0.005;
/// Bad events, on top of the others.
pub const BAD: f64 = 0.001;
/// A copy comes so long after its original; wall time.
const COPY_AFTER_US: std::ops::Range<u64> = 1_000_000..8_000_000;
/// A relay sends what it has after this, though the body is not full; wall time. Shorter than any copy's delay: an event
/// and its copy are never in one body.
const LINGER: Duration = Duration::from_millis(100);
/// JSON bodies that come in an envelope.
const ENVELOPES: f64 = 0.25;
const EVENT_BYTES: usize = 900;

/// An event that is due; its bytes are kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    us: u64,
    id: Uuid,
}

/// The bodies of an audience.
pub struct Audience {
    population: Population,
    renderer: Renderer,
    event_ids: Ids,
    dice: SmallRng,
    format: Format,
    batch: usize,
    start_ms: i64,
    speed: f64,
    duration: Duration,
    /// Said, but not yet taken: by whom, when (wall).
    said: Option<(u64, u32, Happening)>,
    /// A bad event to follow: of whom, when.
    bad: Option<(u64, u32, Happening)>,
    /// Copies to come.
    copies: BinaryHeap<Reverse<(Due, Vec<u8>)>>,
    /// The next event, ready: it closes a body or opens the next.
    ready: Option<(Due, Mark)>,
    /// Its bytes.
    bytes: Vec<u8>,
}

impl Audience {
    /// `viewers`, who come at kickoff, as long as `options` say.
    pub fn new(options: &Options, viewers: u64) -> Audience {
        let length_ms = (options.duration.as_secs_f64() * options.speed * 1000.0).max(1.0) as u64;
        let viewers = u32::try_from(viewers).unwrap_or(u32::MAX);
        let mut population = Population::new(options.seed, options.id_seed(), viewers, length_ms);
        let said = population.next().map(|said| wall(said, options.speed));
        let mut audience = Audience {
            population,
            renderer: Renderer::new(),
            event_ids: Ids::new(options.id_seed(), 2),
            dice: SmallRng::seed_from_u64(options.seed.rotate_left(32) ^ 0xA0D1_E9CE),
            format: options.target.format,
            batch: options.batch,
            start_ms: options.start_ms,
            speed: options.speed,
            duration: options.duration,
            said,
            bad: None,
            copies: BinaryHeap::new(),
            ready: None,
            bytes: Vec::with_capacity(2 * EVENT_BYTES),
        };
        audience.make_ready();
        audience
    }

    /// Renders the next event into `bytes`.
    fn make_ready(&mut self) {
        self.bytes.clear();
        self.ready = if let Some((us, number, happening)) = self.bad.take() {
            Some(self.render_bad(us, number, happening))
        } else if self.copy_is_next() {
            self.copies.pop().map(|Reverse((due, bytes))| {
                self.bytes = bytes;
                (due, Mark::Second)
            })
        } else {
            self.said.take().map(|(us, number, happening)| {
                let ready = self.render(us, number, happening);
                // Only now: the step changes the session that was just rendered.
                self.said =
                    self.bad.is_none().then(|| self.population.next()).flatten().map(|said| wall(said, self.speed));
                ready
            })
        };
    }

    fn copy_is_next(&self) -> bool {
        let Some(Reverse((copy, _))) = self.copies.peek() else { return false };
        self.said.is_none_or(|(us, ..)| copy.us <= us)
    }

    fn render(&mut self, us: u64, number: u32, happening: Happening) -> (Due, Mark) {
        let due = Due { us, id: self.event_ids.next() };
        let (viewer, session) = self.population.viewer(number);
        let said = Said { event_id: due.id, happening, session, viewer, sent_ms: self.start_ms + (us / 1000) as i64 };
        self.renderer.write(said, &mut self.bytes);
        if self.dice.random::<f64>() < BAD {
            self.bad = Some((us, number, happening));
        }
        let copy_us = us + self.dice.random_range(COPY_AFTER_US);
        if self.dice.random::<f64>() < DUPLICATES && u128::from(copy_us) < self.duration.as_micros() {
            self.copies.push(Reverse((Due { us: copy_us, id: due.id }, self.bytes.clone())));
            return (due, Mark::First);
        }
        (due, Mark::Once)
    }

    fn render_bad(&mut self, us: u64, number: u32, happening: Happening) -> (Due, Mark) {
        let due = Due { us, id: self.event_ids.next() };
        let (viewer, session) = self.population.viewer(number);
        let said = Said { event_id: due.id, happening, session, viewer, sent_ms: self.start_ms + (us / 1000) as i64 };
        let kinds = DEFECTS.len() - usize::from(self.format == Format::Json);
        let defect: Defect = DEFECTS[self.dice.random_range(0..kinds)];
        self.renderer.write_bad(said, defect, &mut self.bytes);
        self.said = self.population.next().map(|said| wall(said, self.speed));
        (due, Mark::Bad)
    }
}

/// From audience time to wall time, in microseconds.
fn wall((at_ms, number, happening): (u64, u32, Happening), speed: f64) -> (u64, u32, Happening) {
    ((at_ms as f64 * 1000.0 / speed) as u64, number, happening)
}

impl Iterator for Audience {
    type Item = Body;

    fn next(&mut self) -> Option<Body> {
        let opens = self.ready.as_ref().map(|(due, _)| Duration::from_micros(due.us))?;
        let closes = (opens + LINGER).min(self.duration);
        let sent_at_ms = self.dice.random_bool(ENVELOPES).then(|| self.start_ms + opens.as_millis() as i64);
        let mut framer = Framer::new(self.format, self.batch.min(256), EVENT_BYTES, sent_at_ms);
        let mut events = 0;
        let mut due = opens;
        while let Some((event, mark)) = self.ready.take_if(|(event, _)| Duration::from_micros(event.us) <= closes) {
            due = Duration::from_micros(event.us);
            framer.push(event.id, mark, |out| out.extend_from_slice(&self.bytes));
            events += 1;
            self.make_ready();
            if events == self.batch {
                return Some(framer.finish(due));
            }
        }
        // Not full: the relay waited for more until then.
        Some(framer.finish(closes.max(due)))
    }
}
