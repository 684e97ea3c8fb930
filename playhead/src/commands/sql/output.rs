//! Rows as people and programs read them.
use crate::cli::Format;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, MapArray, RecordBatch, StringArray, StructArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_cast::pretty::pretty_format_batches_with_options;
use arrow_cast::{can_cast_types, cast};
use arrow_json::WriterBuilder as JsonWriter;
use arrow_json::writer::LineDelimited;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use datafusion::common::{DataFusionError, Result};
use datafusion::dataframe::DataFrame;
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::io::Write;
use std::sync::Arc;

/// Rows that a table of people has at most: all of them are held, for the width of its columns.
const TABLE_ROWS_MAX: usize = 10_000;
/// Characters of a binary in such a table.
const BINARY_SHOWN: usize = 8;

/// The column of 16 bytes that is shown as a UUID.
const EVENT_ID: &str = "event_id";

/// Writes the rows of a query as they come; a table when all are there.
pub async fn write(rows: DataFrame, format: Format, mut to: impl Write + Send) -> Result<()> {
    if format == Format::Table {
        return table(rows, to).await;
    }
    let schema = Arc::new(rows.schema().as_arrow().clone());
    let mut batches = rows.execute_stream().await?;
    match format {
        Format::Csv => {
            let mut writer = arrow_csv::WriterBuilder::new().with_header(true).build(&mut to);
            writer.write(&as_text(&RecordBatch::new_empty(schema))?)?;
            while let Some(batch) = batches.try_next().await? {
                writer.write(&as_text(&batch)?)?;
            }
        }
        Format::Parquet => {
            let zstd = Compression::ZSTD(ZstdLevel::default());
            let properties = WriterProperties::builder().set_compression(zstd).build();
            let mut writer = ArrowWriter::try_new(&mut to, schema, Some(properties))?;
            while let Some(batch) = batches.try_next().await? {
                writer.write(&batch)?;
            }
            writer.close()?;
        }
        Format::Json | Format::Table => {
            while let Some(batch) = batches.try_next().await? {
                let mut writer = JsonWriter::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut to);
                writer.write(&as_json(&batch)?)?;
                writer.finish()?;
            }
        }
    }
    Ok(to.flush()?)
}

async fn table(rows: DataFrame, mut to: impl Write) -> Result<()> {
    let schema = Arc::new(rows.schema().as_arrow().clone());
    let mut batches = rows.execute_stream().await?;
    let (mut shown, mut held, mut more) = (vec![for_people(&RecordBatch::new_empty(schema))?], 0, false);
    while let Some(batch) = batches.try_next().await? {
        let taken = batch.num_rows().min(TABLE_ROWS_MAX - held);
        more = taken < batch.num_rows();
        shown.push(for_people(&batch.slice(0, taken))?);
        held += taken;
        if more {
            break;
        }
    }
    let options = FormatOptions::new().with_null("");
    writeln!(to, "{}", pretty_format_batches_with_options(&shown, &options)?)?;
    match more {
        true => writeln!(to, "(the first {held} rows: LIMIT says how many, --format csv, json or parquet takes all)")?,
        false => writeln!(to, "({held} {})", if held == 1 { "row" } else { "rows" })?,
    }
    Ok(to.flush()?)
}

/// Every column as `change` makes it; `None`: as it is.
fn changed(batch: &RecordBatch, change: impl Fn(&Field, &ArrayRef) -> Result<Option<ArrayRef>>) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let made = if field.name() == EVENT_ID && *field.data_type() == DataType::Binary {
            Some(query::bin_to_uuid(column)?)
        } else {
            change(field, column)?
        };
        let column = made.unwrap_or_else(|| column.clone());
        fields.push(field.as_ref().clone().with_data_type(column.data_type().clone()).with_nullable(true));
        columns.push(column);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Sketches are long, and nothing to read.
fn for_people(batch: &RecordBatch) -> Result<RecordBatch> {
    changed(batch, |field, column| {
        let DataType::Binary = field.data_type() else { return Ok(None) };
        let short = |value: &[u8]| {
            let shown: String = value.iter().take(BINARY_SHOWN / 2).map(|byte| format!("{byte:02x}")).collect();
            match value.len() > BINARY_SHOWN / 2 {
                true => format!("{shown}... ({} bytes)", value.len()),
                false => shown,
            }
        };
        let texts = column.as_binary::<i32>().iter().map(|value| value.map(short));
        Ok(Some(Arc::new(texts.collect::<StringArray>())))
    })
}

/// CSV knows no maps and lists.
fn as_text(batch: &RecordBatch) -> Result<RecordBatch> {
    changed(batch, |field, column| {
        if !field.data_type().is_nested() {
            return Ok(None);
        }
        let options = FormatOptions::new();
        let formatter = ArrayFormatter::try_new(column, &options)?;
        let text = |row| (!column.is_null(row)).then(|| formatter.value(row).to_string());
        Ok(Some(Arc::new((0..column.len()).map(text).collect::<StringArray>())))
    })
}

/// The keys of JSON's objects are texts.
fn as_json(batch: &RecordBatch) -> Result<RecordBatch> {
    changed(batch, |field, column| match field.data_type() {
        DataType::Map(..) => Ok(Some(Arc::new(with_text_keys(column.as_map())?))),
        _ => Ok(None),
    })
}

fn with_text_keys(map: &MapArray) -> Result<MapArray> {
    let (keys, values) = (map.keys(), map.values());
    if !can_cast_types(keys.data_type(), &DataType::Utf8) {
        let reason = format!("a map whose keys are {} has no JSON: use another format", keys.data_type());
        return Err(DataFusionError::ArrowError(Box::new(ArrowError::JsonError(reason)), None));
    }
    let entries = StructArray::from(vec![
        (Arc::new(Field::new("key", DataType::Utf8, false)), cast(keys, &DataType::Utf8)?),
        (Arc::new(Field::new("value", values.data_type().clone(), true)), values.clone()),
    ]);
    let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    Ok(MapArray::try_new(field, map.offsets().clone(), entries, map.nulls().cloned(), false)?)
}
