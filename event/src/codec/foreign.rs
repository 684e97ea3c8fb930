//! JSON and NDJSON records, which any producer can write with the client it has.
//!
//! Decoding is a function of the bytes and the place: `received_at` is the log's timestamp, and an event with neither
//! id nor session takes its id from where it stands. A bad row is a dead letter by itself.
use super::fields::Fields;
use super::{DeadLetter, Decoded, Place, header};
use crate::batch::{Arrival, BatchBuilder};
use crate::codec::canonical;
use crate::decode::{self, AnonymousId, Context, Format, TimeBounds};
use crate::limits;
use crate::record::Record;
use crate::schema::Column;

/// `source` of these rows.
const SOURCE: &str = "kafka";
/// Whose rows these are when no header says.
const TENANT: &str = "default";

/// `Err`: the body as a whole can't be read.
pub(super) fn decode(record: &Record, payload: &[u8], place: Place<'_>, bounds: TimeBounds) -> Result<Decoded, String> {
    let tenant = tenant(record)?;
    let content_type = record.header(header::CONTENT_TYPE).and_then(|value| std::str::from_utf8(value).ok());
    let format = Format::detect(content_type, payload);
    let mut context = Context {
        tenant,
        received_at: place.timestamp,
        idempotency_key: None,
        anonymous: AnonymousId::Place { topic: place.topic, partition: place.partition, offset: place.offset },
        bounds,
        events_max: limits::RECORD_ROWS_MAX,
    };
    let arrival = Arrival { tenant, source: SOURCE, received_at: place.timestamp };
    let mut builder = BatchBuilder::new();
    let mut rows = Vec::new();
    let rejections = decode::decode(format, payload, &mut context, &mut |row, event| {
        builder.append(arrival, &event);
        rows.push(row);
    })
    .map_err(|malformed| malformed.to_string())?;
    let batch = builder.finish();
    let batch = canonical::from_batches(&Fields::of(batch.schema()), vec![batch])?;
    let dead = rejections.into_iter().map(|rejection| DeadLetter::new(Some(rejection.index), rejection.reason));
    Ok(Decoded { batch, rows, dead: dead.collect() })
}

fn tenant(record: &Record) -> Result<&str, String> {
    let Some(value) = record.header(header::TENANT) else { return Ok(TENANT) };
    let max = Column::TENANT_ID.kind().bytes_max().unwrap_or_default();
    match std::str::from_utf8(value) {
        Ok(tenant) if !tenant.is_empty() && tenant.len() <= max => Ok(tenant),
        _ => Err(format!("header {} is not a name of 1 to {max} bytes of UTF-8", header::TENANT)),
    }
}
