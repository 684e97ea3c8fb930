//! Rows to columns: [`BatchBuilder`] gathers events of one partition into one `RecordBatch`.
use crate::clock::Micros;
use crate::view_event::ViewEvent;
use arrow_array::RecordBatch;

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
pub struct BatchBuilder {}

impl BatchBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        unimplemented!()
    }
    /// Appends one row.
    pub fn append(&mut self, arrival: Arrival<'_>, event: &ViewEvent<'_>) {
        let _ = (arrival, event);
        unimplemented!()
    }
    /// Rows so far.
    pub fn rows(&self) -> usize {
        unimplemented!()
    }
    /// An upper bound of the encoded record's bytes with its headers; a batch is full when one more event
    /// (`encoded_bytes_max`) might pass `limits::RECORD_BYTES_MAX`.
    pub fn encoded_bytes_max(&self) -> usize {
        unimplemented!()
    }
    /// An upper bound of what `event` would add.
    pub fn added_bytes_max(&self, arrival: Arrival<'_>, event: &ViewEvent<'_>) -> usize {
        let _ = (arrival, event);
        unimplemented!()
    }
    /// The batch; the builder is empty afterwards.
    pub fn finish(&mut self) -> RecordBatch {
        unimplemented!()
    }
}
