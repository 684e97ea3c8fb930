//! `playhead tail`: the log's events as JSON lines, as they come.
use super::{Context, Error, Outcome};
use crate::cli::Tail;
use crate::log_source::LogSource;
use crate::terminal;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_json::LineDelimitedWriter;
use arrow_schema::{DataType, Field, Schema};
use event::codec::{self, Place};
use log::Entry;
use std::sync::Arc;

/// Prints until enough, the end (offline or asked for), a signal, or until nobody reads what is printed.
pub async fn run(context: Context, options: Tail) -> Result<Outcome, Error> {
    terminal::init_logging("warn");
    let source = LogSource::open(&context.look_at_log()?).await?;
    let printed = print(&context, &options, &source).await;
    source.close().await;
    printed.map(|()| Outcome::Right)
}

async fn print(context: &Context, options: &Tail, source: &LogSource) -> Result<(), Error> {
    let bounds = source.bounds().await?;
    if let Some(partition) = options.partition.filter(|partition| *partition as usize >= bounds.len()) {
        return Err(format!("there is no partition {partition}: the log has {}", bounds.len()).into());
    }
    // Where nothing more comes: what there is, from the start, is all there is to show.
    let follow = source.is_live() && !options.no_follow;
    let from_start = options.from_start || !follow;
    let positions = (0u32..)
        .zip(&bounds)
        .filter(|(partition, _)| options.partition.is_none_or(|only| only == *partition))
        .map(|(partition, held)| (partition, if from_start { held.start } else { held.end }));
    let mut records = source.following(positions.collect(), follow).await?;
    let mut left = options.events.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(entry) = records.next().await? else { break };
        let Some(printed) = print_record(context, source.topic(), &entry, left)? else { break };
        left -= printed;
    }
    Ok(())
}

/// Prints at most `most` rows; returns how many. `None`: nobody reads them.
fn print_record(context: &Context, topic: &str, entry: &Entry, most: u64) -> Result<Option<u64>, Error> {
    let place = Place { topic, partition: entry.partition, offset: entry.offset, timestamp: entry.timestamp };
    let decoded = codec::decode(&entry.record, place, context.config.events.bounds());
    for dead in &decoded.dead {
        terminal::note(format_args!(
            "partition {} offset {}: does not decode: {}",
            entry.partition, entry.offset, dead.reason
        ));
    }
    let rows = decoded.batch.num_rows().min(usize::try_from(most).unwrap_or(usize::MAX));
    if rows > 0 {
        let mut writer = LineDelimitedWriter::new(Vec::new());
        writer.write(&printable(&decoded.batch.slice(0, rows))?)?;
        writer.finish()?;
        if !terminal::offer(String::from_utf8_lossy(&writer.into_inner()).trim_end()) {
            return Ok(None);
        }
    }
    Ok(Some(rows as u64))
}

/// The batch with its ids as UUIDs.
fn printable(batch: &RecordBatch) -> Result<RecordBatch, Error> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if matches!(field.data_type(), DataType::FixedSizeBinary(16)) {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable())));
            columns.push(uuids(column));
        } else {
            fields.push(field.clone());
            columns.push(column.clone());
        }
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn uuids(column: &ArrayRef) -> ArrayRef {
    let ids = column.as_fixed_size_binary();
    let text = (0..ids.len()).map(|row| {
        let bytes = ids.is_valid(row).then(|| <[u8; 16]>::try_from(ids.value(row)).ok()).flatten()?;
        Some(uuid::Uuid::from_bytes(bytes).to_string())
    });
    Arc::new(text.collect::<StringArray>())
}
