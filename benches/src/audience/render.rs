//! From a session's state to the JSON that its player would send; and the ways to break it.
use super::session::{Happening, LADDER, Session, State};
use super::titles::Title;
use super::viewer::{Fragments, Viewer};
use crate::json::{self, Object};
use chrono::{DateTime, SecondsFormat};
use uuid::Uuid;

/// Ways in which an event is bad. Each is refused by any collector that asks for a type and a plausible time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    NoType,
    NoTime,
    TypeIsANumber,
    TypeIsUnknown,
    TimeIsNoTime,
    NumberIsText,
    FromYearOne,
    FromNextWeek,
    /// NDJSON only: in an array it would spoil its neighbours.
    NotJson,
}

/// Those of an array, then that of lines only.
pub(crate) const DEFECTS: [Defect; 9] = [
    Defect::NoType,
    Defect::NoTime,
    Defect::TypeIsANumber,
    Defect::TypeIsUnknown,
    Defect::TimeIsNoTime,
    Defect::NumberIsText,
    Defect::FromYearOne,
    Defect::FromNextWeek,
    Defect::NotJson,
];

/// A week of milliseconds: out of the accepted future, whatever the skew.
const WEEK_MS: i64 = 7 * 24 * 3_600_000;

/// Writes events.
#[derive(Debug)]
pub(crate) struct Renderer {
    fragments: Fragments,
    text: String,
}

/// What is said, by whom, when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) event_id: Uuid,
    pub(crate) happening: Happening,
    pub(crate) session: &'a Session,
    pub(crate) viewer: Viewer,
    /// True time of the sending, epoch milliseconds.
    pub(crate) sent_ms: i64,
}

impl Renderer {
    pub(crate) fn new() -> Renderer {
        Renderer { fragments: Fragments::new(), text: String::new() }
    }

    /// Writes a valid event.
    pub(crate) fn write(&mut self, said: Said<'_>, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        object.uuid("event_id", said.event_id);
        object.text("event_type", name(said.happening));
        self.time("event_time", said.session.clocks.event_time_ms(said.sent_ms), said.viewer, &mut object);
        self.rest(said, &mut object);
        object.close();
    }

    /// Writes an event with one thing wrong.
    pub(crate) fn write_bad(&mut self, said: Said<'_>, defect: Defect, out: &mut Vec<u8>) {
        let event_time_ms = said.session.clocks.event_time_ms(said.sent_ms);
        let mut object = Object::open(out);
        object.uuid("event_id", said.event_id);
        match defect {
            Defect::NoType => {}
            Defect::TypeIsANumber => object.int("event_type", 7),
            Defect::TypeIsUnknown => object.text("event_type", "teleport"),
            _ => object.text("event_type", name(said.happening)),
        }
        match defect {
            Defect::NoTime => {}
            Defect::TimeIsNoTime => object.text("event_time", "soon"),
            Defect::FromYearOne => object.text("event_time", "0001-01-01T00:00:00Z"),
            Defect::FromNextWeek => object.int("event_time", event_time_ms + WEEK_MS),
            _ => object.int("event_time", event_time_ms),
        }
        object.uuid("session_id", said.session.id);
        if defect == Defect::NumberIsText {
            object.text("playhead_ms", "near the end");
        }
        object.close();
        if defect == Defect::NotJson {
            // A line that was cut off, as by a proxy or a full disk.
            out.truncate(out.len() - 5);
        }
    }

    fn time(&mut self, key: &str, epoch_ms: i64, viewer: Viewer, object: &mut Object<'_>) {
        match DateTime::from_timestamp_millis(epoch_ms) {
            Some(time) if viewer.writes_dates() => {
                object.text(key, &time.to_rfc3339_opts(SecondsFormat::Millis, true));
            }
            _ => object.int(key, epoch_ms),
        }
    }

    fn rest(&mut self, said: Said<'_>, object: &mut Object<'_>) {
        let Said { session, viewer, .. } = said;
        if session.clocks.tells_sent_at {
            self.time("sent_at", session.clocks.sent_at_ms(said.sent_ms), viewer, object);
        }
        object.uuid("session_id", session.id);
        object.int("seq", i64::from(session.seq));
        let viewer_id = object.key("viewer_id");
        viewer_id.extend_from_slice(b"\"viewer-");
        json::push_int(viewer_id, i64::from(viewer.number));
        viewer_id.push(b'"');
        self.content(said, object);
        playback(said, object);
        what_happened(said, object);
        self.fragments.write(viewer, object);
    }

    fn content(&mut self, said: Said<'_>, object: &mut Object<'_>) {
        let Said { session, .. } = said;
        session.title.content_id(&mut self.text);
        object.text("content_id", &self.text);
        match session.title.duration_ms() {
            Some(duration_ms) => {
                object.int("content_duration_ms", duration_ms);
                object.text("stream_type", "vod");
            }
            None => object.text("stream_type", "live"),
        }
        object.text("stream_format", if said.viewer.is_mobile() { "hls" } else { "dash" });
    }
}

fn playback(said: Said<'_>, object: &mut Object<'_>) {
    let Said { session, happening, .. } = said;
    object.text("player_state", player_state(session.state, happening));
    if session.state == State::Starting {
        return; // No frame yet: nothing of the below is known.
    }
    let live_latency_ms = 4_000 + i64::from(said.viewer.number % 20_000);
    if session.title == Title::Live {
        // A position in live media is a time of day.
        object.int("playhead_ms", session.clocks.event_time_ms(said.sent_ms) - live_latency_ms);
        object.int("live_latency_ms", live_latency_ms);
    } else {
        object.int("playhead_ms", session.playhead_ms);
    }
    let (bitrate_kbps, width, height) = LADDER[usize::from(session.rung)];
    object.key("playback_rate").extend_from_slice(b"1.0");
    object.int("bitrate_kbps", bitrate_kbps);
    object.int("top_bitrate_kbps", LADDER[LADDER.len() - 1].0);
    object.int("throughput_kbps", bitrate_kbps * 2 + i64::from(said.viewer.number % 5_000));
    object.int("buffer_ms", session.buffer_ms);
    object.int("rebuffer_count_total", i64::from(session.rebuffers));
    object.int("rebuffer_ms_total", session.rebuffer_ms_total as i64);
    object.int("width", width);
    object.int("height", height);
    object.int("dropped_frames_total", i64::from(session.dropped_frames));
}

fn what_happened(said: Said<'_>, object: &mut Object<'_>) {
    let Said { session, happening, .. } = said;
    match happening {
        Happening::Playing => object.int("startup_ms", session.startup_ms as i64),
        Happening::RebufferEnd => object.int("rebuffer_ms", session.rebuffer_ms as i64),
        Happening::Error { code, fatal } => {
            object.text("error_code", code);
            object.flag("error_fatal", fatal);
        }
        Happening::AdStart | Happening::AdEnd => {
            for (key, prefix) in [("ad_id", &b"\"ad-"[..]), ("ad_break_id", b"\"break-")] {
                let id = object.key(key);
                id.extend_from_slice(prefix);
                json::push_int(id, i64::from(session.ad_break.number));
                id.push(b'"');
            }
            object.text("ad_position", "midroll");
        }
        _ => {}
    }
}

fn name(happening: Happening) -> &'static str {
    match happening {
        Happening::Play => "play",
        Happening::Playing => "playing",
        Happening::Pause => "pause",
        Happening::Resume => "resume",
        Happening::Seek => "seek",
        Happening::Seeked => "seeked",
        Happening::Heartbeat => "heartbeat",
        Happening::RebufferStart => "rebuffer_start",
        Happening::RebufferEnd => "rebuffer_end",
        Happening::BitrateChange => "bitrate_change",
        Happening::Error { .. } => "error",
        Happening::AdStart => "ad_start",
        Happening::AdEnd => "ad_end",
        Happening::Ended => "ended",
        Happening::Stop => "stop",
    }
}

/// The state after the event.
fn player_state(state: State, happening: Happening) -> &'static str {
    match (happening, state) {
        (Happening::Error { fatal: true, .. }, _) => "error",
        (Happening::Ended, _) => "ended",
        (_, State::Waiting | State::Starting) => "starting",
        (_, State::Playing | State::InAd) => "playing",
        (_, State::Paused) => "paused",
        (_, State::Seeking) => "seeking",
        (_, State::Rebuffering) => "rebuffering",
        (_, State::Over) => "stopped",
    }
}
