//! An Arrow IPC stream to batches, with every length that it claims checked before it is believed.
//!
//! Arrow's reader takes lengths from the bytes: it allocates what a compressed buffer claims to unfold to, lets it
//! unfold to more, and panics on a buffer that ends outside of its message. So the stream is walked here, bodies that
//! other producers compressed are inflated here, within a budget, and Arrow is given messages without compression whose
//! buffers lie in their body:
//!
//! ```text
//!   FFFFFFFF len metadata body | FFFFFFFF len metadata body | ... | FFFFFFFF 00000000
//!                  │      └─ inflate: each buffer within the budget ─▶ plain body ─┐
//!                  └─ verified flatbuffer: nodes, buffers ───────────▶ plain metadata ─▶ RecordBatchDecoder
//! ```
//! What the buffers hold (offsets, UTF-8, dictionary keys) Arrow validates itself.
//!
//! Not supported, each with words: delta dictionaries, zstd bodies (our build of Arrow has none), big endian, a
//! stream without its end marker (it may have been cut off at a message).
use super::fields::{self, Fields};
use super::layout;
use crate::limits;
use crate::remembered::Remembered;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::RecordBatchDecoder;
use arrow_ipc::{CompressionType, FieldNode, Message, MessageHeader, MetadataVersion, root_as_message_with_opts};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, VerifierOptions};
use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, LazyLock};

/// What each message of a stream begins with.
pub(super) const CONTINUATION_MARKER: [u8; 4] = [0xff; 4];

/// Marker and length.
const PREFIX_BYTES: usize = 8;
/// A compressed buffer begins with its length when unfolded.
const LENGTH_BYTES: usize = 8;
/// In its place: the buffer is not compressed.
const NOT_COMPRESSED: i64 = -1;
/// Buffers of an inflated body start at multiples of this, which suits every type.
const ALIGNMENT_BYTES: usize = 16;

/// Our own schema message has some 200 tables and 10 KB; a flatbuffer may name one table or string many times, so
/// its size alone bounds nothing.
const VERIFIER: VerifierOptions = VerifierOptions {
    max_depth: 16,
    max_tables: 4_096,
    max_apparent_size: 4 << 20,
    ignore_missing_null_terminator: false,
};

/// Schema messages that are remembered, with what they say: those of one producer are nearly all the same.
const SCHEMAS_MAX: usize = 256;
/// Longer ones are read each time. Ours have some 10 KB. What is kept of one is less than twice that: a column is there
/// once, and metadata is dropped (`fields::read`). 256 x 48 KB, with the message itself, are 12 MB.
const REMEMBERED_BYTES_MAX: usize = 16 << 10;

static SCHEMAS: LazyLock<Remembered<Vec<u8>, Fields>> = LazyLock::new(|| Remembered::new(SCHEMAS_MAX));

/// Reads a whole stream; `version` is the schema version that the record's header claims, `budget` what its bodies may
/// take when unfolded, bytes.
pub(super) fn read(
    payload: &Bytes,
    version: Option<i64>,
    budget: usize,
) -> Result<(Arc<Fields>, Vec<RecordBatch>), String> {
    let mut stream = Stream { payload, at: 0 };
    let Some(metadata) = stream.metadata()? else { return Err("Arrow stream is empty".to_owned()) };
    let read = || {
        let message = message(metadata)?;
        if message.bodyLength() != 0 {
            return Err("Arrow schema message has a body".to_owned());
        }
        fields::read(message.header_as_schema().ok_or("Arrow stream does not begin with a schema")?, version)
    };
    let fields = match metadata.len() <= REMEMBERED_BYTES_MAX {
        true => SCHEMAS.get_or_make(metadata, read)?,
        false => Arc::new(read()?),
    };
    let mut reader = Reader::new(fields.schema.clone(), budget);
    while let Some(metadata) = stream.metadata()? {
        let message = message(metadata)?;
        reader.take(message, &stream.body(message)?)?;
    }
    if stream.at != payload.len() {
        return Err(format!("{} bytes follow the end of the Arrow stream", payload.len() - stream.at));
    }
    Ok((fields, reader.batches))
}

/// A message's metadata, verified.
fn message(metadata: &[u8]) -> Result<Message<'_>, String> {
    let message = root_as_message_with_opts(&VERIFIER, metadata)
        .map_err(|cause| format!("Arrow message is malformed: {}", first_line(&cause.to_string())))?;
    if !matches!(message.version(), MetadataVersion::V4 | MetadataVersion::V5) {
        return Err(format!("Arrow metadata version {:?} is not supported", message.version()));
    }
    Ok(message)
}

/// The messages of a payload.
struct Stream<'a> {
    payload: &'a Bytes,
    at: usize,
}

impl<'a> Stream<'a> {
    /// The next message's metadata, not verified; `None` at the end marker.
    fn metadata(&mut self) -> Result<Option<&'a [u8]>, String> {
        let prefix = self.cut(PREFIX_BYTES)?;
        let (marker, length) = prefix.split_at(CONTINUATION_MARKER.len());
        if marker != CONTINUATION_MARKER {
            return Err(format!("Arrow stream has no message at byte {}", self.at - PREFIX_BYTES));
        }
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if length == 0 {
            return Ok(None);
        }
        self.cut(length).map(Some)
    }

    /// The body that follows the metadata of `message`.
    fn body(&mut self, message: Message<'_>) -> Result<Buffer, String> {
        let bytes = usize::try_from(message.bodyLength()).map_err(|_| "Arrow message has a negative body")?;
        let start = self.at;
        self.cut(bytes)?;
        Ok(Buffer::from(self.payload.slice(start..self.at)))
    }

    fn cut(&mut self, bytes: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(bytes).filter(|end| *end <= self.payload.len());
        let Some(end) = end else {
            return Err(format!("Arrow stream is cut off: {bytes} bytes expected at byte {}", self.at));
        };
        let cut = &self.payload[self.at..end];
        self.at = end;
        Ok(cut)
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// What the messages so far add up to.
struct Reader {
    schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
    batches: Vec<RecordBatch>,
    /// Bytes that bodies may still take.
    left: usize,
}

impl Reader {
    fn new(schema: SchemaRef, budget: usize) -> Self {
        Reader { schema, dictionaries: HashMap::new(), batches: Vec::new(), left: budget }
    }

    fn take(&mut self, message: Message<'_>, body: &Buffer) -> Result<(), String> {
        match message.header_type() {
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or("Arrow batch message without a batch")?;
                let batch = self.decode(batch, body, self.schema.clone(), message.version())?;
                self.batches.push(batch);
                Ok(())
            }
            MessageHeader::DictionaryBatch => {
                let dictionary = message.header_as_dictionary_batch().ok_or("Arrow dictionary message is empty")?;
                self.take_dictionary(dictionary, body, message.version())
            }
            other => Err(format!("Arrow stream has an unexpected message: {other:?}")),
        }
    }

    fn take_dictionary(
        &mut self,
        dictionary: arrow_ipc::DictionaryBatch<'_>,
        body: &Buffer,
        version: MetadataVersion,
    ) -> Result<(), String> {
        if dictionary.isDelta() {
            return Err("delta dictionaries are not supported: send whole ones".to_owned());
        }
        let id = dictionary.id();
        let value_type = self.value_type(id).ok_or_else(|| format!("no column has the dictionary {id}"))?;
        let schema = Arc::new(Schema::new(vec![Field::new("value", value_type, true)]));
        let batch = dictionary.data().ok_or("Arrow dictionary message without data")?;
        let values = self.decode(batch, body, schema, version)?;
        self.dictionaries.insert(id, values.column(0).clone());
        Ok(())
    }

    /// Type of the values of the dictionary `id`.
    fn value_type(&self, id: i64) -> Option<DataType> {
        // Deprecated for those who build schemas; the reader's own schema still carries the stream's ids so.
        #[allow(deprecated)]
        let field = self.schema.fields().iter().find(|field| field.dict_id() == Some(id))?;
        match field.data_type() {
            DataType::Dictionary(_, values) => Some(values.as_ref().clone()),
            _ => None,
        }
    }

    fn decode(
        &mut self,
        batch: arrow_ipc::RecordBatch<'_>,
        body: &Buffer,
        schema: SchemaRef,
        version: MetadataVersion,
    ) -> Result<RecordBatch, String> {
        let Some((metadata, body)) = inflate(batch, body, &schema, &mut self.left)? else {
            return self.read_batch(batch, body, schema, version);
        };
        let batch = flatbuffers::root_with_opts::<arrow_ipc::RecordBatch<'_>>(&VERIFIER, &metadata)
            .map_err(|cause| cause.to_string())?;
        self.read_batch(batch, &body, schema, version)
    }

    /// A batch without compression whose numbers were checked.
    fn read_batch(
        &self,
        batch: arrow_ipc::RecordBatch<'_>,
        body: &Buffer,
        schema: SchemaRef,
        version: MetadataVersion,
    ) -> Result<RecordBatch, String> {
        RecordBatchDecoder::try_new(body, batch, schema, &self.dictionaries, &version)
            .and_then(RecordBatchDecoder::read_record_batch)
            .map_err(|cause| format!("Arrow batch is malformed: {cause}"))
    }
}

/// Checks each of the batch's numbers. If it is compressed: the same without, metadata as a flatbuffer of its own, and body.
fn inflate(
    batch: arrow_ipc::RecordBatch<'_>,
    body: &Buffer,
    schema: &Schema,
    left: &mut usize,
) -> Result<Option<(Vec<u8>, Buffer)>, String> {
    let nodes: Vec<FieldNode> = batch.nodes().ok_or("Arrow batch without nodes")?.iter().copied().collect();
    let variadic: Vec<i64> = batch.variadicBufferCounts().into_iter().flatten().collect();
    if !(0..=limits::DECODED_BYTES_MAX as i64).contains(&batch.length()) {
        return Err(format!("Arrow batch claims {} rows", batch.length()));
    }
    let is_compressed = match batch.compression() {
        Some(compression) if compression.codec() == CompressionType::LZ4_FRAME => true,
        Some(compression) => return Err(format!("{:?} bodies are not supported: use lz4", compression.codec())),
        None => false,
    };
    let mut buffers = Vec::new();
    let mut plain = Vec::new();
    for buffer in batch.buffers().ok_or("Arrow batch without buffers")? {
        let bytes = slice(body, *buffer)?;
        if is_compressed {
            let start = plain.len();
            inflate_buffer(bytes, &mut plain, left)?;
            buffers.push(arrow_ipc::Buffer::new(start as i64, (plain.len() - start) as i64));
            plain.resize(plain.len().next_multiple_of(ALIGNMENT_BYTES), 0);
        } else {
            // Arrow copies a buffer that is not aligned for its type; one region may be named many times.
            spend(left, bytes.len())?;
            buffers.push(*buffer);
        }
    }
    layout::check(schema, &nodes, &buffers, &variadic)?;
    Ok(is_compressed.then(|| (metadata(batch.length(), &nodes, &buffers, &variadic), Buffer::from_vec(plain))))
}

fn metadata(rows: i64, nodes: &[FieldNode], buffers: &[arrow_ipc::Buffer], variadic: &[i64]) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let nodes = builder.create_vector(nodes);
    let buffers = builder.create_vector(buffers);
    let variadic = (!variadic.is_empty()).then(|| builder.create_vector(variadic));
    let mut batch = arrow_ipc::RecordBatchBuilder::new(&mut builder);
    batch.add_length(rows);
    batch.add_nodes(nodes);
    batch.add_buffers(buffers);
    if let Some(variadic) = variadic {
        batch.add_variadicBufferCounts(variadic);
    }
    let batch = batch.finish();
    builder.finish(batch, None);
    builder.finished_data().to_vec()
}

fn slice(body: &Buffer, buffer: arrow_ipc::Buffer) -> Result<&[u8], String> {
    let start = usize::try_from(buffer.offset()).ok();
    let length = usize::try_from(buffer.length()).ok();
    start
        .zip(length)
        .and_then(|(start, length)| body.get(start..start.checked_add(length)?))
        .ok_or_else(|| format!("Arrow buffer {}+{} is outside of its body", buffer.offset(), buffer.length()))
}

fn spend(left: &mut usize, bytes: usize) -> Result<(), String> {
    let max = limits::DECODED_BYTES_MAX;
    *left = left.checked_sub(bytes).ok_or_else(|| format!("the record takes more than {max} bytes when unfolded"))?;
    Ok(())
}

/// Appends what `bytes` unfolds to.
fn inflate_buffer(bytes: &[u8], plain: &mut Vec<u8>, left: &mut usize) -> Result<(), String> {
    if bytes.is_empty() {
        return Ok(());
    }
    let Some((claimed, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err("compressed Arrow buffer is too short for its length".to_owned());
    };
    let claimed = i64::from_le_bytes(*claimed);
    if claimed == NOT_COMPRESSED {
        spend(left, rest.len())?;
        plain.extend_from_slice(rest);
        return Ok(());
    }
    let claimed = usize::try_from(claimed).map_err(|_| format!("compressed Arrow buffer claims {claimed} bytes"))?;
    spend(left, claimed)?;
    if claimed == 0 {
        return Ok(());
    }
    // One byte more than claimed is asked for, so that a frame which holds more is noticed.
    let frame = lz4_flex::frame::FrameDecoder::new(rest);
    let inflated = frame.take(claimed as u64 + 1).read_to_end(plain);
    match inflated {
        Ok(bytes) if bytes == claimed => Ok(()),
        Ok(_) => Err(format!("compressed Arrow buffer does not unfold to the {claimed} bytes that it claims")),
        Err(cause) => Err(format!("compressed Arrow buffer is damaged: {cause}")),
    }
}
