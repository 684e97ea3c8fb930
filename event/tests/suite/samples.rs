//! Random events, and what a decoded batch says about them.
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use event::batch::Arrival;
use event::codec::Place;
use event::decode::TimeBounds;
use event::schema::{Column, Kind};
use event::view_event::{Value, ViewEvent};
use proptest::collection::vec;
use proptest::prelude::*;
use std::borrow::Cow;

/// 2026-11-22T04:00:00Z.
pub const NOW: i64 = 1_795_320_000_000_000;

pub const BOUNDS: TimeBounds =
    TimeBounds { past_max: 30 * 86_400_000_000, future_max: 3_600_000_000, skew_min: 5_000_000 };

pub const PLACE: Place<'static> = Place { topic: "events", partition: 3, offset: 42, timestamp: NOW };

pub const ARRIVAL: Arrival<'static> = Arrival { tenant: "default", source: "http", received_at: NOW };

/// Columns that stand in `ViewEvent::fields`.
pub fn optional_columns() -> Vec<Column> {
    Column::all()
        .filter(|column| column.spec().nullable && !matches!(*column, Column::SESSION_ID | Column::CUSTOM))
        .collect()
}

/// Any text of at most `bytes_max` bytes, often one of a few.
pub fn text(bytes_max: usize) -> BoxedStrategy<String> {
    let random = vec(any::<char>(), 0..40).prop_map(move |chars| {
        let mut text = String::new();
        for char in chars {
            if text.len() + char.len_utf8() <= bytes_max {
                text.push(char);
            }
        }
        text
    });
    let few = prop_oneof![Just("hls".to_owned()), Just(String::new()), Just("Größe ☃ 🎬".chars().take(6).collect())];
    let longest = Just("x".repeat(bytes_max));
    prop_oneof![6 => random, 6 => few, 1 => longest].boxed()
}

fn value(kind: Kind) -> BoxedStrategy<Value<'static>> {
    match kind {
        Kind::Text { bytes_max } | Kind::Dictionary { bytes_max } => {
            text(bytes_max).prop_map(|text| Value::Text(Cow::Owned(text))).boxed()
        }
        Kind::Int16 => any::<i16>().prop_map(|int| Value::Int(int.into())).boxed(),
        Kind::Int32 => any::<i32>().prop_map(|int| Value::Int(int.into())).boxed(),
        Kind::Int64 => any::<i64>().prop_map(Value::Int).boxed(),
        Kind::Float32 => (-1e9f32..1e9).prop_map(Value::Float).boxed(),
        Kind::Boolean => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::Time => any::<i64>().prop_map(Value::Time).boxed(),
        Kind::EventId | Kind::Custom => unreachable!("not in fields"),
    }
}

/// Any event that `ViewEvent` can say.
pub fn event() -> impl Strategy<Value = ViewEvent<'static>> {
    // How many of the columns have a value differs from event to event.
    let fields = (0.0..0.6f64).prop_flat_map(|density| {
        let values: Vec<_> = optional_columns()
            .into_iter()
            .map(|column| prop::option::weighted(density, value(column.kind())).prop_map(move |value| (column, value)))
            .collect();
        values.prop_map(|values| values.into_iter().filter_map(|(column, value)| Some((column, value?))).collect())
    });
    let custom = prop_oneof![2 => Just(Vec::new()), 1 => vec((text(64), text(200)), 1..6)];
    let times = NOW - 1_000_000_000..NOW;
    (any::<[u8; 16]>(), times, prop::option::of(text(64)), text(64), fields, custom).prop_map(
        |(event_id, event_time, session_id, event_type, fields, custom)| ViewEvent {
            event_id,
            event_time,
            session_id: session_id.map(Cow::Owned),
            event_type: Cow::Owned(if event_type.is_empty() { "play".to_owned() } else { event_type }),
            fields,
            custom: custom.into_iter().map(|(key, value)| (Cow::Owned(key), Cow::Owned(value))).collect(),
        },
    )
}

/// A row of a canonical batch as the event that it came from.
pub fn event_at(batch: &RecordBatch, row: usize) -> ViewEvent<'static> {
    let required = |column| value_at(batch, column, row).unwrap_or_else(|| panic!("{column:?} is null"));
    let Value::Text(event_type) = required(Column::EVENT_TYPE) else { panic!("event_type is text") };
    let Value::Time(event_time) = required(Column::EVENT_TIME) else { panic!("event_time is a time") };
    let session_id = value_at(batch, Column::SESSION_ID, row).map(|value| match value {
        Value::Text(text) => text,
        other => panic!("session_id is {other:?}"),
    });
    ViewEvent {
        event_id: column(batch, Column::EVENT_ID).as_fixed_size_binary().value(row).try_into().unwrap(),
        event_time,
        session_id,
        event_type,
        fields: optional_columns()
            .into_iter()
            .filter_map(|column| Some((column, value_at(batch, column, row)?)))
            .collect(),
        custom: custom_at(batch, row),
    }
}

pub fn column(batch: &RecordBatch, column: Column) -> &ArrayRef {
    assert_eq!(batch.schema().field(column.index()).name(), column.name(), "not the canonical schema");
    batch.column(column.index())
}

/// The value of a column other than event_id and custom.
pub fn value_at(batch: &RecordBatch, of: Column, row: usize) -> Option<Value<'static>> {
    let array = column(batch, of);
    if array.is_null(row) {
        return None;
    }
    let owned = |text: &str| Value::Text(Cow::Owned(text.to_owned()));
    Some(match of.kind() {
        Kind::Text { .. } => owned(array.as_string::<i32>().value(row)),
        Kind::Dictionary { .. } => {
            let dictionary = array.as_dictionary::<Int32Type>();
            owned(dictionary.values().as_string::<i32>().value(dictionary.key(row).unwrap()))
        }
        Kind::Int16 => Value::Int(array.as_primitive::<Int16Type>().value(row).into()),
        Kind::Int32 => Value::Int(array.as_primitive::<Int32Type>().value(row).into()),
        Kind::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        Kind::Float32 => Value::Float(array.as_primitive::<Float32Type>().value(row)),
        Kind::Boolean => Value::Bool(array.as_boolean().value(row)),
        Kind::Time => Value::Time(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        Kind::EventId | Kind::Custom => unreachable!("they have their own"),
    })
}

fn custom_at(batch: &RecordBatch, row: usize) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
    let map = column(batch, Column::CUSTOM).as_map();
    if map.is_null(row) {
        return Vec::new();
    }
    let entries = map.value(row);
    let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
    let owned = |text: Option<&str>| Cow::Owned(text.unwrap().to_owned());
    keys.iter().zip(values.iter()).map(|(key, value)| (owned(key), owned(value))).collect()
}
