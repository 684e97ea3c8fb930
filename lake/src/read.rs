//! Reading data files: columns of one file, in batches, typed as the table is.
use crate::error::{self, Error};
use crate::table::Table;
use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use std::ops::Range;
use std::sync::Arc;

/// Rows of a batch that is read.
const BATCH_ROWS: usize = 8192;
/// Read from a file's end at once: a footer of 70 columns and a few row groups fits.
const FOOTER_BYTES: usize = 64 << 10;

/// Bytes of one request at most: one that ends within its time on a slow network too.
const REQUEST_BYTES_MAX: u64 = 8 << 20;
/// A gap between two ranges below this is read with them.
const GAP_BYTES_MAX: u64 = 1 << 20;
/// Requests for one row group at the same time.
const REQUESTS_AT_ONCE: usize = 4;

/// One file of the store, for the Parquet reader.
#[derive(Debug, Clone)]
pub(crate) struct StoreFile {
    store: Arc<dyn ObjectStore>,
    path: StorePath,
    bytes: u64,
}

impl AsyncFileReader for StoreFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move { self.store.get_range(&self.path, range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            let requests = requests(&ranges).into_iter().map(|range| {
                let (store, path) = (self.store.clone(), self.path.clone());
                async move { Ok((range.start, store.get_range(&path, range).await?)) }
            });
            let read: Vec<_> = futures::stream::iter(requests.collect::<Vec<_>>())
                .buffered(REQUESTS_AT_ONCE)
                .try_collect()
                .await
                .map_err(external)?;
            ranges.into_iter().map(|range| part(&read, range).ok_or_else(short)).collect()
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let bytes = self.bytes;
            let reader = ParquetMetaDataReader::new()
                .with_metadata_options(options.map(|options| options.metadata_options().clone()))
                .with_prefetch_hint(Some(FOOTER_BYTES));
            reader.load_and_finish(self, bytes).await.map(Arc::new)
        }
        .boxed()
    }
}

/// The requests that cover `ranges`, in order: neighbours together, none larger than [`REQUEST_BYTES_MAX`].
fn requests(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
    sorted.sort_by_key(|range| range.start);
    let mut spans: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match spans.last_mut() {
            Some(last) if range.start <= last.end + GAP_BYTES_MAX => last.end = last.end.max(range.end),
            _ => spans.push(range),
        }
    }
    let cut = |span: Range<u64>| {
        let starts = (span.start..span.end).step_by(REQUEST_BYTES_MAX as usize);
        starts.map(move |start| start..span.end.min(start + REQUEST_BYTES_MAX))
    };
    spans.into_iter().flat_map(cut).collect()
}

/// The bytes of `range` out of what was read, by offset; `None` when they are not all there.
fn part(read: &[(u64, Bytes)], range: Range<u64>) -> Option<Bytes> {
    if range.is_empty() {
        return Some(Bytes::new());
    }
    let first = read.partition_point(|(start, bytes)| start + bytes.len() as u64 <= range.start);
    let (start, bytes) = read.get(first).filter(|(start, _)| *start <= range.start)?;
    let from = (range.start - start) as usize;
    let wanted = (range.end - range.start) as usize;
    if from + wanted <= bytes.len() {
        return Some(bytes.slice(from..from + wanted));
    }
    let mut whole = Vec::with_capacity(wanted);
    whole.extend_from_slice(&bytes[from..]);
    for (start, bytes) in &read[first + 1..] {
        if *start != range.start + whole.len() as u64 {
            return None;
        }
        whole.extend_from_slice(&bytes[..bytes.len().min(wanted - whole.len())]);
        if whole.len() == wanted {
            return Some(whole.into());
        }
    }
    None
}

fn short() -> ParquetError {
    ParquetError::EOF("the store answered with fewer bytes than were asked for".to_owned())
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// A file with its footer read.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) file: StoreFile,
    pub(crate) footer: ArrowReaderMetadata,
}

impl Table {
    /// Reads columns of a file, in batches of the table's types, from this table's store; all of its columns without
    /// `columns`. Columns that the file does not have yet are nulls. Partition columns are not in the files.
    ///
    /// # Errors
    /// [`Error::Broken`] when the file is missing or is not Parquet; [`Error::Incompatible`] for a column that the
    /// table's files do not have.
    pub async fn read_file(
        &self,
        path: &str,
        columns: Option<&[&str]>,
    ) -> Result<BoxStream<'static, Result<RecordBatch, Error>>, Error> {
        let schema = match columns {
            None => self.data_schema(),
            Some(columns) => self.projected(columns)?,
        };
        let opened = self.open_file(path).await?;
        let groups = (0..opened.footer.metadata().num_row_groups()).collect();
        rows(&self.name, &opened, groups, schema)
    }

    /// Opens a file and reads its footer.
    pub(crate) async fn open_file(&self, path: &str) -> Result<Opened, Error> {
        let head = self.store.head(&self.store_path(path)?).await;
        let head = head.map_err(|error| error::parquet(&self.name, &format!("read {path}"), &external(error)))?;
        self.open_file_of(path, head.size).await
    }

    /// The same for a file of `bytes` bytes, as the log says: a request less.
    pub(crate) async fn open_file_of(&self, path: &str, bytes: u64) -> Result<Opened, Error> {
        let failed = |error: &ParquetError| error::parquet(&self.name, &format!("read {path}"), error);
        let mut file = StoreFile { store: self.store.clone(), path: self.store_path(path)?, bytes };
        let footer = ArrowReaderMetadata::load_async(&mut file, ArrowReaderOptions::new()).await;
        Ok(Opened { file, footer: footer.map_err(|error| failed(&error))? })
    }

    fn projected(&self, columns: &[&str]) -> Result<SchemaRef, Error> {
        let schema = self.data_schema();
        let fields = columns.iter().map(|name| {
            let found = schema.fields().find(name).map(|(_, field)| field.clone());
            found.ok_or_else(|| Error::incompatible(&self.name, format!("its data files have no column {name}")))
        });
        Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>, _>>()?)))
    }
}

/// The rows of some row groups of a file, with the columns of `schema`.
pub(crate) fn rows(
    table: &str,
    opened: &Opened,
    groups: Vec<usize>,
    schema: SchemaRef,
) -> Result<BoxStream<'static, Result<RecordBatch, Error>>, Error> {
    let held = opened.footer.parquet_schema().root_schema().get_fields();
    let wanted = held.iter().enumerate().filter(|(_, field)| schema.field_with_name(field.name()).is_ok());
    let mask = ProjectionMask::roots(opened.footer.parquet_schema(), wanted.map(|(index, _)| index));
    let doing = format!("read {}", opened.file.path);
    let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(opened.file.clone(), opened.footer.clone())
        .with_projection(mask)
        .with_row_groups(groups)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|error| error::parquet(table, &doing, &error))?;
    let table = table.to_owned();
    Ok(stream
        .map(move |batch| match batch {
            Ok(batch) => crate::write::fit(&table, &batch, &schema),
            Err(error) => Err(error::parquet(&table, &doing, &error)),
        })
        .boxed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn every_range_comes_out_of_bounded_requests(
            ranges in prop::collection::vec((0..40 * MIB, 0..20 * MIB), 0..6),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, length)| start..start + length).collect();
            let byte = |at: u64| (at / 4096) as u8 ^ at as u8;
            let asked = requests(&ranges);
            prop_assert!(asked.iter().all(|range| !range.is_empty() && range.end - range.start <= REQUEST_BYTES_MAX));
            prop_assert!(asked.windows(2).all(|pair| pair[0].end <= pair[1].start));
            let read: Vec<_> = asked.into_iter().map(|r| (r.start, r.map(byte).collect::<Bytes>())).collect();
            for range in ranges {
                let bytes = part(&read, range.clone()).unwrap();
                prop_assert_eq!(bytes.len() as u64, range.end - range.start);
                prop_assert!(bytes.iter().zip(range).all(|(held, at)| *held == byte(at)));
            }
        }
    }

    #[test]
    fn an_answer_with_a_hole_is_no_answer() {
        let read = [(0, Bytes::from_static(b"abc")), (4, Bytes::from_static(b"efg"))];
        assert_eq!(part(&read, 1..3).unwrap(), "bc");
        assert_eq!(part(&read, 1..6), None);
        assert_eq!(part(&read, 5..9), None);
    }
}
