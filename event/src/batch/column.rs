//! One column while it is built: which builder a kind has, and what a value of it costs.
use super::dictionary::DictionaryBuilder;
use super::size;
use crate::clock::Micros;
use crate::schema::{self, Kind};
use crate::view_event::Value;
use arrow_array::ArrayRef;
use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Float32Builder, Int16Builder, Int32Builder, Int64Builder,
    MapBuilder, MapFieldNames, StringBuilder, TimestampMicrosecondBuilder,
};
use std::borrow::Cow;
use std::sync::Arc;

/// Room for a text, before it grows.
const TEXT_BYTES_EXPECTED: usize = 16;

/// One value of a row, whatever part of the event it stands in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'a> {
    Text(&'a str),
    Int(i64),
    Float(f32),
    Bool(bool),
    Time(Micros),
    EventId(&'a [u8; schema::EVENT_ID_BYTES]),
    Custom(&'a [(Cow<'a, str>, Cow<'a, str>)]),
}

impl<'a> From<&'a Value<'a>> for Cell<'a> {
    fn from(value: &'a Value<'a>) -> Self {
        match value {
            Value::Text(text) => Cell::Text(text),
            Value::Int(int) => Cell::Int(*int),
            Value::Float(float) => Cell::Float(*float),
            Value::Bool(bool) => Cell::Bool(*bool),
            Value::Time(time) => Cell::Time(*time),
        }
    }
}

impl Cell<'_> {
    /// Most bytes that it takes in a column of `kind` beside the fixed width.
    pub(super) fn value_bytes_max(self, kind: Kind) -> usize {
        match (self, kind) {
            (Cell::Text(text), Kind::Dictionary { .. }) => size::dictionary_value_bytes(text),
            (Cell::Text(text), _) => text.len(),
            (Cell::Custom(entries), _) => entries.iter().map(|(key, value)| size::entry_bytes(key, value)).sum(),
            _ => 0,
        }
    }
}

/// A builder of one of the kinds.
pub(super) enum ColumnBuilder {
    Text(StringBuilder),
    Dictionary(Box<DictionaryBuilder>),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Boolean(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    EventId(FixedSizeBinaryBuilder),
    Custom(Box<MapBuilder<StringBuilder, StringBuilder>>),
}

impl ColumnBuilder {
    /// With room for so many rows before it grows: Arrow's own guess is 1,024, which for a batch of a few events is a
    /// page of memory for each column.
    pub(super) fn with_capacity(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::Text { .. } => ColumnBuilder::Text(StringBuilder::with_capacity(rows, rows * TEXT_BYTES_EXPECTED)),
            Kind::Dictionary { .. } => ColumnBuilder::Dictionary(Box::new(DictionaryBuilder::with_capacity(rows))),
            Kind::Int16 => ColumnBuilder::Int16(Int16Builder::with_capacity(rows)),
            Kind::Int32 => ColumnBuilder::Int32(Int32Builder::with_capacity(rows)),
            Kind::Int64 => ColumnBuilder::Int64(Int64Builder::with_capacity(rows)),
            Kind::Float32 => ColumnBuilder::Float32(Float32Builder::with_capacity(rows)),
            Kind::Boolean => ColumnBuilder::Boolean(BooleanBuilder::with_capacity(rows)),
            Kind::Time => {
                ColumnBuilder::Time(TimestampMicrosecondBuilder::with_capacity(rows).with_timezone(schema::TIME_ZONE))
            }
            Kind::EventId => {
                ColumnBuilder::EventId(FixedSizeBinaryBuilder::with_capacity(rows, schema::EVENT_ID_BYTES as i32))
            }
            Kind::Custom => {
                let names =
                    MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
                ColumnBuilder::Custom(Box::new(MapBuilder::new(
                    Some(names),
                    StringBuilder::new(),
                    StringBuilder::new(),
                )))
            }
        }
    }

    /// Makes up for the rows that had no value: nulls up to `rows`. A builder that is given no null, not even none of them,
    /// keeps no bitmap.
    pub(super) fn pad(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.len());
        if missing > 0 {
            self.append_nulls(missing);
        }
    }

    fn len(&self) -> usize {
        match self {
            ColumnBuilder::Text(builder) => builder.len(),
            ColumnBuilder::Dictionary(builder) => builder.len(),
            ColumnBuilder::Int16(builder) => builder.len(),
            ColumnBuilder::Int32(builder) => builder.len(),
            ColumnBuilder::Int64(builder) => builder.len(),
            ColumnBuilder::Float32(builder) => builder.len(),
            ColumnBuilder::Boolean(builder) => builder.len(),
            ColumnBuilder::Time(builder) => builder.len(),
            ColumnBuilder::EventId(builder) => builder.len(),
            ColumnBuilder::Custom(builder) => builder.len(),
        }
    }

    #[cold]
    fn append_nulls(&mut self, count: usize) {
        match self {
            ColumnBuilder::Text(builder) => builder.append_nulls(count),
            ColumnBuilder::Dictionary(builder) => builder.append_nulls(count),
            ColumnBuilder::Int16(builder) => builder.append_nulls(count),
            ColumnBuilder::Int32(builder) => builder.append_nulls(count),
            ColumnBuilder::Int64(builder) => builder.append_nulls(count),
            ColumnBuilder::Float32(builder) => builder.append_nulls(count),
            ColumnBuilder::Boolean(builder) => builder.append_nulls(count),
            ColumnBuilder::Time(builder) => builder.append_nulls(count),
            ColumnBuilder::EventId(builder) => builder.append_nulls(count),
            ColumnBuilder::Custom(builder) => {
                let Ok(()) = builder.append_nulls(count) else {
                    unreachable!("custom has as many keys as values: both are appended together")
                };
            }
        }
    }

    /// Appends a value; returns the bytes that it took beside the fixed width. `None`: the value is not of this
    /// column's kind or not in its range.
    pub(super) fn append(&mut self, cell: Cell<'_>) -> Option<usize> {
        match (self, cell) {
            (ColumnBuilder::Text(builder), Cell::Text(text)) => {
                builder.append_value(text);
                return Some(text.len());
            }
            (ColumnBuilder::Dictionary(builder), Cell::Text(text)) => return builder.append(text),
            (ColumnBuilder::Int16(builder), Cell::Int(int)) => builder.append_value(i16::try_from(int).ok()?),
            (ColumnBuilder::Int32(builder), Cell::Int(int)) => builder.append_value(i32::try_from(int).ok()?),
            (ColumnBuilder::Int64(builder), Cell::Int(int)) => builder.append_value(int),
            (ColumnBuilder::Float32(builder), Cell::Float(float)) => builder.append_value(float),
            (ColumnBuilder::Boolean(builder), Cell::Bool(bool)) => builder.append_value(bool),
            (ColumnBuilder::Time(builder), Cell::Time(time)) => builder.append_value(time),
            (ColumnBuilder::EventId(builder), Cell::EventId(id)) => builder.append_value(id).ok()?,
            (ColumnBuilder::Custom(builder), Cell::Custom(entries)) => {
                for (key, value) in entries {
                    builder.keys().append_value(key);
                    builder.values().append_value(value);
                }
                builder.append(true).ok()?;
                return Some(cell.value_bytes_max(Kind::Custom));
            }
            _ => return None,
        }
        Some(0)
    }

    pub(super) fn finish(self) -> ArrayRef {
        match self {
            ColumnBuilder::Text(mut builder) => Arc::new(builder.finish()),
            ColumnBuilder::Dictionary(builder) => builder.finish(),
            ColumnBuilder::Int16(mut builder) => Arc::new(builder.finish()),
            ColumnBuilder::Int32(mut builder) => Arc::new(builder.finish()),
            ColumnBuilder::Int64(mut builder) => Arc::new(builder.finish()),
            ColumnBuilder::Float32(mut builder) => Arc::new(builder.finish()),
            ColumnBuilder::Boolean(mut builder) => Arc::new(builder.finish()),
            ColumnBuilder::Time(mut builder) => Arc::new(builder.finish()),
            ColumnBuilder::EventId(mut builder) => Arc::new(builder.finish()),
            ColumnBuilder::Custom(mut builder) => Arc::new(builder.finish()),
        }
    }
}
