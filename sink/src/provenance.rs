//! From canonical columns to the columns of `events`: adds where each row came from. Pure.
//!
//! Promise: a batch fits the table as it is, also one that a newer version has given more columns: those are null.
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, new_null_array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use event::codec::Place;
use event::schema::{Column, canonical};
use std::sync::Arc;

/// `_topic`: the log's topic.
pub(crate) const TOPIC: &str = "_topic";
/// `_partition`: its partition.
pub(crate) const PARTITION: &str = "_partition";
/// `_offset`: the record.
pub(crate) const OFFSET: &str = "_offset";
/// `_row`: the position in the record, from 0.
pub(crate) const ROW: &str = "_row";

/// Where a column's values come from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Canonical(usize),
    /// Delta has no binary of fixed size.
    Binary(usize),
    Topic,
    Partition,
    Offset,
    Row,
    /// A column that this version does not know.
    Null,
}

/// How to make a batch of the table from a canonical one.
#[derive(Debug)]
pub(crate) struct Columns {
    sources: Vec<Source>,
    schema: SchemaRef,
}

impl Columns {
    /// For a table with this schema, less its partition column. Says in words what does not fit.
    pub(crate) fn new(table: &Schema, partition_column: &str) -> Result<Self, String> {
        for column in Column::all().map(Column::name).chain([TOPIC, PARTITION, OFFSET, ROW]) {
            table.field_with_name(column).map_err(|_| format!("it has no column {column}"))?;
        }
        let mut sources = Vec::new();
        let mut fields = Vec::new();
        for field in table.fields().iter().filter(|field| field.name() != partition_column) {
            let source = source(field)?;
            sources.push(source);
            fields.push(match source {
                // Dictionaries stay: they are a fraction of the memory, and the file's encoder takes them.
                Source::Canonical(index) => canonical().field(index).clone().with_nullable(field.is_nullable()),
                Source::Topic => Field::new(TOPIC, topic_type(), field.is_nullable()),
                _ => field.as_ref().clone(),
            });
        }
        Ok(Columns { sources, schema: Arc::new(Schema::new(fields)) })
    }

    /// Canonical rows with their place; `rows` holds the position of each in the record.
    pub(crate) fn build(&self, batch: &RecordBatch, place: Place<'_>, rows: &[u32]) -> Result<RecordBatch, ArrowError> {
        let count = batch.num_rows();
        let arrays =
            self.sources.iter().zip(self.schema.fields()).map(|(source, field)| -> Result<ArrayRef, ArrowError> {
                Ok(match *source {
                    Source::Canonical(index) => batch.column(index).clone(),
                    Source::Binary(index) => {
                        let fixed = batch.column(index).as_fixed_size_binary();
                        Arc::new(BinaryArray::from_iter(fixed.iter()))
                    }
                    Source::Topic => topic(place.topic, count)?,
                    Source::Partition => partition(place.partition, count)?,
                    Source::Offset => offset(place.offset, count)?,
                    Source::Row => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| i64::from(*row)))),
                    Source::Null => new_null_array(field.data_type(), count),
                })
            });
        RecordBatch::try_new(self.schema.clone(), arrays.collect::<Result<_, _>>()?)
    }
}

fn source(field: &Field) -> Result<Source, String> {
    let expect = |wanted: DataType, source: Source| {
        if *field.data_type() == wanted {
            Ok(source)
        } else {
            Err(format!("its column {} is {}, not {wanted}", field.name(), field.data_type()))
        }
    };
    match field.name().as_str() {
        TOPIC => expect(DataType::Utf8, Source::Topic),
        PARTITION => expect(DataType::Int32, Source::Partition),
        OFFSET => expect(DataType::Int64, Source::Offset),
        ROW => expect(DataType::Int64, Source::Row),
        name => match Column::by_name(name) {
            Some(column) => match column.field().data_type() {
                DataType::FixedSizeBinary(_) => expect(DataType::Binary, Source::Binary(column.index())),
                DataType::Dictionary(_, values) => expect(values.as_ref().clone(), Source::Canonical(column.index())),
                // The names of a map's parts are the reader's choice; the lake knows how to write ours.
                DataType::Map(..) => Ok(Source::Canonical(column.index())),
                other => expect(other.clone(), Source::Canonical(column.index())),
            },
            None if field.is_nullable() => Ok(Source::Null),
            None => Err(format!("its column {name} may not be null, and this version does not know it")),
        },
    }
}

/// Type of `_topic` in memory: one value for all rows.
fn topic_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// `count` times the topic.
pub(crate) fn topic(topic: &str, count: usize) -> Result<ArrayRef, ArrowError> {
    let keys = Int32Array::from(vec![0; count]);
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(StringArray::from(vec![topic])))?))
}

/// `count` times the partition.
fn partition(partition: u32, count: usize) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(Int32Array::from(vec![int32(partition)?; count])))
}

/// `count` times the offset.
fn offset(offset: u64, count: usize) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(Int64Array::from(vec![int64(offset)?; count])))
}

/// `_partition` in a signed column; Delta has no unsigned ones.
pub(crate) fn int32(partition: u32) -> Result<i32, ArrowError> {
    i32::try_from(partition).map_err(|_| ArrowError::CastError(format!("partition {partition} is over its column")))
}

/// `_offset` in a signed column.
pub(crate) fn int64(offset: u64) -> Result<i64, ArrowError> {
    i64::try_from(offset).map_err(|_| ArrowError::CastError(format!("offset {offset} is over its column")))
}
