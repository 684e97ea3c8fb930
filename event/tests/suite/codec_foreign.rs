//! Records that other producers wrote: Arrow as their libraries write it, JSON, NDJSON.
use crate::codec::{decode, encode, minimal};
use crate::samples::{self, NOW, PLACE};
use arrow_array::types::{UInt8Type, UInt32Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, FixedSizeBinaryArray, Int16Array, Int32Array, LargeStringArray, MapArray,
    RecordBatch, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Fields, Schema};
use bytes::Bytes;
use event::codec::{DeadLetter, header};
use event::record::Record;
use event::schema::Column;
use event::view_event::Value;
use std::sync::Arc;

/// Columns of one batch, replaced and added to at will.
struct Columns(Vec<(&'static str, ArrayRef)>);

impl Columns {
    /// The required columns, `rows` rows, in plain types.
    fn required(rows: usize) -> Self {
        let ids: Vec<u8> = (0..rows as u128).flat_map(u128::to_be_bytes).collect();
        let strings = |text: &str| Arc::new(StringArray::from(vec![text; rows])) as ArrayRef;
        let times = || Arc::new(TimestampMicrosecondArray::from(vec![NOW; rows]).with_timezone("UTC")) as ArrayRef;
        Columns(vec![
            ("event_id", Arc::new(FixedSizeBinaryArray::new(16, ids.into(), None))),
            ("tenant_id", strings("default")),
            ("source", strings("batch")),
            ("event_type", strings("play")),
            ("event_time", times()),
            ("received_at", times()),
            ("schema_version", Arc::new(Int16Array::from(vec![1; rows]))),
        ])
    }

    fn with(mut self, name: &'static str, array: impl Array + 'static) -> Self {
        self.0.retain(|(kept, _)| *kept != name);
        self.0.push((name, Arc::new(array)));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.0.retain(|(kept, _)| *kept != name);
        self
    }

    fn batch(self) -> RecordBatch {
        let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
        let schema = Schema::new(self.0.iter().map(field).collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), self.0.into_iter().map(|(_, array)| array).collect()).unwrap()
    }

    fn record(self) -> Record {
        record(&[self.batch()])
    }
}

/// A record as a producer writes it that knows nothing of our headers.
fn record(batches: &[RecordBatch]) -> Record {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    Record { headers: Vec::new(), payload: Bytes::from(writer.into_inner().unwrap()) }
}

fn with_header(mut record: Record, name: &str, value: &str) -> Record {
    record.headers.retain(|(kept, _)| kept != name);
    record.headers.push((name.to_owned(), Bytes::copy_from_slice(value.as_bytes())));
    record
}

fn text_at(record: &Record, column: Column, row: usize) -> Option<String> {
    let decoded = decode(record);
    assert_eq!(decoded.dead, []);
    samples::value_at(&decoded.batch, column, row).map(|value| match value {
        Value::Text(text) => text.into_owned(),
        other => panic!("{column:?} is {other:?}"),
    })
}

/// The reason of a record that is one dead letter as a whole.
pub fn reason(record: &Record) -> String {
    let decoded = decode(record);
    assert_eq!((decoded.batch.num_rows(), decoded.rows.len()), (0, 0));
    assert_eq!(decoded.batch.schema(), event::schema::canonical());
    match &decoded.dead[..] {
        [DeadLetter { row: None, reason }] => reason.clone(),
        other => panic!("not one dead letter for the whole record: {other:?}"),
    }
}

#[test]
fn every_kind_of_string_column_is_taken() {
    let titles = ["größer", "", "b"];
    let title = Column::by_name("content_title").unwrap();
    let cdn = Column::by_name("cdn").unwrap();
    let records = [
        Columns::required(3).with("content_title", LargeStringArray::from_iter_values(titles)),
        Columns::required(3).with("content_title", StringViewArray::from_iter_values(titles)),
        Columns::required(3).with("content_title", DictionaryArray::<UInt8Type>::from_iter(titles)),
        Columns::required(3).with("cdn", StringArray::from_iter_values(titles)),
        Columns::required(3).with("cdn", StringViewArray::from_iter_values(titles)),
        Columns::required(3).with("cdn", DictionaryArray::<UInt32Type>::from_iter(titles)),
    ];
    for (index, columns) in records.into_iter().enumerate() {
        let column = if index < 3 { title } else { cdn };
        let record = columns.record();
        let texts: Vec<_> = (0..3).map(|row| text_at(&record, column, row).unwrap()).collect();
        assert_eq!(texts, titles);
    }
}

#[test]
fn a_map_with_the_names_of_another_library_is_taken() {
    let keys = Arc::new(StringViewArray::from_iter_values(["a", "b", "c"])) as ArrayRef;
    let values = Arc::new(StringArray::from_iter([Some("1"), None, Some("3")])) as ArrayRef;
    let pair =
        Fields::from(vec![Field::new("keys", DataType::Utf8View, false), Field::new("values", DataType::Utf8, true)]);
    let entries = StructArray::try_new(pair.clone(), vec![keys, values], None).unwrap();
    let field = Arc::new(Field::new("entries", DataType::Struct(pair), false));
    let map = MapArray::try_new(field, OffsetBuffer::from_lengths([2, 0, 1]), entries, None, false).unwrap();
    let decoded = decode(&Columns::required(3).with("custom", map).record());
    assert_eq!(decoded.dead, []);
    let custom = samples::column(&decoded.batch, Column::CUSTOM);
    assert_eq!(custom.data_type(), &Column::CUSTOM.kind().data_type());
}

#[test]
fn the_batches_of_one_stream_are_one_record() {
    let record = record(&[Columns::required(2).batch(), Columns::required(0).batch(), Columns::required(3).batch()]);
    let decoded = decode(&record);
    assert_eq!(decoded.dead, []);
    assert_eq!(decoded.rows, [0, 1, 2, 3, 4]);
}

#[test]
fn a_stream_without_rows_is_a_record_without_rows() {
    let decoded = decode(&Columns::required(0).record());
    assert_eq!((decoded.dead, decoded.batch.num_rows()), (vec![], 0));
}

#[test]
fn what_does_not_fit_the_schema_is_a_dead_letter_that_names_the_column() {
    let zoned = |zone: &str| TimestampMicrosecondArray::from(vec![NOW; 2]).with_timezone(zone);
    let cases = [
        (
            Columns::required(2).with("width", Int32Array::from(vec![1, 2])),
            "column width has type Int32, expected Int16",
        ),
        (Columns::required(2).with("event_time", zoned("Europe/Berlin")), "column event_time has type"),
        (
            Columns::required(2).with("event_time", TimestampMicrosecondArray::from(vec![0, i64::MAX])),
            "column event_time",
        ),
        (Columns::required(2).without("event_id"), "required column event_id is missing"),
        (
            Columns::required(2).with("event_type", StringArray::from(vec![Some("play"), None])),
            "column event_type: a required value is missing",
        ),
        (
            Columns::required(2).with("event_type", DictionaryArray::<UInt8Type>::from_iter(["play", ""])),
            "column event_type: it is empty",
        ),
        (Columns::required(2).with("colour", Int32Array::from(vec![1, 2])), "column colour is unknown"),
        (Columns::required(2).with("cdn", arrow_array::Date32Array::from(vec![1, 2])), "column cdn: type"),
    ];
    for (columns, expected) in cases {
        let reason = reason(&columns.record());
        assert!(reason.contains(expected), "{reason:?} does not say {expected:?}");
    }
}

#[test]
fn a_time_beyond_the_calendar_is_a_dead_letter() {
    let times = TimestampMicrosecondArray::from(vec![NOW, i64::MAX]).with_timezone("UTC");
    let reason = reason(&Columns::required(2).with("event_time", times).record());
    assert!(reason.contains("not between the years 1 and 9999"), "{reason}");
}

#[test]
fn a_column_of_a_newer_schema_asks_for_an_upgrade() {
    let record = Columns::required(2).with("colour", Int32Array::from(vec![1, 2])).record();
    let reason = reason(&with_header(record, header::SCHEMA_VERSION, "9"));
    assert!(reason.contains("schema version 9") && reason.contains("upgrade"), "{reason}");
}

#[test]
fn a_newer_schema_without_new_columns_is_read() {
    let record = with_header(Columns::required(2).record(), header::SCHEMA_VERSION, "9");
    assert_eq!(decode(&record).batch.num_rows(), 2);
}

#[test]
fn a_record_with_another_number_of_rows_than_its_header_is_a_dead_letter() {
    let record = with_header(encode(&[minimal(1)]), header::ROWS, "2");
    assert_eq!(reason(&record), "header playhead-rows says 2 rows, the record has 1");
    let record = with_header(encode(&[minimal(1)]), header::ROWS, "two");
    assert!(reason(&record).contains("not a decimal number"));
}

fn json(content_type: Option<&str>, body: &str) -> Record {
    let record = Record { headers: Vec::new(), payload: Bytes::copy_from_slice(body.as_bytes()) };
    match content_type {
        Some(content_type) => with_header(record, header::CONTENT_TYPE, content_type),
        None => record,
    }
}

#[test]
fn a_bad_row_of_a_json_record_is_a_dead_letter_by_itself() {
    let good = r#"{"event_type":"play","content_id":"c","event_time":1795320000000,"session_id":"s"}"#;
    let body = format!("{good}\n{{\"event_time\":5}}\n{good}\n");
    for content_type in [None, Some("application/x-ndjson"), Some("application/x-ndjson; charset=utf-8")] {
        let decoded = decode(&json(content_type, &body));
        assert_eq!(decoded.rows, [0, 2]);
        assert_eq!(decoded.batch.num_rows(), 2);
        assert_eq!(decoded.dead.iter().map(|dead| dead.row).collect::<Vec<_>>(), [Some(1)]);
        let at = |column| samples::value_at(&decoded.batch, column, 1).unwrap();
        assert_eq!(at(Column::TENANT_ID), Value::Text("default".into()));
        assert_eq!(at(Column::SOURCE), Value::Text("kafka".into()));
        assert_eq!(at(Column::RECEIVED_AT), Value::Time(PLACE.timestamp));
    }
}

#[test]
fn the_tenant_of_a_json_record_is_in_its_header() {
    let body = r#"[{"event_type":"pause","event_time":1795320000000}]"#;
    let record = with_header(json(Some("application/json"), body), header::TENANT, "acme");
    let decoded = decode(&record);
    assert_eq!(decoded.dead, []);
    assert_eq!(samples::value_at(&decoded.batch, Column::TENANT_ID, 0), Some(Value::Text("acme".into())));
    let reason = reason(&with_header(record, header::TENANT, ""));
    assert!(reason.contains(header::TENANT), "{reason}");
}

#[test]
fn a_body_that_is_neither_arrow_nor_json_is_a_dead_letter() {
    for body in ["", "not json", "[", "\u{0}\u{1}"] {
        for content_type in [None, Some("application/json"), Some("application/vnd.apache.arrow.stream")] {
            let reason = reason(&json(content_type, body));
            assert!(!reason.contains("panicked"), "{reason}");
        }
    }
}

#[test]
fn a_json_record_decodes_alike_wherever_it_is_read() {
    let record = json(None, r#"{"event_type":"pause","event_time":1795320000000}"#);
    let ids = [decode(&record), decode(&record)].map(|decoded| samples::event_at(&decoded.batch, 0).event_id);
    assert_eq!(ids[0], ids[1], "an event without id and session takes its id from its place");
}
