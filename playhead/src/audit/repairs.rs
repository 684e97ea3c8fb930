//! Where in the log the rows of wrong windows came from: a window may be wrong because values of its events were changed.
use crate::outcome::Error;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use event::schema::Column;
use futures::TryStreamExt;
use lake::table::Table;
use std::collections::BTreeMap;
use std::ops::Range;

/// Times (µs) that overlap or follow each other, as one.
pub fn merged(times: impl IntoIterator<Item = Range<i64>>) -> Vec<Range<i64>> {
    let mut sorted: Vec<Range<i64>> = times.into_iter().collect();
    sorted.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<i64>> = Vec::new();
    for range in sorted {
        match merged.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => merged.push(range),
        }
    }
    merged
}

/// First and last offset, by partition, of the rows of `events` in these times (as [`merged`] gives them).
pub async fn offsets_within(events: &Table, times: &[Range<i64>]) -> Result<BTreeMap<i32, (i64, i64)>, Error> {
    let columns = [Column::EVENT_TIME.name(), "_partition", "_offset"];
    let is_within = |time: i64| {
        let next = times.partition_point(|range| range.end <= time);
        times.get(next).is_some_and(|range| range.contains(&time))
    };
    let mut found = BTreeMap::<i32, (i64, i64)>::new();
    for file in events.files_within(columns[0], times).await? {
        let mut batches = events.read_file(&file.path, Some(&columns)).await?;
        while let Some(batch) = batches.try_next().await? {
            let [time, partition, offset] = columns.map(|name| batch.column_by_name(name));
            let (Some(time), Some(partition), Some(offset)) = (time, partition, offset) else {
                return Err(format!("{} has rows without a time or a place in the log", file.path).into());
            };
            let times = time.as_primitive::<TimestampMicrosecondType>().values().iter();
            let places = partition.as_primitive::<Int32Type>().values().iter();
            let places = places.zip(offset.as_primitive::<Int64Type>().values());
            for (_, (partition, offset)) in times.zip(places).filter(|(time, _)| is_within(**time)) {
                let of = found.entry(*partition).or_insert((*offset, *offset));
                *of = (of.0.min(*offset), of.1.max(*offset));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::merged;

    #[test]
    fn times_that_overlap_or_touch_are_one() {
        assert_eq!(merged([10..20, 0..5, 5..7, 15..30, 40..41]), [0..7, 10..30, 40..41]);
        assert_eq!(merged([]), []);
    }
}
