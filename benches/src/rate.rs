//! Valid, distinct events at a fixed rate: about 480 bytes of JSON, 20 fields.
//!
//! A few thousand sessions are rendered once; each event is a copy of one of them with its id, time, sequence number and
//! positions patched in place at fixed bytes. So an event costs a `memcpy` and some sixty bytes of digits.
use crate::body::{Body, Framer, Mark};
use crate::ids::{Ids, mix};
use crate::json::{self, Object};
use crate::options::{Format, Options};
use std::ops::Range;
use std::time::Duration;

/// Sessions that take turns: enough to spread over partitions, 2 MB of templates.
const SESSIONS: u64 = 4096;
/// What an event takes, about.
const EVENT_BYTES: usize = 480;

const STATES: [(&str, &str); 8] = [
    ("heartbeat", "playing"),
    ("heartbeat", "playing"),
    ("heartbeat", "playing"),
    ("heartbeat", "playing"),
    ("heartbeat", "playing"),
    ("bitrate_change", "playing"),
    ("pause", "paused"),
    ("heartbeat", "paused"),
];
const DEVICES: [(&str, &str, &str); 5] = [
    ("tv", "tizen", "living-room"),
    ("tv", "webos", "living-room"),
    ("mobile", "android", "pocket"),
    ("mobile", "ios", "pocket"),
    ("web", "windows", "browser"),
];
const COUNTRIES: [&str; 8] = ["US", "DE", "BR", "IN", "GB", "FR", "JP", "MX"];
const CDNS: [&str; 3] = ["edge-a", "edge-b", "edge-c"];
const BITRATES_KBPS: [i64; 5] = [1200, 2400, 4200, 6000, 8500];

/// An event with its changing parts blank.
struct Template {
    bytes: Vec<u8>,
    event_id: Range<usize>,
    event_time: Range<usize>,
    seq: Range<usize>,
    playhead_ms: Range<usize>,
    buffer_ms: Range<usize>,
}

/// Leaves `width` blanks as the value of `key`, and says where.
fn blank(object: &mut Object<'_>, key: &str, width: usize, quoted: bool) -> Range<usize> {
    let out = object.key(key);
    if quoted {
        out.push(b'"');
    }
    let start = out.len();
    out.resize(start + width, b'0');
    if quoted {
        out.push(b'"');
    }
    start..start + width
}

impl Template {
    fn new(seed: u64, session: u64, sessions: &mut Ids) -> Template {
        let dice = mix(mix(seed) ^ session);
        let pick = |shift: u32, of: usize| (dice >> shift) as usize % of;
        let (event_type, player_state) = STATES[pick(0, STATES.len())];
        let (device_type, os, app) = DEVICES[pick(8, DEVICES.len())];
        let mut bytes = Vec::with_capacity(EVENT_BYTES + 40);
        let mut object = Object::open(&mut bytes);
        let event_id = blank(&mut object, "event_id", 36, true);
        object.text("event_type", event_type);
        let event_time = blank(&mut object, "event_time", 13, false);
        object.uuid("session_id", sessions.next());
        let seq = blank(&mut object, "seq", 7, false);
        object.text("viewer_id", &format!("viewer-{:012x}", mix(dice) >> 16));
        object.text("content_id", &format!("title-{:06}", pick(16, 100_000)));
        object.text("stream_type", "vod");
        object.text("stream_format", "hls");
        object.text("player_state", player_state);
        let playhead_ms = blank(&mut object, "playhead_ms", 7, false);
        object.int("bitrate_kbps", BITRATES_KBPS[pick(24, BITRATES_KBPS.len())]);
        let buffer_ms = blank(&mut object, "buffer_ms", 5, false);
        object.int("throughput_kbps", 10_000 + pick(32, 80_000) as i64);
        object.text("device_type", device_type);
        object.text("os", os);
        object.text("app", app);
        object.text("player_version", "5.2.0");
        object.text("country", COUNTRIES[pick(40, COUNTRIES.len())]);
        object.text("cdn", CDNS[pick(48, CDNS.len())]);
        object.close();
        Template { bytes, event_id, event_time, seq, playhead_ms, buffer_ms }
    }
}

/// The bodies of a run at a fixed rate.
pub struct Rate {
    templates: Vec<Template>,
    event_ids: Ids,
    format: Format,
    batch: u64,
    start_ms: i64,
    events_per_s: f64,
    duration: Duration,
    events: u64,
    next: u64,
}

impl Rate {
    /// `events_per_s` for as long as `options` say: in all the whole number of events that the time holds.
    pub fn new(options: &Options, events_per_s: f64) -> Rate {
        let mut sessions = Ids::new(options.id_seed(), 1);
        let templates = (0..SESSIONS).map(|session| Template::new(options.seed, session, &mut sessions)).collect();
        Rate {
            templates,
            event_ids: Ids::new(options.id_seed(), 2),
            format: options.target.format,
            batch: options.batch as u64,
            start_ms: options.start_ms,
            events_per_s,
            duration: options.duration,
            // A hair more, or 0.1 s at 10/s would hold no event.
            events: (events_per_s * options.duration.as_secs_f64() + 1e-6) as u64,
            next: 0,
        }
    }

    /// When event `number` happens.
    fn at(&self, number: u64) -> Duration {
        Duration::from_secs_f64((number + 1) as f64 / self.events_per_s).min(self.duration)
    }
}

impl Iterator for Rate {
    type Item = Body;

    fn next(&mut self) -> Option<Body> {
        let events = self.batch.min(self.events - self.next);
        if events == 0 {
            return None;
        }
        let mut framer = Framer::new(self.format, events as usize, EVENT_BYTES + 8, None);
        let mut due = Duration::ZERO;
        for number in self.next..self.next + events {
            due = self.at(number);
            let time_ms = self.start_ms as u64 + due.as_millis() as u64;
            let id = self.event_ids.next();
            let template = &self.templates[(number % SESSIONS) as usize];
            let turn = number / SESSIONS;
            framer.push(id, Mark::Once, |out| {
                let start = out.len();
                out.extend_from_slice(&template.bytes);
                let event = &mut out[start..];
                json::patch_uuid(&mut event[template.event_id.clone()], id);
                json::patch_digits(&mut event[template.event_time.clone()], time_ms);
                json::patch_digits(&mut event[template.seq.clone()], 1_000_000 + turn % 9_000_000);
                json::patch_digits(&mut event[template.playhead_ms.clone()], 1_000_000 + turn * 10_000 % 9_000_000);
                json::patch_digits(&mut event[template.buffer_ms.clone()], 10_000 + number * 37 % 20_000);
            });
        }
        self.next += events;
        Some(framer.finish(due))
    }
}
