//! Reading data files: columns of one file, in batches, typed as the table is.
use crate::error::{self, Error};
use crate::table::Table;
use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::BoxStream;
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
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
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
        let failed = |error: &ParquetError| error::parquet(&self.name, &format!("read {path}"), error);
        let path = self.store_path(path)?;
        let head = self.store.head(&path).await.map_err(|error| failed(&external(error)))?;
        let mut file = StoreFile { store: self.store.clone(), path, bytes: head.size };
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
