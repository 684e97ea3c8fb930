//! Events as SQL has them: strings are views, so that a dictionary's values are not copied for each row, nor when batches
//! are joined.
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat;
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

/// Events by their canonical columns. Each column is converted and joined once, when the first rollup asks for it.
#[derive(Debug)]
pub struct Events {
    /// One after the other, of the same columns.
    batches: Vec<RecordBatch>,
    /// Where a batch has a column, by its place in the canonical schema; `None`: it was not read.
    places: Vec<Option<usize>>,
    times: Vec<i64>,
    converted: Vec<OnceCell<ArrayRef>>,
}

impl Events {
    /// Of decoded batches (`event::codec::decode`), one after the other; `Err`: one has other columns than those have.
    pub fn new(batches: Vec<RecordBatch>) -> Result<Self> {
        let has_others = |schema: &SchemaRef| !Arc::ptr_eq(schema, &canonical()) && *schema != canonical();
        if let Some(schema) = batches.iter().map(|batch| batch.schema_ref()).find(|schema| has_others(schema)) {
            return internal_err!("a batch of events has other columns than the canonical ones: {schema}");
        }
        Self::of(batches, Column::all().map(|column| Some(column.index())).collect())
    }

    /// Of rows of the table `events`, with as many of its columns as were read, event_time among them.
    pub(crate) fn of_lake(batch: RecordBatch) -> Result<Self> {
        let places = Column::all().map(|column| batch.schema_ref().index_of(column.name()).ok()).collect();
        Self::of(vec![batch], places)
    }

    fn of(batches: Vec<RecordBatch>, places: Vec<Option<usize>>) -> Result<Self> {
        let mut times = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
        for batch in &batches {
            let column = places[Column::EVENT_TIME.index()].map(|place| batch.column(place));
            let Some(column) = column.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>()) else {
                return internal_err!("a batch of events has no event_time");
            };
            times.extend_from_slice(column.values());
        }
        Ok(Events { times, converted: vec![OnceCell::new(); places.len()], batches, places })
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
        let field = SCHEMA.field(place);
        let Some(at) = self.places[place] else {
            return internal_err!("column {} of a batch of events was not read", field.name());
        };
        let converted = |batch: &RecordBatch| cast(batch.column(at), field.data_type());
        let parts = self.batches.iter().map(converted).collect::<Result<Vec<_>, _>>()?;
        let column = match parts.as_slice() {
            [] => new_empty_array(field.data_type()),
            [whole] => whole.clone(),
            parts => concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?,
        };
        Ok(self.converted[place].get_or_init(|| column).clone())
    }
}
