//! Events as batches of the canonical columns.
use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use event::batch::{Arrival, BatchBuilder};
use event::clock::Micros;
use event::codec::{self, Place};
use event::decode::{AnonymousId, Context, Format, TimeBounds, decode};

const BOUNDS: TimeBounds = TimeBounds { past_max: 86_400_000_000, future_max: 0, skew_min: 5_000_000 };

/// 2026-11-22, a round number, µs.
pub const START_US: Micros = 1_795_300_000_000_000;

/// Events as they come out of the log.
pub fn batch(events: &[serde_json::Value]) -> RecordBatch {
    let records: Vec<RecordBatch> = events.chunks(500).map(of_record).collect();
    concat_batches(&event::schema::canonical(), &records).unwrap()
}

/// As the edge takes them, and a reader of the log gets them.
fn of_record(events: &[serde_json::Value]) -> RecordBatch {
    let body: Vec<String> = events.iter().map(ToString::to_string).collect();
    let mut number = 0_u128;
    let mut random = || {
        number += 1;
        number.to_be_bytes()
    };
    let mut context = Context {
        tenant: "default",
        received_at: START_US,
        idempotency_key: None,
        anonymous: AnonymousId::Random(&mut random),
        bounds: BOUNDS,
        events_max: 100_000,
    };
    let mut builder = BatchBuilder::new();
    let arrival = Arrival { tenant: "default", source: "http", received_at: START_US };
    let body = body.join("\n");
    let mut accept = |_, event: event::view_event::ViewEvent<'_>| builder.append(arrival, &event);
    let rejected = decode(Format::Ndjson, body.as_bytes(), &mut context, &mut accept).unwrap();
    assert_eq!(rejected, [], "events of a test are right");
    let record = codec::encode(&builder.finish()).unwrap();
    let place = Place { topic: "events", partition: 0, offset: 0, timestamp: START_US };
    codec::decode(&record, place, BOUNDS).batch
}
