//! The rows of several files, one file's after the other's.
use crate::error::Error;
use crate::read::{Opened, rows};
use crate::table::Table;
use crate::write::Piece;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use std::vec;
use tokio::runtime::Handle;

/// Feeds the encoder, on its blocking thread.
pub(super) struct InTurn {
    table: String,
    schema: SchemaRef,
    runtime: Handle,
    inputs: vec::IntoIter<Opened>,
    current: Option<BoxStream<'static, Result<RecordBatch, Error>>>,
    ended: bool,
}

impl InTurn {
    pub(super) fn new(table: &Table, inputs: Vec<Opened>) -> Self {
        let (runtime, inputs) = (Handle::current(), inputs.into_iter());
        InTurn { table: table.name.clone(), schema: table.data_schema(), runtime, inputs, current: None, ended: false }
    }
}

impl Iterator for InTurn {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(current) = &mut self.current {
                match self.runtime.block_on(current.next()) {
                    Some(batch) => return Some(batch.map(Piece::Rows)),
                    None => self.current = None,
                }
            }
            let Some(opened) = self.inputs.next() else {
                return (!std::mem::replace(&mut self.ended, true)).then_some(Ok(Piece::EndOfGroup));
            };
            let groups = (0..opened.footer.metadata().num_row_groups()).collect();
            match rows(&self.table, &opened, groups, self.schema.clone()) {
                Ok(batches) => self.current = Some(batches),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
