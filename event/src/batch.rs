//! Rows to columns: [`BatchBuilder`] gathers events of one partition into one `RecordBatch`.
//!
//! Promise: the bound that it gives for the encoded record is never too low, so who stops in time never makes a
//! record that the log refuses. Costs: a column pads its nulls only when it gets a value again, and a column without
//! any value is not there at all, since 64 columns of metadata would dwarf a batch of one row.
//!
//! Not for checking: events come valid from `decode`.
use crate::clock::Micros;
use crate::schema::{self, Column};
use crate::view_event::ViewEvent;
use arrow_array::RecordBatch;
use arrow_schema::Schema;
use column::{Cell, ColumnBuilder};
use size::Size;
use std::sync::Arc;

mod column;
pub(crate) mod dictionary;
pub(crate) mod size;

/// Rows that a batch has room for before it grows.
const ROWS_EXPECTED: usize = 64;

/// What the edge adds to each event of a request.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// `tenant_id`
    pub tenant: &'a str,
    /// `source`, e.g. `http`
    pub source: &'a str,
    /// `received_at`
    pub received_at: Micros,
}

/// Column builders for one batch. Columns without any value are left out of the batch.
pub struct BatchBuilder {
    /// By column; `None`: not in use.
    columns: Vec<Option<ColumnBuilder>>,
    rows: usize,
    size: Size,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        BatchBuilder { columns: Column::all().map(|_| None).collect(), rows: 0, size: Size::default() }
    }

    /// Appends one row.
    ///
    /// # Panics
    /// If a value is not of its column's kind or range, which `decode` never lets through.
    pub fn append(&mut self, arrival: Arrival<'_>, event: &ViewEvent<'_>) {
        let (columns, size, rows) = (&mut self.columns, &mut self.size, self.rows);
        for_each_cell(arrival, event, |column, cell| {
            let builder = columns[column.index()].get_or_insert_with(|| {
                size.add_column(column);
                ColumnBuilder::with_capacity(column.kind(), ROWS_EXPECTED.max(rows + 1))
            });
            builder.pad(rows);
            let Some(bytes) = builder.append(cell) else {
                panic!("{cell:?} is no value of column {}: decode must not let it through", column.name())
            };
            size.add_value(bytes);
        });
        self.rows += 1;
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// An upper bound of the encoded record's bytes with its headers; a batch is full when one more event
    /// (`added_bytes_max`) might pass `limits::RECORD_BYTES_MAX`.
    pub fn encoded_bytes_max(&self) -> usize {
        self.size.record_bytes_max(self.rows)
    }

    /// An upper bound of what `event` would add.
    pub fn added_bytes_max(&self, arrival: Arrival<'_>, event: &ViewEvent<'_>) -> usize {
        let mut size = self.size;
        for_each_cell(arrival, event, |column, cell| {
            if self.columns[column.index()].is_none() {
                size.add_column(column);
            }
            size.add_value(cell.value_bytes_max(column.kind()));
        });
        size.record_bytes_max(self.rows + 1) - self.encoded_bytes_max()
    }

    /// The batch; the builder is empty afterwards. Its columns are those of the canonical schema that have a value,
    /// in their order; without any row it has all of them.
    pub fn finish(&mut self) -> RecordBatch {
        if self.rows == 0 {
            return RecordBatch::new_empty(schema::canonical());
        }
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        for (column, builder) in Column::all().zip(&mut self.columns) {
            let Some(mut builder) = builder.take() else { continue };
            builder.pad(self.rows);
            fields.push(schema::canonical().fields()[column.index()].clone());
            arrays.push(builder.finish());
        }
        (self.rows, self.size) = (0, Size::default());
        let Ok(batch) = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays) else {
            unreachable!("each builder makes its column's type, with as many values as there are rows")
        };
        batch
    }
}

/// The cells of one row, each column at most once.
fn for_each_cell<'a>(arrival: Arrival<'a>, event: &'a ViewEvent<'_>, mut cell: impl FnMut(Column, Cell<'a>)) {
    cell(Column::EVENT_ID, Cell::EventId(&event.event_id));
    cell(Column::TENANT_ID, Cell::Text(arrival.tenant));
    cell(Column::SOURCE, Cell::Text(arrival.source));
    cell(Column::EVENT_TYPE, Cell::Text(&event.event_type));
    cell(Column::EVENT_TIME, Cell::Time(event.event_time));
    cell(Column::RECEIVED_AT, Cell::Time(arrival.received_at));
    if let Some(session_id) = &event.session_id {
        cell(Column::SESSION_ID, Cell::Text(session_id));
    }
    for (column, value) in &event.fields {
        cell(*column, Cell::from(value));
    }
    if !event.custom.is_empty() {
        cell(Column::CUSTOM, Cell::Custom(&event.custom));
    }
    cell(Column::SCHEMA_VERSION, Cell::Int(i64::from(schema::SCHEMA_VERSION)));
}
