//! The table of a rollup's days: its columns, and which days it has as their windows are now.
use super::due::Day;
use super::merging::Merging;
use crate::limits::DAYS_MAX;
use crate::table::{START, base_of, day, reached, time_field};
use arrow_schema::{DataType, Field, Schema};
use event::date::Date;
use lake::table::{ActiveFile, Error, Spec, Table};
use lake::tables::{DAY_US, PARTITIONS, properties};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Partition column: the UTC date of `window_start`.
pub(super) const DATE: &str = "window_date";

/// Property: the id of the rollup's table that the rows are of.
const OF: &str = "playhead.days.of";

/// `window_start, window_end`, when the day was computed, what the rollup's SQL makes, the states of its sketches.
pub(super) fn spec(rollup: &Table, merging: &Merging) -> Result<Spec, Error> {
    let held = rollup.schema();
    let mut fields = Vec::new();
    for name in merging.columns() {
        let field =
            held.field_with_name(name).map_err(|_| incompatible(rollup, &format!("it has no column {name}")))?;
        fields.push(field.clone());
    }
    fields.insert(2, time_field("closed_at"));
    fields.push(Field::new(DATE, DataType::Date32, false));
    let partitions = rollup.property(PARTITIONS).and_then(|count| count.parse().ok()).unwrap_or_default();
    let mut properties = properties(partitions);
    properties.insert(OF.to_owned(), rollup.id());
    Ok(Spec {
        schema: Arc::new(Schema::new(fields)),
        partition_columns: vec![DATE.to_owned()],
        properties,
        statistics_columns: vec![START.to_owned(), "window_end".to_owned()],
    })
}

/// Refuses a table that is of another rollup's table: one that was made anew since.
pub(super) fn check(days: &Table, rollup: &Table) -> Result<(), Error> {
    match is_of(days, rollup) {
        true => Ok(()),
        false => Err(incompatible(
            days,
            "it holds the days of another table of this rollup, which was made anew or moved: move it away, and it is made again",
        )),
    }
}

fn is_of(days: &Table, rollup: &Table) -> bool {
    days.property(OF) == Some(rollup.id())
}

fn incompatible(table: &Table, reason: &str) -> Error {
    Error::Incompatible { table: table.name().to_owned(), reason: reason.to_owned() }
}

/// The days that the rollup may have rows of, or did, and whose windows, of `length_us`, are all closed.
pub(super) async fn over(name: &str, length_us: i64, rollup: &Table, days: Option<&Table>) -> Result<Vec<Day>, Error> {
    let Some((closed_to_us, _)) = reached(name, rollup).await? else { return Ok(Vec::new()) };
    let end = closed_to_us.saturating_sub(length_us).div_euclid(DAY_US);
    let within = end.saturating_sub(DAYS_MAX)..end;
    let mut numbers = of_files(rollup, &within);
    if let Some(days) = days {
        numbers.extend(of_files(days, &within));
    }
    let mut over = Vec::new();
    for number in numbers {
        over.push(look(name, number, rollup, days).await?);
    }
    Ok(over)
}

/// Days that rows of the table's files may be of.
fn of_files(table: &Table, within: &Range<i64>) -> BTreeSet<i64> {
    let days = |(min, max): (i64, i64)| {
        let (first, last) = (min.div_euclid(DAY_US), max.div_euclid(DAY_US));
        first.max(within.start)..last.saturating_add(1).min(within.end)
    };
    table.times(START).flat_map(days).collect()
}

/// What the two tables say of a day.
pub(super) async fn look(name: &str, number: i64, rollup: &Table, days: Option<&Table>) -> Result<Day, Error> {
    let txn = day(&base_of(rollup, name), number);
    let computed = match days {
        Some(days) => days.txn(&txn).await?,
        None => None,
    };
    Ok(Day { number, corrected: rollup.txn(&txn).await?.unwrap_or(0), computed })
}

/// The files of a day.
pub(super) async fn files(days: &Table, number: i64) -> Result<Vec<ActiveFile>, Error> {
    let date = date(number);
    let is_of = |file: &ActiveFile| file.partition_values.get(DATE) == Some(&date);
    Ok(days.files().await?.into_iter().filter(is_of).collect())
}

/// As Delta writes it.
pub(super) fn date(number: i64) -> Option<String> {
    Date::of(number.saturating_mul(DAY_US)).map(|date| date.to_string())
}

/// Times, µs, of the days that the table `days` has as the rollup's windows are in this snapshot of its table; neighbours together.
///
/// # Errors
/// As [`Table::txn`].
pub async fn kept(name: &str, rollup: &Table, days: &Table) -> Result<Vec<Range<i64>>, Error> {
    if !is_of(days, rollup) {
        return Ok(Vec::new());
    }
    let mut kept: Vec<Range<i64>> = Vec::new();
    for day in over(name, 0, rollup, Some(days)).await? {
        if !day.is_kept() {
            continue;
        }
        let time = day.number * DAY_US..(day.number + 1) * DAY_US;
        match kept.last_mut() {
            Some(last) if last.end == time.start => last.end = time.end,
            _ => kept.push(time),
        }
    }
    Ok(kept)
}
