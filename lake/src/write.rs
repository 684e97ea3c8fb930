//! Parquet files: encoded off the async threads, uploaded while they are encoded, durable when they return.
//!
//! ```text
//!  batches ─▶ fit to the table's columns ─▶ ArrowWriter (blocking thread) ─▶ 8 MiB chunks ─▶ put, or multipart
//!                       └─▶ statistics                        a bounded channel of 2
//! ```
//!
//! Memory: one row group being encoded (at most 128 MiB) and four chunks.
use crate::error::{self, Error, Missing};
use crate::file::{DataFile, Layout};
use crate::stats::Statistics;
use crate::table::Table;
use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path as StorePath;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::ColumnPath;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Rows of a row group at most.
const GROUP_ROWS_MAX: usize = 1_000_000;
/// Encoded bytes of a row group at most.
const GROUP_BYTES_MAX: usize = 128 << 20;
/// The same of a sorted file: what is asked for by content_id reads few of them. Engines read one a thread. Each has 8 KB in the
/// footer, which is read first: of a quarter of a million rows that is 30 bytes for a thousand.
const SORTED_GROUP_ROWS_MAX: usize = 256 << 10;
/// Columns of sorted files whose differences are stored: within a session they are small and hardly ever repeat, so that a
/// dictionary is as large as they are. Measured: decision 16. (`received_at` is shared by the events of a request, so not that.)
const DELTAS: [&str; 5] = ["event_time", "sent_at", "playhead_ms", "buffer_ms", "_offset"];
/// Columns of sorted files that repeat for a while and then never again: plain, and compressed.
const WITHOUT_DICTIONARY: [&str; 1] = ["throughput_kbps"];
/// Columns of sorted files with the bounds of each page: those that rows are sorted by. Bounds of all columns took twice the footer,
/// and say nothing where values lie in no order.
const BOUNDED: [&str; 3] = ["content_id", "event_time", "session_id"];
/// Level of zstd of what a sink flushes, on its way to something better.
const FLUSHED_ZSTD_LEVEL: i32 = 1;
/// The same of sorted files, which are written once and read for years.
const SORTED_ZSTD_LEVEL: i32 = 3;
/// A dictionary page: above it a column falls back to plain values, which costs session_id 14 bytes a row.
const DICTIONARY_BYTES_MAX: usize = 4 << 20;
/// Bytes handed from the encoder to the upload at once, all but the last of exactly this size: object stores want parts
/// of at least 5 MiB, some want them equal, and a request of 8 MiB ends within its time on a slow network too.
const CHUNK_BYTES: usize = 8 << 20;
/// Chunks between the encoder and the upload.
const CHUNKS_WAITING: usize = 2;

/// What an encoder is fed.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Rows of the group under way.
    Rows(RecordBatch),
    /// The row group ends here.
    EndOfGroup,
}

/// What the encoder hands to the upload.
enum Chunk {
    Bytes(Bytes),
    /// All was encoded. Without it the encoder failed, and nothing may become visible.
    End,
}

impl Table {
    /// Writes one durable Parquet file (zstd-1). Each group of `row_groups` becomes row groups of its own: the sink
    /// passes one group for each log partition, or session_id's dictionary overflows. Batches have the table's
    /// schema less the partition columns; columns may be in any order, dictionary arrays are accepted for string
    /// columns, fixed-size binaries for binary ones, and nullable columns may be missing.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for a column that the table does not have or that does not fit.
    pub async fn write_file(
        &self,
        partition_values: BTreeMap<String, Option<String>>,
        row_groups: Vec<Vec<RecordBatch>>,
    ) -> Result<DataFile, Error> {
        let pieces = row_groups.into_iter().flat_map(|group| {
            group.into_iter().map(|batch| Ok(Piece::Rows(batch))).chain(std::iter::once(Ok(Piece::EndOfGroup)))
        });
        self.write_pieces(partition_values, Layout::Log, pieces).await
    }

    /// The same from a stream: `None` ends a row group. The stream is polled on a blocking thread, so it may take its time.
    pub async fn write_stream(
        &self,
        partition_values: BTreeMap<String, Option<String>>,
        layout: Layout,
        mut rows: BoxStream<'static, Result<Option<RecordBatch>, Error>>,
    ) -> Result<DataFile, Error> {
        let runtime = Handle::current();
        let pieces = std::iter::from_fn(move || runtime.block_on(rows.next()))
            .map(|rows| rows.map(|rows| rows.map_or(Piece::EndOfGroup, Piece::Rows)));
        self.write_pieces(partition_values, layout, pieces).await
    }

    /// The same from an iterator that may block: it is pulled on a blocking thread.
    pub(crate) async fn write_pieces(
        &self,
        partition_values: BTreeMap<String, Option<String>>,
        layout: Layout,
        pieces: impl Iterator<Item = Result<Piece, Error>> + Send + 'static,
    ) -> Result<DataFile, Error> {
        let path = file_path(&partition_values, layout);
        let store_path = self.store_path(&path)?;
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
        let encoder = Encoder {
            table: self.name.clone(),
            schema: self.data_schema(),
            layout,
            statistics: Statistics::new(&self.statistics_columns),
            chunks: sender,
        };
        // The name is nobody else's. Over a network a put must be repeatable, since its answer may be lost: it then
        // writes the same bytes again.
        let mode = if self.disk.is_some() { PutMode::Create } else { PutMode::Overwrite };
        let encoding = tokio::task::spawn_blocking(move || encoder.encode(pieces));
        let (encoded, uploaded) = tokio::join!(encoding, upload(self.store.as_ref(), &store_path, receiver, mode));
        let encoded = match encoded {
            Ok(encoded) => encoded,
            Err(error) => return Err(Error::broken(&self.name, format!("encoding {path} stopped: {error}"))),
        };
        // The upload's error is the cause when both failed: the encoder then only saw its channel closed.
        let bytes = match (uploaded, encoded) {
            (Ok(Some(bytes)), Ok(statistics)) => (bytes, statistics),
            (Err(error), _) => return Err(error::store(&self.name, "write a file", &error, Missing::Passes)),
            (_, Err(error)) => return Err(error),
            (Ok(None), Ok(_)) => return Err(Error::broken(&self.name, format!("{path} was encoded but not uploaded"))),
        };
        let (bytes, statistics) = bytes;
        let (rows, stats) = (statistics.rows(), statistics.json());
        Ok(DataFile { path, partition_values, bytes, rows, stats, oldest_ms: None })
    }
}

/// `event_date=2026-11-22/part-<uuid>.zstd.parquet`. A value that would need escaping gets no folder: the log alone
/// says what a file's partition values are.
fn file_path(partition_values: &BTreeMap<String, Option<String>>, layout: Layout) -> String {
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let mut path = String::new();
    for (name, value) in partition_values {
        if let Some(value) = value.as_deref().filter(|value| plain(value) && plain(name)) {
            path += &format!("{name}={value}/");
        }
    }
    path + &format!("{}{}.zstd.parquet", layout.prefix(), file_id())
}

#[allow(clippy::disallowed_methods, reason = "the name of a file; nothing depends on its value")]
fn file_id() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}

struct Encoder {
    table: String,
    schema: SchemaRef,
    layout: Layout,
    statistics: Statistics,
    chunks: mpsc::Sender<Chunk>,
}

impl Encoder {
    fn encode(mut self, pieces: impl Iterator<Item = Result<Piece, Error>>) -> Result<Statistics, Error> {
        let mut writer: Option<(SchemaRef, ArrowWriter<ChunkWriter>)> = None;
        for piece in pieces {
            match piece? {
                Piece::Rows(batch) if batch.num_rows() > 0 => {
                    let (schema, writer) = match &mut writer {
                        Some(writer) => writer,
                        empty => empty.insert(self.open(written_schema(&self.schema, &batch))?),
                    };
                    let batch = fit(&self.table, &batch, schema)?;
                    self.statistics.update(&batch);
                    writer.write(&batch).map_err(|error| self.failed(&error))?;
                }
                Piece::Rows(_) => {}
                Piece::EndOfGroup => {
                    if let Some((_, writer)) = &mut writer {
                        writer.flush().map_err(|error| self.failed(&error))?;
                    }
                }
            }
        }
        let (_, writer) = match writer {
            Some(writer) => writer,
            None => self.open(self.schema.clone())?,
        };
        let chunks = writer.into_inner().map_err(|error| self.failed(&error))?;
        chunks.finish().map_err(|error| self.failed(&error.into()))?;
        Ok(self.statistics)
    }

    fn open(&self, schema: SchemaRef) -> Result<(SchemaRef, ArrowWriter<ChunkWriter>), Error> {
        let properties = properties(self.layout).map_err(|error| self.failed(&error))?;
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let chunks = ChunkWriter { chunks: self.chunks.clone(), buffer: Vec::new() };
        let writer = ArrowWriter::try_new_with_options(chunks, schema.clone(), options);
        Ok((schema, writer.map_err(|error| self.failed(&error))?))
    }

    fn failed(&self, error: &parquet::errors::ParquetError) -> Error {
        error::parquet(&self.table, "encode a file", error)
    }
}

fn properties(layout: Layout) -> Result<WriterProperties, parquet::errors::ParquetError> {
    let event_id = ColumnPath::from("event_id");
    let level = match layout {
        Layout::Log => FLUSHED_ZSTD_LEVEL,
        Layout::Sorted => SORTED_ZSTD_LEVEL,
    };
    let common = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(level)?))
        .set_max_row_group_bytes(Some(GROUP_BYTES_MAX))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_dictionary_enabled(event_id.clone(), false)
        .set_created_by(format!("playhead {}", env!("CARGO_PKG_VERSION")));
    let properties = match layout {
        Layout::Log => common.set_max_row_group_row_count(Some(GROUP_ROWS_MAX)).set_offset_index_disabled(true),
        // No bloom filter on event_id: DuckDB 1.5 finds nothing through one where rows are (decision 14).
        Layout::Sorted => sorted_columns(common)
            .set_max_row_group_row_count(Some(SORTED_GROUP_ROWS_MAX))
            .set_column_encoding(event_id, Encoding::DELTA_LENGTH_BYTE_ARRAY),
    };
    Ok(properties.build())
}

/// What each column of a sorted file is stored as.
fn sorted_columns(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
    let properties = DELTAS.iter().fold(properties, |properties, name| {
        let column = ColumnPath::from(*name);
        properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED)
    });
    let properties = WITHOUT_DICTIONARY
        .iter()
        .fold(properties, |properties, name| properties.set_column_dictionary_enabled(ColumnPath::from(*name), false));
    BOUNDED.iter().fold(properties, |properties, name| {
        properties.set_column_statistics_enabled(ColumnPath::from(*name), EnabledStatistics::Page)
    })
}

/// The table's columns, but strings that come as dictionaries stay so: Parquet writes them as strings all the same,
/// without unpacking them first.
fn written_schema(table: &Schema, first: &RecordBatch) -> SchemaRef {
    let fields = table.fields().iter().map(|field| {
        let given = first.schema_ref().field_with_name(field.name()).map(|given| given.data_type().clone());
        match (field.data_type(), given) {
            (DataType::Utf8, Ok(DataType::Dictionary(key, value))) if *value == DataType::Utf8 => {
                Arc::new(Field::clone(field).with_data_type(DataType::Dictionary(key, value)))
            }
            _ => field.clone(),
        }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The batch with exactly the columns of `schema`.
pub(crate) fn fit(table: &str, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    // Nearly always the same columns in the same order: a search by name for each of seventy is seventy comparisons.
    let given = batch.schema_ref().fields();
    let in_order = given.len() == schema.fields().len()
        && given.iter().zip(schema.fields()).all(|(given, wanted)| given.name() == wanted.name());
    if !in_order && let Some(stray) = given.iter().find(|f| schema.field_with_name(f.name()).is_err()) {
        let reason = format!("its data files have no column {} ({})", stray.name(), stray.data_type());
        return Err(Error::incompatible(table, reason));
    }
    let columns: Result<Vec<ArrayRef>, Error> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            match in_order.then(|| batch.column(index)).or_else(|| batch.column_by_name(field.name())) {
                Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
                Some(column) => arrow_cast::cast(column, field.data_type())
                    .map_err(|error| Error::incompatible(table, format!("column {}: {error}", field.name()))),
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            }
        })
        .collect();
    RecordBatch::try_new(schema.clone(), columns?)
        .map_err(|error| Error::incompatible(table, format!("a batch does not fit: {error}")))
}

/// Gathers what the encoder writes and hands it on in chunks; waits while the upload is behind.
struct ChunkWriter {
    chunks: mpsc::Sender<Chunk>,
    buffer: Vec<u8>,
}

impl ChunkWriter {
    fn hand_on(&mut self) -> std::io::Result<()> {
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.send(Chunk::Bytes(chunk))
    }

    fn send(&self, chunk: Chunk) -> std::io::Result<()> {
        let closed = |_| std::io::Error::new(std::io::ErrorKind::BrokenPipe, "the upload of the file stopped");
        self.chunks.blocking_send(chunk).map_err(closed)
    }

    fn finish(mut self) -> std::io::Result<()> {
        if !self.buffer.is_empty() {
            self.hand_on()?;
        }
        self.send(Chunk::End)
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK_BYTES {
            self.hand_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Puts the chunks at `path`: one put when it is one chunk, else a multipart upload. `None` when the encoder failed:
/// then nothing is there.
async fn upload(
    store: &dyn ObjectStore,
    path: &StorePath,
    mut chunks: mpsc::Receiver<Chunk>,
    mode: PutMode,
) -> object_store::Result<Option<u64>> {
    let Some(Chunk::Bytes(first)) = chunks.recv().await else { return Ok(None) };
    let second = match chunks.recv().await {
        Some(Chunk::Bytes(second)) => second,
        Some(Chunk::End) => {
            let bytes = first.len() as u64;
            store.put_opts(path, first.into(), PutOptions { mode, ..PutOptions::default() }).await?;
            return Ok(Some(bytes));
        }
        None => return Ok(None),
    };
    let mut parts = store.put_multipart(path).await?;
    let uploaded = upload_parts(parts.as_mut(), [first, second], &mut chunks).await;
    if !matches!(uploaded, Ok(Some(_)))
        && let Err(error) = parts.abort().await
    {
        tracing::warn!(path = %path, %error, "parts of an upload stay until the store's own rule deletes them");
    }
    uploaded
}

async fn upload_parts(
    parts: &mut dyn MultipartUpload,
    waiting: [Bytes; 2],
    chunks: &mut mpsc::Receiver<Chunk>,
) -> object_store::Result<Option<u64>> {
    let mut bytes = 0;
    for chunk in waiting {
        bytes += chunk.len() as u64;
        parts.put_part(chunk.into()).await?;
    }
    loop {
        match chunks.recv().await {
            Some(Chunk::Bytes(chunk)) => {
                bytes += chunk.len() as u64;
                parts.put_part(chunk.into()).await?;
            }
            Some(Chunk::End) => break,
            None => return Ok(None),
        }
    }
    parts.complete().await?;
    Ok(Some(bytes))
}
