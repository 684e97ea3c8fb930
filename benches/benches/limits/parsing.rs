//! The load generator's bodies, and the least that parsing them takes: serde_json to plain Arrow builders, and nothing of
//! what a product needs beside it (checks, identity, routing, unknown fields).
use arrow_array::builder::{Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use benches::{Format, Options, Shape, Target};
use bytes::Bytes;
use event::decode::TimeBounds;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// When the events happen, epoch milliseconds.
pub const START_MS: i64 = 1_795_000_000_000;
/// Whenever that is, they are taken.
pub const BOUNDS: TimeBounds = TimeBounds { past_max: i64::MAX / 4, future_max: i64::MAX / 4, skew_min: 5_000_000 };

/// NDJSON bodies of a hundred events.
pub fn bodies(events: u32) -> Vec<Bytes> {
    let options = Options {
        target: Target {
            url: "http://127.0.0.1:1".into(),
            path: "/v1/events".into(),
            headers: Vec::new(),
            format: Format::Ndjson,
        },
        shape: Shape::Rate { events_per_s: f64::from(events) },
        batch: 100,
        duration: Duration::from_secs(1),
        seed: 7,
        run: uuid::Uuid::from_u128(1),
        connections: 1,
        start_ms: START_MS,
        speed: 1.0,
    };
    benches::bodies(&options).expect("bodies").map(|body| body.bytes).collect()
}

/// The load generator's event at a fixed rate, field by field.
#[derive(Deserialize)]
struct Event<'a> {
    event_id: &'a str,
    event_type: &'a str,
    event_time: i64,
    session_id: &'a str,
    seq: i64,
    viewer_id: &'a str,
    content_id: &'a str,
    stream_type: &'a str,
    stream_format: &'a str,
    player_state: &'a str,
    playhead_ms: i64,
    bitrate_kbps: i64,
    buffer_ms: i64,
    throughput_kbps: i64,
    device_type: &'a str,
    os: &'a str,
    app: &'a str,
    player_version: &'a str,
    country: &'a str,
    cdn: &'a str,
}

const TEXTS: [&str; 14] = [
    "event_id",
    "event_type",
    "session_id",
    "viewer_id",
    "content_id",
    "stream_type",
    "stream_format",
    "player_state",
    "device_type",
    "os",
    "app",
    "player_version",
    "country",
    "cdn",
];
const NUMBERS: [&str; 6] = ["event_time", "seq", "playhead_ms", "bitrate_kbps", "buffer_ms", "throughput_kbps"];

/// Parses NDJSON by serde_json into a struct of borrowed fields, and appends these to plain Arrow builders: one batch.
pub fn parse_to_arrow(ndjson: &[u8]) -> RecordBatch {
    let mut texts: [StringBuilder; 14] = Default::default();
    let mut numbers: [Int64Builder; 6] = Default::default();
    for line in ndjson.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let event: Event<'_> = serde_json::from_slice(line).expect("the generator's event");
        let values = [
            event.event_id,
            event.event_type,
            event.session_id,
            event.viewer_id,
            event.content_id,
            event.stream_type,
            event.stream_format,
            event.player_state,
            event.device_type,
            event.os,
            event.app,
            event.player_version,
            event.country,
            event.cdn,
        ];
        texts.iter_mut().zip(values).for_each(|(builder, value)| builder.append_value(value));
        let values = [
            event.event_time,
            event.seq,
            event.playhead_ms,
            event.bitrate_kbps,
            event.buffer_ms,
            event.throughput_kbps,
        ];
        numbers.iter_mut().zip(values).for_each(|(builder, value)| builder.append_value(value));
    }
    let fields = TEXTS.map(|name| Field::new(name, DataType::Utf8, false));
    let fields = fields.into_iter().chain(NUMBERS.map(|name| Field::new(name, DataType::Int64, false)));
    let arrays = texts.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
    let arrays = arrays.chain(numbers.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), arrays.collect()).expect("a batch")
}
