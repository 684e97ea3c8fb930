//! A batch to a record.
use super::stream::Stream;
use super::{EncodeError, checksum, compression, content_type, header};
use crate::clock::Micros;
use crate::limits;
use crate::record::Record;
use crate::schema::{self, Column};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use bytes::Bytes;

/// Encodes a batch of `BatchBuilder::finish`.
///
/// # Errors
/// A batch without rows, without event_time, or over `limits::RECORD_BYTES_MAX` once encoded.
pub fn encode(batch: &RecordBatch) -> Result<Record, EncodeError> {
    let error = |reason: String| EncodeError { rows: batch.num_rows(), reason };
    let (earliest, latest) = event_times(batch).map_err(error)?;
    let stream = Stream::new(batch).map_err(error)?;
    let (encoding, payload) = compression::compressed(&stream).map_err(|cause| error(cause.to_string()))?;
    let headers = [
        (header::CONTENT_TYPE, content_type::ARROW_STREAM.to_owned()),
        (header::CONTENT_ENCODING, encoding.to_owned()),
        (header::SCHEMA_VERSION, schema::SCHEMA_VERSION.to_string()),
        (header::ROWS, batch.num_rows().to_string()),
        (header::EVENT_TIME_MIN, earliest.to_string()),
        (header::EVENT_TIME_MAX, latest.to_string()),
        (header::CHECKSUM, checksum(&payload)),
    ];
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), Bytes::from(value))).collect();
    let record = Record { headers, payload: Bytes::from(payload) };
    if record.bytes() > limits::RECORD_BYTES_MAX {
        let (bytes, max) = (record.bytes(), limits::RECORD_BYTES_MAX);
        return Err(error(format!("the record would have {bytes} bytes, over the limit of {max}")));
    }
    Ok(record)
}

/// The smallest and the largest event_time.
fn event_times(batch: &RecordBatch) -> Result<(Micros, Micros), String> {
    let name = Column::EVENT_TIME.name();
    let times = batch
        .column_by_name(name)
        .and_then(|array| array.as_primitive_opt::<TimestampMicrosecondType>())
        .ok_or_else(|| format!("it has no column {name} of microseconds"))?;
    let earliest = times.iter().flatten().min();
    let latest = times.iter().flatten().max();
    earliest.zip(latest).ok_or_else(|| format!("it has no row with {name}"))
}
