//! One batch, one log record: an Arrow IPC stream in an lz4 frame, and the headers that describe it.
//!
//! ```text
//!   BatchBuilder ──▶ encode ──▶ Record ──▶ log ──▶ Record + Place ──▶ decode ──▶ Decoded
//!               (stream, compression)                                   │
//!   other producers: Arrow, JSON, NDJSON ──▶ log ──────────────────────▶│ checksum, compression
//!                                                                       ├─ Arrow: ipc ▶ fields ▶ canonical ─▶ batch
//!                                                                       ├─ JSON: foreign ─▶ batch, bad rows
//!                                                                       └─ neither: the record is a dead letter
//! ```
//! Promises: [`decode`] is a pure function of the record, its place and the bounds; it never fails, never panics,
//! and takes memory in proportion to what `limits` allows, whatever the bytes claim. A batch comes back as it was
//! encoded, in the canonical schema, each absent column null.
//!
//! Not for the order or the place of records (`log`), and not for duplicates (`dedup`).
use crate::clock::Micros;
use crate::decode::TimeBounds;
use crate::limits;
use crate::record::Record;
use crate::schema;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch};
use compression::Payload;
use std::panic::{AssertUnwindSafe, catch_unwind};
use xxhash_rust::xxh3::xxh3_64;

mod body;
mod canonical;
mod compression;
mod encode;
mod fields;
mod foreign;
mod ipc;
mod layout;
mod stream;

pub use encode::encode;

/// Header names of a record.
pub mod header {
    /// `application/vnd.apache.arrow.stream`, `application/json` or `application/x-ndjson`.
    pub const CONTENT_TYPE: &str = "content-type";
    /// `lz4` (Arrow streams alone) or `identity`; without it `identity`.
    pub const CONTENT_ENCODING: &str = "content-encoding";
    /// Decimal `schema::SCHEMA_VERSION`.
    pub const SCHEMA_VERSION: &str = "playhead-schema-version";
    /// Decimal row count.
    pub const ROWS: &str = "playhead-rows";
    /// Decimal microseconds: the smallest event_time.
    pub const EVENT_TIME_MIN: &str = "playhead-event-time-min";
    /// Decimal microseconds: the largest event_time.
    pub const EVENT_TIME_MAX: &str = "playhead-event-time-max";
    /// xxh3-64 of the payload, 16 lower-case hexadecimal digits.
    pub const CHECKSUM: &str = "playhead-checksum";
    /// The tenant of a JSON record that another producer wrote; without it `default`.
    pub const TENANT: &str = "playhead-tenant";
}

/// Values of the header `content-type`.
pub mod content_type {
    /// An Arrow IPC stream.
    pub const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";
    /// One object, an array of objects, or `{"sent_at": ..., "events": [...]}`.
    pub const JSON: &str = "application/json";
    /// One object a line.
    pub const NDJSON: &str = "application/x-ndjson";
}

/// Values of the header `content-encoding`.
pub mod content_encoding {
    /// The payload as a whole is an LZ4 frame.
    pub const LZ4: &str = "lz4";
    /// The payload is not compressed.
    pub const IDENTITY: &str = "identity";
}

/// A batch that could not be encoded: a bug or a batch over the limit. The caller refuses its events.
#[derive(Debug, thiserror::Error)]
#[error("batch of {rows} rows can't be encoded: {reason}")]
pub struct EncodeError {
    /// Rows of the batch.
    pub rows: usize,
    /// What went wrong.
    pub reason: String,
}

/// Where a record stands in its log.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
    /// The log's own timestamp of the record: `received_at` of events in JSON records that others produced.
    pub timestamp: Micros,
}

/// A decoded record. A pure function of its bytes and its place: sink, processor and replay agree.
#[derive(Debug)]
pub struct Decoded {
    /// Rows of the canonical schema (`schema::canonical`), absent columns null.
    pub batch: RecordBatch,
    /// For each row of `batch` its position in the record: `_row`.
    pub rows: Vec<u32>,
    /// Bad rows (JSON records), or the record as a whole (`row: None`).
    pub dead: Vec<DeadLetter>,
}

/// What could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Position in the record; `None`: the whole record.
    pub row: Option<u32>,
    /// Why; at most [`limits::REASON_BYTES_MAX`].
    pub reason: String,
}

impl DeadLetter {
    fn new(row: Option<u32>, mut reason: String) -> Self {
        reason.truncate(reason.floor_char_boundary(limits::REASON_BYTES_MAX));
        DeadLetter { row, reason }
    }
}

/// Decodes any record, never panics, never fails: what can't be read is a dead letter.
pub fn decode(record: &Record, place: Place<'_>, bounds: TimeBounds) -> Decoded {
    // Everything that a length or an offset in the bytes can do wrong is refused before Arrow sees them. This catches
    // what nobody thought of: a record must never stop its partition, and the next start would find it again.
    // What is shared between threads (`remembered`) is made outside of its lock, and entered whole or not at all.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode_checked(record, place, bounds)));
    let reason = match decoded {
        Ok(Ok(decoded)) => return decoded,
        Ok(Err(reason)) => reason,
        Err(_) => "decoding the record panicked: please report it, with the record".to_owned(),
    };
    Decoded {
        batch: RecordBatch::new_empty(schema::canonical()),
        rows: Vec::new(),
        dead: vec![DeadLetter::new(None, reason)],
    }
}

/// `Err`: the record as a whole is a dead letter.
fn decode_checked(record: &Record, place: Place<'_>, bounds: TimeBounds) -> Result<Decoded, String> {
    check_checksum(record)?;
    let Payload { bytes, unfolded_bytes } = compression::payload(record)?;
    if !is_arrow_stream(record, &bytes) {
        if unfolded_bytes > 0 {
            let encoding = header::CONTENT_ENCODING;
            return Err(format!(
                "{encoding} lz4 is for Arrow streams: send JSON as it is, or compressed by Kafka's producer"
            ));
        }
        return foreign::decode(record, &bytes, place, bounds);
    }
    let version = number(record, header::SCHEMA_VERSION)?;
    let (fields, batches) = ipc::read(&bytes, version, limits::DECODED_BYTES_MAX - unfolded_bytes)?;
    let batch = canonical::from_batches(&fields, batches)?;
    if let Some(rows) = number(record, header::ROWS)?
        && rows != batch.num_rows() as i64
    {
        return Err(format!("header {} says {rows} rows, the record has {}", header::ROWS, batch.num_rows()));
    }
    let rows = (0..batch.num_rows() as u32).collect();
    Ok(Decoded { batch, rows, dead: Vec::new() })
}

/// Compared only if the header is there: other producers need not set it.
fn check_checksum(record: &Record) -> Result<(), String> {
    let Some(expected) = record.header(header::CHECKSUM) else { return Ok(()) };
    let actual = checksum(&record.payload);
    if expected == actual.as_bytes() {
        return Ok(());
    }
    let expected = String::from_utf8_lossy(expected);
    Err(format!("payload is damaged: header {} says {expected}, the payload has {actual}", header::CHECKSUM))
}

/// The value of the header `playhead-checksum`.
fn checksum(payload: &[u8]) -> String {
    format!("{:016x}", xxh3_64(payload))
}

/// By the header where it names one of ours, else by looking: a stream begins with a continuation marker, which no
/// JSON does.
fn is_arrow_stream(record: &Record, payload: &[u8]) -> bool {
    match record.header(header::CONTENT_TYPE).and_then(media_type) {
        Some(media_type) if media_type.eq_ignore_ascii_case(content_type::ARROW_STREAM) => true,
        Some(media_type) if media_type.eq_ignore_ascii_case(content_type::JSON) => false,
        Some(media_type) if media_type.eq_ignore_ascii_case(content_type::NDJSON) => false,
        _ => payload.starts_with(&ipc::CONTINUATION_MARKER),
    }
}

/// A content type without its parameters.
fn media_type(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()?.split(';').next().map(str::trim)
}

/// A decimal header; `None` if it isn't there.
fn number(record: &Record, name: &str) -> Result<Option<i64>, String> {
    let Some(value) = record.header(name) else { return Ok(None) };
    let text = String::from_utf8_lossy(value);
    text.parse().map(Some).map_err(|_| format!("header {name} is not a decimal number: {text}"))
}

/// The values of a time column of a decoded batch, of which no row is null.
///
/// # Errors
/// Says in words that it has none such.
pub fn times(batch: &RecordBatch, column: schema::Column) -> Result<&[Micros], String> {
    let array = batch
        .column_by_name(column.name())
        .and_then(|array| array.as_primitive_opt::<TimestampMicrosecondType>())
        .filter(|array| array.null_count() == 0)
        .ok_or_else(|| format!("decoded batch has no whole time column {}", column.name()))?;
    Ok(array.values())
}
