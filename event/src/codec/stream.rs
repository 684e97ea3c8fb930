//! A batch to an Arrow IPC stream, written straight from the arrays' buffers.
//!
//! ```text
//!   schema message (remembered: most batches have the columns of one before)
//!   a dictionary message for each column that is worth one ─┐ nodes, buffers ─▶ metadata
//!   batch message ──────────────────────────────────────────┘ bytes ──────────▶ body
//!   end marker
//! ```
//! Arrow's own writer makes the schema's message anew for each stream, which for a record of a few events takes longer
//! than all else that is done with them (arrow-ipc 59, `writer.rs`; docs/decisions/0007).
use super::body::{ALIGNMENT_BYTES, Body, padding};
use super::ipc::CONTINUATION_MARKER;
use crate::batch::size;
use crate::remembered::Remembered;
use crate::schema::{self, Column};
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, DictionaryArray, RecordBatch, StringArray};
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use arrow_ipc::{DictionaryBatchBuilder, MessageBuilder, MessageHeader, MetadataVersion, RecordBatchBuilder};
use arrow_schema::{DataType, Field, Schema};
use flatbuffers::FlatBufferBuilder;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock};

/// Only batches this small are looked at for columns that are smaller without their dictionary: in larger ones a
/// dictionary's message is paid for.
const UNFOLDED_ROWS_MAX: usize = 128;

/// Schema messages that are remembered, some 8 KB each.
const SCHEMAS_MAX: usize = 256;

/// Schema messages, by the columns of the batch and how they are written.
static SCHEMAS: LazyLock<Remembered<Vec<u8>, Vec<u8>>> = LazyLock::new(|| Remembered::new(SCHEMAS_MAX));

/// A frame without a message.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Metadata of a batch of some forty columns.
const METADATA_BYTES_EXPECTED: usize = 4_096;

/// How a column is written.
enum Written<'a> {
    AsItIs,
    /// A dictionary whose values go first, in a message of their own.
    Dictionary(&'a DictionaryArray<Int32Type>),
    /// A dictionary whose message would be larger than its strings in each row.
    Unfolded(&'a DictionaryArray<Int32Type>, &'a StringArray),
}

/// A batch as the messages of a stream, ready to be written.
pub(super) struct Stream<'a> {
    schema: Arc<Vec<u8>>,
    /// Metadata with their frames, and bodies.
    messages: Vec<(Vec<u8>, Body<'a>)>,
}

impl<'a> Stream<'a> {
    /// `Err`: the batch has other columns than those of the canonical schema.
    pub(super) fn new(batch: &'a RecordBatch) -> Result<Self, String> {
        let columns = columns(batch)?;
        let written: Vec<Written<'a>> = batch.columns().iter().map(|array| how(array.as_ref())).collect();
        let mut stream = Stream { schema: schema_message(&columns, &written)?, messages: Vec::new() };
        let mut builder = FlatBufferBuilder::with_capacity(METADATA_BYTES_EXPECTED);
        let dictionaries = written.iter().filter_map(|written| match written {
            Written::Dictionary(dictionary) => Some(dictionary.values()),
            _ => None,
        });
        for (id, values) in dictionaries.enumerate() {
            let mut body = Body::default();
            body.add(values)?;
            stream.messages.push((metadata(&mut builder, &body, values.len(), Some(id as i64)), body));
        }
        let mut body = Body::default();
        for (array, written) in batch.columns().iter().zip(&written) {
            match written {
                Written::Unfolded(dictionary, values) => body.add_unfolded(dictionary, values),
                Written::Dictionary(_) | Written::AsItIs => body.add(array)?,
            }
        }
        stream.messages.push((metadata(&mut builder, &body, batch.num_rows(), None), body));
        Ok(stream)
    }

    /// What [`Stream::write`] writes.
    pub(super) fn bytes(&self) -> usize {
        let messages: usize = self.messages.iter().map(|(metadata, body)| metadata.len() + body.bytes).sum();
        self.schema.len() + messages + END.len()
    }

    /// Writes the stream.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.schema)?;
        for (metadata, body) in &self.messages {
            to.write_all(metadata)?;
            body.write(to)?;
        }
        to.write_all(&END)
    }
}

fn columns(batch: &RecordBatch) -> Result<Vec<Column>, String> {
    let canonical = schema::canonical();
    let column = |field: &Arc<Field>| {
        let column = Column::by_name(field.name()).ok_or_else(|| format!("{} is no column", field.name()))?;
        let expected = &canonical.fields()[column.index()];
        if Arc::ptr_eq(field, expected) || field == expected {
            return Ok(column);
        }
        Err(format!("column {} is not of the canonical schema's type", column.name()))
    };
    batch.schema_ref().fields().iter().map(column).collect()
}

fn how(array: &dyn Array) -> Written<'_> {
    let Some(dictionary) = array.as_dictionary_opt::<Int32Type>() else { return Written::AsItIs };
    match dictionary.values().as_string_opt::<i32>() {
        Some(values) if is_smaller_unfolded(dictionary, values) => Written::Unfolded(dictionary, values),
        _ => Written::Dictionary(dictionary),
    }
}

/// By the same figures that `BatchBuilder` counts with, so that its bound holds.
fn is_smaller_unfolded(dictionary: &DictionaryArray<Int32Type>, values: &StringArray) -> bool {
    if dictionary.len() > UNFOLDED_ROWS_MAX || values.null_count() > 0 {
        return false;
    }
    let unfolded: usize = dictionary.keys().iter().flatten().map(|key| values.value(key as usize).len()).sum();
    let values_bytes: usize = values.iter().flatten().map(size::dictionary_value_bytes).sum();
    unfolded + size::PLAIN_COLUMN_BYTES <= size::DICTIONARY_MESSAGE_BYTES_MAX + values_bytes
}

/// The stream's first message, with its frame.
fn schema_message(columns: &[Column], written: &[Written<'_>]) -> Result<Arc<Vec<u8>>, String> {
    const UNFOLDED: u8 = 1 << 7;
    const _: () = assert!(schema::COLUMNS.len() < UNFOLDED as usize);
    let is_unfolded = |written: &Written<'_>| matches!(written, Written::Unfolded(..));
    let key = columns.iter().zip(written).map(|(column, written)| {
        let flag = if is_unfolded(written) { UNFOLDED } else { 0 };
        column.0 | flag
    });
    let key: Vec<u8> = key.collect();
    SCHEMAS.get_or_make(key.as_slice(), || {
        let canonical = schema::canonical();
        let field = |(column, written): (&Column, &Written<'_>)| match is_unfolded(written) {
            true => Arc::new(Field::new(column.name(), DataType::Utf8, column.spec().nullable)),
            false => canonical.fields()[column.index()].clone(),
        };
        let schema = Schema::new(columns.iter().zip(written).map(field).collect::<Vec<_>>());
        let options =
            IpcWriteOptions::try_new(ALIGNMENT_BYTES, false, MetadataVersion::V5).map_err(|cause| cause.to_string())?;
        // It numbers dictionaries in the order of the columns, from 0.
        let mut numbers = DictionaryTracker::new(false);
        let message =
            IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(&schema, &mut numbers, &options);
        Ok(framed(&message.ipc_message))
    })
}

/// The metadata of a batch's message, or of that of the dictionary `id`, in its frame.
fn metadata(builder: &mut FlatBufferBuilder<'_>, body: &Body<'_>, rows: usize, id: Option<i64>) -> Vec<u8> {
    builder.reset();
    let nodes = builder.create_vector(&body.nodes);
    let buffers = builder.create_vector(&body.buffers);
    let mut batch = RecordBatchBuilder::new(builder);
    batch.add_length(rows as i64);
    batch.add_nodes(nodes);
    batch.add_buffers(buffers);
    let batch = batch.finish();
    let (kind, header) = match id {
        None => (MessageHeader::RecordBatch, batch.as_union_value()),
        Some(id) => {
            let mut dictionary = DictionaryBatchBuilder::new(builder);
            dictionary.add_id(id);
            dictionary.add_data(batch);
            (MessageHeader::DictionaryBatch, dictionary.finish().as_union_value())
        }
    };
    let mut message = MessageBuilder::new(builder);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(kind);
    message.add_bodyLength(body.bytes as i64);
    message.add_header(header);
    let message = message.finish();
    builder.finish(message, None);
    framed(builder.finished_data())
}

/// A message's metadata in its frame: marker, length, padding.
fn framed(metadata: &[u8]) -> Vec<u8> {
    let padding = padding(metadata.len());
    let mut framed = Vec::with_capacity(END.len() + metadata.len() + padding);
    framed.extend_from_slice(&CONTINUATION_MARKER);
    framed.extend_from_slice(&((metadata.len() + padding) as u32).to_le_bytes());
    framed.extend_from_slice(metadata);
    framed.resize(framed.len() + padding, 0);
    framed
}
