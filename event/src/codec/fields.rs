//! The schema message of a stream: which columns it has, and that each is one we know.
//!
//! Turning a schema message into Arrow's `Schema` panics on types that Arrow doesn't know; so each field is looked at
//! in the flatbuffer first.
use crate::schema::{COLUMNS, Column, Kind, SCHEMA_VERSION, TIME_ZONE};
use arrow_ipc::convert::fb_to_schema;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::collections::HashMap;
use std::sync::Arc;

/// Names of UTC that other producers write.
const UTC_NAMES: [&str; 4] = [TIME_ZONE, "+00:00", "Z", "Etc/UTC"];

/// The columns of a stream.
pub(super) struct Fields {
    /// As the stream has them.
    pub(super) schema: SchemaRef,
    /// By canonical column: its place in the stream.
    places: [Option<usize>; COLUMNS.len()],
}

impl Fields {
    /// Of a schema of canonical columns.
    pub(super) fn of(schema: SchemaRef) -> Self {
        let mut places = [None; COLUMNS.len()];
        for (place, field) in schema.fields().iter().enumerate() {
            if let Some(column) = Column::by_name(field.name()) {
                places[column.index()] = Some(place);
            }
        }
        Fields { schema, places }
    }

    /// Where the stream has a column; `None`: it has not.
    pub(super) fn place(&self, column: Column) -> Option<usize> {
        self.places[column.index()]
    }
}

/// Reads the schema of a stream. Every field of the result is a canonical column, there once, of a type that
/// `canonical` can bring to the column's own; required columns are there.
pub(super) fn read(schema: arrow_ipc::Schema<'_>, version: Option<i64>) -> Result<Fields, String> {
    if schema.endianness() != arrow_ipc::Endianness::Little {
        return Err("Arrow stream is not little endian".to_owned());
    }
    let fields = schema.fields().ok_or("Arrow stream has a schema without fields")?;
    for field in fields {
        let name = field.name().unwrap_or_default();
        if Column::by_name(name).is_none() {
            return Err(unknown_column(name, version));
        }
        check_type(field).map_err(|reason| format!("column {name}: {reason}"))?;
    }
    let schema = fb_to_schema(schema);
    let fields = Fields::of(Arc::new(Schema::new(schema.fields().iter().map(|field| bare(field)).collect::<Vec<_>>())));
    for (place, field) in fields.schema.fields().iter().enumerate() {
        let Some(column) = Column::by_name(field.name()) else {
            return Err(unknown_column(field.name(), version));
        };
        if fields.place(column) != Some(place) {
            return Err(format!("column {} is there twice", column.name()));
        }
        if !accepts(column.kind(), field.data_type()) {
            let (name, expected, actual) = (column.name(), column.kind().data_type(), field.data_type());
            return Err(format!("column {name} has type {actual}, expected {expected}"));
        }
    }
    match Column::all().find(|column| !column.spec().nullable && fields.place(*column).is_none()) {
        Some(missing) => Err(format!("required column {} is missing", missing.name())),
        None => Ok(fields),
    }
}

/// A field without its metadata: nobody reads it, and a message of 16 KB that names one text many times makes megabytes
/// of it.
fn bare(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(bare(entries)), *sorted),
        DataType::Struct(parts) => DataType::Struct(parts.iter().map(|part| bare(part)).collect()),
        plain => plain.clone(),
    };
    field.clone().with_data_type(data_type).with_metadata(HashMap::new())
}

fn unknown_column(name: &str, version: Option<i64>) -> String {
    let name: String = name.chars().take(64).collect();
    match version {
        Some(version) if version > i64::from(SCHEMA_VERSION) => format!(
            "column {name} is unknown: the record has schema version {version}, this Playhead knows {SCHEMA_VERSION}; \
             upgrade it and replay the record"
        ),
        _ => format!("column {name} is unknown: it is not one of the canonical columns"),
    }
}

/// Only types for which `fb_to_schema` is total.
fn check_type(field: arrow_ipc::Field<'_>) -> Result<(), String> {
    use arrow_ipc::Type;
    if let Some(dictionary) = field.dictionary() {
        let index = dictionary.indexType().ok_or("dictionary without an index type")?;
        check_width(index.bitWidth())?;
    }
    let known = match field.type_type() {
        Type::Bool | Type::Utf8 | Type::LargeUtf8 | Type::Utf8View => true,
        Type::Int => {
            check_width(field.type_as_int().ok_or("integer without a width")?.bitWidth())?;
            true
        }
        Type::FloatingPoint => field.type_as_floating_point().is_some_and(|float| matches!(float.precision().0, 0..=2)),
        Type::Timestamp => field.type_as_timestamp().is_some_and(|time| matches!(time.unit().0, 0..=3)),
        Type::FixedSizeBinary => field.type_as_fixed_size_binary().is_some(),
        Type::Map => field.type_as_map().is_some() && field.children().is_some_and(|entries| entries.len() == 1),
        Type::Struct_ => true,
        _ => false,
    };
    if !known {
        return Err(format!("type {:?} is not one of the schema's", field.type_type()));
    }
    for child in field.children().into_iter().flatten() {
        check_type(child)?;
    }
    Ok(())
}

fn check_width(bits: i32) -> Result<(), String> {
    match bits {
        8 | 16 | 32 | 64 => Ok(()),
        _ => Err(format!("integers of {bits} bits are not supported")),
    }
}

/// Whether a column of `kind` is taken from an array of `data_type`.
fn accepts(kind: Kind, data_type: &DataType) -> bool {
    match (kind, data_type) {
        (Kind::Text { .. } | Kind::Dictionary { .. }, DataType::Dictionary(_, values)) => is_string(values),
        (Kind::Text { .. } | Kind::Dictionary { .. }, data_type) => is_string(data_type),
        (Kind::Time, DataType::Timestamp(TimeUnit::Microsecond, Some(zone))) => UTC_NAMES.contains(&zone.as_ref()),
        (Kind::Custom, DataType::Map(entries, _)) => is_string_pair(entries),
        (kind, data_type) => *data_type == kind.data_type(),
    }
}

fn is_string(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Whether a map's entries are a key and a value of strings, whatever their names.
fn is_string_pair(entries: &Field) -> bool {
    match entries.data_type() {
        DataType::Struct(pair) => pair.len() == 2 && pair.iter().all(|field| is_string(field.data_type())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::canonical;
    use arrow_ipc::convert::IpcSchemaEncoder;
    use arrow_ipc::root_as_schema;
    use arrow_ipc::writer::DictionaryTracker;

    fn with_metadata(field: &Field) -> Field {
        let data_type = match field.data_type() {
            DataType::Map(entries, sorted) => DataType::Map(Arc::new(with_metadata(entries)), *sorted),
            DataType::Struct(parts) => DataType::Struct(parts.iter().map(|part| with_metadata(part)).collect()),
            plain => plain.clone(),
        };
        let metadata = HashMap::from([("key".to_owned(), "value".to_owned())]);
        field.clone().with_data_type(data_type).with_metadata(metadata)
    }

    #[test]
    fn metadata_is_dropped_wherever_it_stands() {
        let fields: Vec<Field> = canonical().fields().iter().map(|field| with_metadata(field)).collect();
        let schema = Schema::new(fields).with_metadata(HashMap::from([("key".to_owned(), "value".to_owned())]));
        let mut dictionaries = DictionaryTracker::new(true);
        let message = IpcSchemaEncoder::new().with_dictionary_tracker(&mut dictionaries).schema_to_fb(&schema);
        let read = read(root_as_schema(message.finished_data()).unwrap(), None).unwrap();
        assert_eq!(read.schema, canonical());
    }
}
