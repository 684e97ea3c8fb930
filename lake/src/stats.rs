//! Statistics of a data file, as the Delta protocol writes them in an Add: numRecords, minValues, maxValues,
//! nullCount ("Per-file Statistics"). A bound may be loose, never wrong: timestamps have milliseconds there, so a
//! minimum is rounded down and a maximum up; long strings are cut the same way.
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Date32Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta};
use serde_json::{Map, Value, json};

/// Characters of a string bound; longer ones are cut.
const CHARS_MAX: usize = 64;

/// Gathers the statistics of some columns over the batches of one file.
#[derive(Debug)]
pub(crate) struct Statistics {
    rows: u64,
    columns: Vec<ColumnStatistics>,
}

#[derive(Debug)]
struct ColumnStatistics {
    name: String,
    nulls: u64,
    bounds: Option<Bounds>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Bounds {
    Int(i64, i64),
    Date(i64, i64),
    Micros(i64, i64),
    Text(String, String),
}

impl Statistics {
    pub(crate) fn new(columns: &[String]) -> Statistics {
        let columns = columns.iter().map(|name| ColumnStatistics { name: name.clone(), nulls: 0, bounds: None });
        Statistics { rows: 0, columns: columns.collect() }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn update(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        for column in &mut self.columns {
            if let Some(array) = batch.column_by_name(&column.name) {
                column.nulls += array.logical_null_count() as u64;
                column.bounds = Bounds::merge(column.bounds.take(), bounds(array));
            }
        }
    }

    /// Delta's stats JSON.
    pub(crate) fn json(&self) -> String {
        let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
        for column in &self.columns {
            nulls.insert(column.name.clone(), json!(column.nulls));
            if let Some(bounds) = &column.bounds {
                let (low, high) = bounds.values();
                min.extend(low.map(|value| (column.name.clone(), value)));
                max.extend(high.map(|value| (column.name.clone(), value)));
            }
        }
        json!({"numRecords": self.rows, "minValues": min, "maxValues": max, "nullCount": nulls}).to_string()
    }
}

/// What the Delta log says of a file's columns: bounds that may be loose and are never wrong.
#[derive(Debug, Clone, Default)]
pub struct FileStatistics(Value);

impl FileStatistics {
    pub(crate) fn of(json: Option<&str>) -> FileStatistics {
        FileStatistics(json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default())
    }

    /// A value that none of the column is below, as the log writes it: a timestamp in RFC 3339, a date as `2026-11-22`.
    pub fn min(&self, column: &str) -> Option<String> {
        text(&self.0["minValues"][column])
    }

    /// A value that none of the column is above; timestamps may be cut to their milliseconds (the protocol lets writers).
    pub fn max(&self, column: &str) -> Option<String> {
        text(&self.0["maxValues"][column])
    }

    /// How many of the column are null.
    pub fn nulls(&self, column: &str) -> Option<u64> {
        self.0["nullCount"][column].as_u64()
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Smallest and largest value of a time column, µs, as a file's statistics say; without them every time is possible.
pub(crate) fn times_of(json: Option<&str>, column: &str) -> (i64, i64) {
    let stats = FileStatistics::of(json);
    let time = |bound: Option<String>| DateTime::parse_from_rfc3339(&bound?).ok();
    let min = time(stats.min(column)).map_or(i64::MIN, |min| min.timestamp_micros());
    // Others cut a largest value to its milliseconds (the protocol lets them).
    let max = time(stats.max(column)).map_or(i64::MAX, |max| max.timestamp_micros().saturating_add(999));
    (min, max)
}

impl Bounds {
    fn merge(left: Option<Bounds>, right: Option<Bounds>) -> Option<Bounds> {
        match (left, right) {
            (Some(Bounds::Int(a, b)), Some(Bounds::Int(c, d))) => Some(Bounds::Int(a.min(c), b.max(d))),
            (Some(Bounds::Date(a, b)), Some(Bounds::Date(c, d))) => Some(Bounds::Date(a.min(c), b.max(d))),
            (Some(Bounds::Micros(a, b)), Some(Bounds::Micros(c, d))) => Some(Bounds::Micros(a.min(c), b.max(d))),
            (Some(Bounds::Text(a, b)), Some(Bounds::Text(c, d))) => Some(Bounds::Text(a.min(c), b.max(d))),
            (left, right) => left.or(right),
        }
    }

    /// Smallest and largest value as the log writes them; a bound that can't be written rightly is left out.
    fn values(&self) -> (Option<Value>, Option<Value>) {
        match self {
            Bounds::Int(min, max) => (Some(json!(min)), Some(json!(max))),
            Bounds::Date(min, max) => (date(*min), date(*max)),
            Bounds::Micros(min, max) => (timestamp(min.div_euclid(1000)), timestamp(ceil_ms(*max))),
            Bounds::Text(min, max) => (Some(json!(cut(min))), cut_up(max).map(Value::from)),
        }
    }
}

fn bounds(array: &ArrayRef) -> Option<Bounds> {
    match array.data_type() {
        DataType::Int16 => extremes::<Int16Type>(array).map(|(min, max)| Bounds::Int(min.into(), max.into())),
        DataType::Int32 => extremes::<Int32Type>(array).map(|(min, max)| Bounds::Int(min.into(), max.into())),
        DataType::Int64 => extremes::<Int64Type>(array).map(|(min, max)| Bounds::Int(min, max)),
        DataType::Date32 => extremes::<Date32Type>(array).map(|(min, max)| Bounds::Date(min.into(), max.into())),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            extremes::<TimestampMicrosecondType>(array).map(|(min, max)| Bounds::Micros(min, max))
        }
        DataType::Utf8 => text_bounds(array.as_string::<i32>().iter()),
        DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8 => {
            let values = array.as_dictionary::<Int32Type>();
            text_bounds(values.downcast_dict::<arrow_array::StringArray>()?.into_iter())
        }
        _ => None,
    }
}

fn extremes<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<(T::Native, T::Native)>
where
    T::Native: PartialOrd,
{
    let array = array.as_primitive::<T>();
    let mut values = array.iter().flatten();
    let first = values.next()?;
    Some(values.fold((first, first), |(min, max), value| {
        (if value < min { value } else { min }, if value > max { value } else { max })
    }))
}

fn text_bounds<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Option<Bounds> {
    let mut values = values.flatten();
    let first = values.next()?;
    let (min, max) = values.fold((first, first), |(min, max), value| (min.min(value), max.max(value)));
    Some(Bounds::Text(min.to_owned(), max.to_owned()))
}

fn date(days: i64) -> Option<Value> {
    let date = NaiveDate::from_ymd_opt(1970, 1, 1)?.checked_add_signed(TimeDelta::try_days(days)?)?;
    Some(json!(date.format("%Y-%m-%d").to_string()))
}

fn ceil_ms(micros: i64) -> i64 {
    micros.div_euclid(1000) + i64::from(micros.rem_euclid(1000) != 0)
}

fn timestamp(ms: i64) -> Option<Value> {
    Some(json!(DateTime::from_timestamp_millis(ms)?.to_rfc3339_opts(SecondsFormat::Millis, true)))
}

/// A prefix: never above the value.
fn cut(value: &str) -> String {
    value.chars().take(CHARS_MAX).collect()
}

/// A prefix and the largest character: never below the value, unless what follows begins with that very character.
fn cut_up(value: &str) -> Option<String> {
    let mut rest = value.chars().skip(CHARS_MAX);
    match rest.next() {
        None => Some(value.to_owned()),
        Some(char::MAX) => None,
        Some(_) => Some(cut(value) + &char::MAX.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, StringArray, TimestampMicrosecondArray};
    use std::sync::Arc;

    fn of(name: &str, arrays: Vec<ArrayRef>) -> Value {
        let mut statistics = Statistics::new(&[name.to_owned()]);
        for array in arrays {
            statistics.update(&RecordBatch::try_from_iter([(name, array)]).unwrap());
        }
        serde_json::from_str(&statistics.json()).unwrap()
    }

    #[test]
    fn bounds_reach_over_all_batches_and_nulls_are_counted() {
        let stats = of(
            "n",
            vec![
                Arc::new(Int64Array::from(vec![Some(5), None, Some(-7)])),
                Arc::new(Int64Array::from(vec![None, Some(9)])),
            ],
        );
        assert_eq!(stats["numRecords"], 5);
        assert_eq!((&stats["minValues"]["n"], &stats["maxValues"]["n"]), (&json!(-7), &json!(9)));
        assert_eq!(stats["nullCount"]["n"], 2);
    }

    #[test]
    fn a_timestamp_bound_is_rounded_away_from_the_values() {
        let times = TimestampMicrosecondArray::from(vec![1_000_001, 1_999_001, 1_500_000]).with_timezone("UTC");
        let stats = of("t", vec![Arc::new(times)]);
        assert_eq!(stats["minValues"]["t"], "1970-01-01T00:00:01.000Z");
        assert_eq!(stats["maxValues"]["t"], "1970-01-01T00:00:02.000Z");
        let before = TimestampMicrosecondArray::from(vec![-1, -1_001]).with_timezone("UTC");
        let stats = of("t", vec![Arc::new(before)]);
        assert_eq!(stats["minValues"]["t"], "1969-12-31T23:59:59.998Z");
        assert_eq!(stats["maxValues"]["t"], "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_long_string_is_cut_so_that_the_bound_still_holds() {
        let long = "é".repeat(80);
        let stats = of("s", vec![Arc::new(StringArray::from(vec![long.as_str()]))]);
        let (min, max) = (stats["minValues"]["s"].as_str().unwrap(), stats["maxValues"]["s"].as_str().unwrap());
        assert!(min <= long.as_str() && long.as_str() <= max, "{min} {max}");
        assert_eq!(min.chars().count(), CHARS_MAX);
        let unbounded = "x".repeat(CHARS_MAX) + &char::MAX.to_string();
        let stats = of("s", vec![Arc::new(StringArray::from(vec![unbounded]))]);
        assert!(stats["maxValues"].get("s").is_none());
    }

    #[test]
    fn a_column_of_nulls_has_no_bounds() {
        let stats = of("s", vec![Arc::new(StringArray::new_null(3))]);
        assert!(stats["minValues"].get("s").is_none());
        assert_eq!(stats["nullCount"]["s"], 3);
    }
}
