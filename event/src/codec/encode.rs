//! A batch to a record.
use super::{EncodeError, checksum, content_type, header};
use crate::batch::size;
use crate::clock::Micros;
use crate::limits;
use crate::record::Record;
use crate::schema::{self, Column};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, DictionaryArray, RecordBatch, StringArray};
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_ipc::{CompressionType, MetadataVersion};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use bytes::Bytes;
use std::sync::Arc;

/// Bodies are padded to this; 64 would cost a small record more than its values.
const ALIGNMENT_BYTES: usize = 8;

/// Only batches this small are looked at for columns that are smaller without their dictionary: in larger ones a
/// dictionary's message is paid for.
const PLAIN_ROWS_MAX: usize = 128;

/// Encodes a batch of `BatchBuilder::finish`.
///
/// # Errors
/// A batch without rows, without event_time, or over `limits::RECORD_BYTES_MAX` once encoded.
pub fn encode(batch: &RecordBatch) -> Result<Record, EncodeError> {
    let error = |reason: String| EncodeError { rows: batch.num_rows(), reason };
    let (earliest, latest) = event_times(batch).map_err(error)?;
    let payload = stream(batch).map_err(|cause| error(cause.to_string()))?;
    let headers = [
        (header::CONTENT_TYPE, content_type::ARROW_STREAM.to_owned()),
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

fn stream(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let batch = without_costly_dictionaries(batch)?;
    let options = IpcWriteOptions::try_new(ALIGNMENT_BYTES, false, MetadataVersion::V5)?
        .try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options)?;
    writer.write(&batch)?;
    writer.into_inner()
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

/// A dictionary is a message of its own, some 300 bytes: in a batch of few rows (at low load each event is one) its
/// values are sent as plain strings where that is smaller; `decode` makes the dictionary again.
fn without_costly_dictionaries(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    if batch.num_rows() > PLAIN_ROWS_MAX {
        return Ok(batch.clone());
    }
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut arrays = Vec::with_capacity(batch.num_columns());
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        match array.as_dictionary_opt::<Int32Type>().and_then(plain_if_smaller) {
            Some(plain) => {
                fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable())));
                arrays.push(plain);
            }
            None => {
                fields.push(field.clone());
                arrays.push(array.clone());
            }
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

/// `None`: the dictionary is smaller, by the same figures that `BatchBuilder` counts with, so that its bound holds.
fn plain_if_smaller(dictionary: &DictionaryArray<Int32Type>) -> Option<ArrayRef> {
    let strings = dictionary.downcast_dict::<StringArray>()?;
    let values = dictionary.values().as_string_opt::<i32>()?;
    let plain: StringArray = strings.into_iter().collect();
    let dictionary_bytes: usize = values.iter().flatten().map(size::dictionary_value_bytes).sum();
    let saved = size::DICTIONARY_MESSAGE_BYTES_MAX + dictionary_bytes;
    (plain.values().len() + size::PLAIN_COLUMN_BYTES <= saved).then(|| Arc::new(plain) as ArrayRef)
}
