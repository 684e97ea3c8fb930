//! A batch of events as SQL has it: strings are views, so that a dictionary's values are not copied for each row.
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, RecordBatch};
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

/// A batch of the canonical columns. Each is converted once, when the first rollup asks for it.
#[derive(Debug)]
pub struct Events {
    batch: RecordBatch,
    converted: Vec<OnceCell<ArrayRef>>,
}

impl Events {
    /// Of a decoded batch (`event::codec::decode`); `Err`: it has other columns than those have.
    pub fn new(batch: RecordBatch) -> Result<Self> {
        let schema = batch.schema();
        if !Arc::ptr_eq(&schema, &canonical()) && schema != canonical() {
            return internal_err!("a batch of events has other columns than the canonical ones: {schema}");
        }
        let converted = vec![OnceCell::new(); batch.num_columns()];
        Ok(Events { batch, converted })
    }

    /// How many.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Event times, µs.
    pub fn times(&self) -> &[i64] {
        self.batch.column(Column::EVENT_TIME.index()).as_primitive::<TimestampMicrosecondType>().values()
    }

    /// The column at this place of the canonical schema.
    pub(super) fn column(&self, place: usize) -> Result<ArrayRef> {
        if let Some(converted) = self.converted[place].get() {
            return Ok(converted.clone());
        }
        let converted = cast(self.batch.column(place), SCHEMA.field(place).data_type())?;
        Ok(self.converted[place].get_or_init(|| converted).clone())
    }
}
