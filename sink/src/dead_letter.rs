//! What could not be decoded, as rows of `dead_letters`. Pure.
//!
//! A whole record keeps its bytes. A bad row of a JSON record keeps its own part of the record: with the record's bytes
//! at each of them, ten thousand bad rows of one record of 1 MB would be 10 GB.
use crate::buffer::Dated;
use crate::provenance::{OFFSET, PARTITION, ROW, TOPIC, int32, int64, topic};
use arrow_array::{Array, ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_array::{TimestampMicrosecondArray, new_null_array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use event::clock::Micros;
use event::codec::{DeadLetter, header};
use event::date::Date;
use event::decode::Format;
use lake::tables::RECEIVED_DATE;
use log::{Entry, Record};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One row of `dead_letters`, of a partition that is known where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadRow {
    /// The log's timestamp of the record, so that a second try yields the same row.
    pub(crate) received_at: Micros,
    /// Offset.
    pub(crate) offset: u64,
    /// Position in the record; `None`: all of it.
    pub(crate) row: Option<u32>,
    /// Why.
    pub(crate) reason: String,
    /// As the record's header says.
    pub(crate) content_type: Option<String>,
    /// The record's bytes, or the row's.
    pub(crate) payload: Bytes,
}

impl DeadRow {
    /// The date that it is filed under.
    pub(crate) fn date(&self) -> Option<Date> {
        Date::of(self.received_at)
    }

    /// Memory that it takes, bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.reason.len() + self.payload.len() + self.content_type.as_ref().map_or(0, String::len)
    }
}

/// The dead letters of a record with their bytes.
pub(crate) fn rows(entry: &Entry, dead: Vec<DeadLetter>) -> Vec<DeadRow> {
    let content_type =
        entry.record.header(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value).into_owned());
    let parts = if dead.iter().any(|letter| letter.row.is_some()) { parts(&entry.record) } else { Vec::new() };
    let mut whole = Some(entry.record.payload.clone());
    let mut payload = |row: Option<u32>| match row.and_then(|row| parts.get(row as usize)) {
        Some(part) => part.clone(),
        // The record's bytes once, with its first letter that has no part of its own.
        None => whole.take().unwrap_or_default(),
    };
    dead.into_iter()
        .map(|letter| DeadRow {
            received_at: entry.timestamp,
            offset: entry.offset,
            row: letter.row,
            payload: payload(letter.row),
            reason: letter.reason,
            content_type: content_type.clone(),
        })
        .collect()
}

/// The events of a JSON or NDJSON record, each as its bytes; none if it isn't one.
fn parts(record: &Record) -> Vec<Bytes> {
    let content_type = record.header(header::CONTENT_TYPE).and_then(|value| std::str::from_utf8(value).ok());
    let payload = &record.payload;
    match Format::detect(content_type, payload) {
        Format::Ndjson => payload
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            .map(|line| payload.slice_ref(line))
            .collect(),
        Format::Json => json_parts(payload).iter().map(|part| payload.slice_ref(part.get().as_bytes())).collect(),
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

fn json_parts(payload: &[u8]) -> Vec<&RawValue> {
    if let Ok(array) = serde_json::from_slice(payload) {
        return array;
    }
    if let Ok(Envelope { events }) = serde_json::from_slice(payload) {
        return events;
    }
    serde_json::from_slice(payload).map(|object| vec![object]).unwrap_or_default()
}

/// All rows as they are written: a file of each date that they are filed under.
pub(crate) fn by_date(dead: BTreeMap<u32, Vec<DeadRow>>, table: &Schema, topic_name: &str) -> Result<Dated, String> {
    let mut dates: BTreeMap<String, Vec<Vec<RecordBatch>>> = BTreeMap::new();
    for (partition, rows) in dead {
        let mut of_partition: BTreeMap<String, Vec<DeadRow>> = BTreeMap::new();
        for row in rows {
            let Some(date) = row.date() else {
                return Err(format!(
                    "the log's timestamp {} us of partition {partition} offset {} has no date",
                    row.received_at, row.offset
                ));
            };
            of_partition.entry(date.to_string()).or_default().push(row);
        }
        for (date, rows) in of_partition {
            let batch = batch(table, RECEIVED_DATE, topic_name, partition, &rows).map_err(|error| error.to_string())?;
            dates.entry(date).or_default().push(vec![batch]);
        }
    }
    Ok(dates.into_iter().collect())
}

/// Rows of one partition as a batch that fits the table `dead_letters` with this schema, less its partition column.
fn batch(
    table: &Schema,
    partition_column: &str,
    topic_name: &str,
    partition: u32,
    rows: &[DeadRow],
) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for field in table.fields().iter().filter(|field| field.name() != partition_column) {
        let array = column(field, topic_name, partition, rows)?;
        fields.push(Field::new(field.name(), array.data_type().clone(), field.is_nullable()));
        arrays.push(array);
    }
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema, arrays)
}

fn column(field: &Field, topic_name: &str, partition: u32, rows: &[DeadRow]) -> Result<ArrayRef, ArrowError> {
    let array: ArrayRef = match field.name().as_str() {
        "received_at" => {
            let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.received_at));
            Arc::new(times.with_timezone(event::schema::TIME_ZONE))
        }
        "reason" => Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.reason))),
        "content_type" => Arc::new(StringArray::from_iter(rows.iter().map(|row| row.content_type.as_ref()))),
        "payload" => Arc::new(BinaryArray::from_iter_values(rows.iter().map(|row| &row.payload))),
        TOPIC => return topic(topic_name, rows.len()),
        PARTITION => Arc::new(Int32Array::from(vec![int32(partition)?; rows.len()])),
        OFFSET => Arc::new(Int64Array::from(rows.iter().map(|row| int64(row.offset)).collect::<Result<Vec<_>, _>>()?)),
        ROW => Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.row.map(i64::from)))),
        _ => new_null_array(field.data_type(), rows.len()),
    };
    expect(field, array)
}

fn expect(field: &Field, array: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let found: &DataType = array.data_type();
    if found == field.data_type() {
        return Ok(array);
    }
    Err(ArrowError::SchemaError(format!(
        "column {} of dead_letters is {}, not {found}",
        field.name(),
        field.data_type()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(content_type: &'static str, payload: &'static str) -> Entry {
        let headers = vec![(header::CONTENT_TYPE.to_owned(), Bytes::from_static(content_type.as_bytes()))];
        let record = Record { headers, payload: Bytes::from_static(payload.as_bytes()) };
        Entry { partition: 0, offset: 4, timestamp: 0, record }
    }

    fn letters(rows: &[Option<u32>]) -> Vec<DeadLetter> {
        rows.iter().map(|row| DeadLetter { row: *row, reason: "bad".to_owned() }).collect()
    }

    fn payloads(entry: &Entry, dead: &[Option<u32>]) -> Vec<String> {
        let text = |row: DeadRow| String::from_utf8(row.payload.to_vec()).unwrap();
        rows(entry, letters(dead)).into_iter().map(text).collect()
    }

    #[test]
    fn a_bad_row_keeps_its_own_bytes() {
        let lines = entry("application/x-ndjson", "{\"a\":1}\n\n {\"b\": 2} \r\n{\"c\":3}");
        assert_eq!(payloads(&lines, &[Some(1), Some(2)]), ["{\"b\": 2}", "{\"c\":3}"]);
        let array = entry("application/json", "[{\"a\":1}, {\"b\": [2]}]");
        assert_eq!(payloads(&array, &[Some(1)]), ["{\"b\": [2]}"]);
        let envelope = entry("application/json", "{\"sent_at\": 1, \"events\": [{\"a\":1}, {\"b\":2}]}");
        assert_eq!(payloads(&envelope, &[Some(0), Some(1)]), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(payloads(&entry("application/json", "{\"a\":1}"), &[Some(0)]), ["{\"a\":1}"]);
    }

    #[test]
    fn a_record_that_is_bad_as_a_whole_keeps_all_its_bytes() {
        assert_eq!(payloads(&entry("application/json", "{\"a\":"), &[None]), ["{\"a\":"]);
    }

    #[test]
    fn the_bytes_of_a_record_are_never_kept_once_for_each_row() {
        let unreadable = entry("application/json", "[1, 2");
        assert_eq!(payloads(&unreadable, &[Some(7), Some(8), Some(9)]), ["[1, 2", "", ""]);
    }
}
