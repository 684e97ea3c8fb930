//! A rollup as it is now, as JSON: of each window the rows that were asked for.
use super::ask::Ask;
use crate::clock::rfc3339;
use arrow_array::cast::AsArray;
use arrow_array::{BooleanArray, RecordBatch, StringArray};
use arrow_cast::cast;
use arrow_json::writer::{JsonArray, WriterBuilder};
use arrow_ord::sort::{SortOptions, sort_to_indices};
use arrow_schema::{ArrowError, DataType};
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take_record_batch;
use processor::live::{Shown, Window};
use serde_json::{Value, json};

/// `{rollup, at, watermark, missing_partitions, windows: [{window_start, window_end, open, events, groups, rows: [{...}]}]}`, the newest window
/// first; those that have not begun yet, of players whose clocks are ahead, are left out. `Err`: what was asked for is not
/// there.
pub fn of(rollup: &str, shown: &Shown, ask: &Ask) -> Result<Value, String> {
    let begun = shown.windows.iter().rev().filter(|window| window.rows.start_us <= shown.at);
    let windows = begun.take(ask.windows).map(|window| of_window(window, ask));
    Ok(json!({
        "rollup": rollup,
        "at": rfc3339(shown.at),
        "watermark": shown.watermark_us.and_then(rfc3339),
        "missing_partitions": shown.missing,
        "windows": windows.collect::<Result<Vec<_>, _>>()?,
    }))
}

fn of_window(window: &Window, ask: &Ask) -> Result<Value, String> {
    let rows = &window.rows;
    Ok(json!({
        "window_start": rfc3339(rows.start_us),
        "window_end": rfc3339(rows.end_us),
        "open": window.is_open,
        "events": rows.events,
        "groups": rows.rows.num_rows(),
        "rows": as_json(&chosen(&rows.rows, ask)?).map_err(|error| error.to_string())?,
    }))
}

/// The rows that pass the filters, those with the largest measure first.
fn chosen(rows: &RecordBatch, ask: &Ask) -> Result<RecordBatch, String> {
    let mut rows = rows.clone();
    for (name, text) in &ask.filters {
        let keep = has_text(&rows, name, text)?;
        rows = filter_record_batch(&rows, &keep).map_err(|error| error.to_string())?;
    }
    let Some(measure) = measure(&rows, ask.by.as_deref())? else {
        return Ok(rows.slice(0, ask.top.min(rows.num_rows())));
    };
    let largest = Some(SortOptions { descending: true, nulls_first: false });
    let taken = sort_to_indices(rows.column(measure), largest, Some(ask.top));
    taken.and_then(|taken| take_record_batch(&rows, &taken)).map_err(|error| error.to_string())
}

fn has_text(rows: &RecordBatch, name: &str, text: &str) -> Result<BooleanArray, String> {
    let column = rows.column_by_name(name).ok_or_else(|| no_column(rows, name))?;
    let texts = cast(column, &DataType::Utf8).map_err(|_| format!("column {name} can't be compared with a text"))?;
    let texts: &StringArray = texts.as_string();
    Ok(texts.iter().map(|held| Some(held == Some(text))).collect())
}

fn measure(rows: &RecordBatch, by: Option<&str>) -> Result<Option<usize>, String> {
    let schema = rows.schema();
    match by {
        Some(name) => schema.index_of(name).map(Some).map_err(|_| no_column(rows, name)),
        None => Ok(schema.fields().iter().position(|field| field.data_type().is_numeric())),
    }
}

fn no_column(rows: &RecordBatch, name: &str) -> String {
    let names: Vec<String> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    format!("there is no column {name}; there are: {}", names.join(", "))
}

fn as_json(rows: &RecordBatch) -> Result<Value, ArrowError> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    writer.write(rows)?;
    writer.finish()?;
    let text = writer.into_inner();
    match text.is_empty() {
        true => Ok(json!([])),
        false => serde_json::from_slice(&text).map_err(|error| ArrowError::JsonError(error.to_string())),
    }
}
