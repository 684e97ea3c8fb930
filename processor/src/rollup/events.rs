//! A batch of events as SQL has it: strings are views, so that a dictionary's values are not copied for each row.
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::ScalarBuffer;
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, internal_err};
use event::schema::{Column, canonical};
use std::cell::OnceCell;
use std::sync::{Arc, LazyLock};

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let as_sql = |field: &Arc<Field>| {
        let data_type = match field.data_type() {
            DataType::Utf8 => DataType::Utf8View,
            DataType::Dictionary(_, values) if **values == DataType::Utf8 => DataType::Utf8View,
            other => other.clone(),
        };
        Field::new(field.name(), data_type, field.is_nullable())
    };
    Arc::new(Schema::new(canonical().fields().iter().map(as_sql).collect::<Vec<_>>()))
});

/// The canonical columns as SQL has them.
pub(super) fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// A batch of events by their canonical columns. Each is converted once, when the first rollup asks for it.
#[derive(Debug)]
pub struct Events {
    /// By their place in the canonical schema; `None`: it was not read.
    columns: Vec<Option<ArrayRef>>,
    times: ScalarBuffer<i64>,
    converted: Vec<OnceCell<ArrayRef>>,
}

impl Events {
    /// Of a decoded batch (`event::codec::decode`); `Err`: it has other columns than those have.
    pub fn new(batch: RecordBatch) -> Result<Self> {
        let schema = batch.schema();
        if !Arc::ptr_eq(&schema, &canonical()) && schema != canonical() {
            return internal_err!("a batch of events has other columns than the canonical ones: {schema}");
        }
        Self::of(batch.columns().iter().cloned().map(Some).collect())
    }

    /// Of rows of the table `events`, with as many of its columns as were read, event_time among them.
    pub(crate) fn of_lake(batch: &RecordBatch) -> Result<Self> {
        Self::of(Column::all().map(|column| batch.column_by_name(column.name()).cloned()).collect())
    }

    fn of(columns: Vec<Option<ArrayRef>>) -> Result<Self> {
        let times = columns[Column::EVENT_TIME.index()].as_ref();
        let Some(times) = times.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>()) else {
            return internal_err!("a batch of events has no event_time");
        };
        Ok(Events { times: times.values().clone(), converted: vec![OnceCell::new(); columns.len()], columns })
    }

    /// How many.
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// Event times, µs.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// The column at this place of the canonical schema.
    pub(super) fn column(&self, place: usize) -> Result<ArrayRef> {
        if let Some(converted) = self.converted[place].get() {
            return Ok(converted.clone());
        }
        let Some(column) = &self.columns[place] else {
            return internal_err!("column {} of a batch of events was not read", SCHEMA.field(place).name());
        };
        let converted = cast(column, SCHEMA.field(place).data_type())?;
        Ok(self.converted[place].get_or_init(|| converted).clone())
    }
}
