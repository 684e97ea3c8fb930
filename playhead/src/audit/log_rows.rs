//! Compares the log's records, as far as they are held, with the ledger.
use super::lake_rows::DeadLetters;
use super::ledger::{Lacking, Ledger, Place, Verdicts};
use super::{Acked, Ended, Partition, Report};
use crate::config::Config;
use crate::log_source::{self, LogSource};
use crate::outcome::Error;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use event::codec::{self, Decoded};
use event::dedup::Key;
use event::schema::Column;
use lake::tables::DAY_US;
use log::{Entry, ReadError};

/// Reads every record that the log holds. Those up to the lake's position must be there, row by row; those above it are
/// on their way (`pending`).
#[allow(clippy::too_many_arguments, reason = "one pass of one audit: all of it is looked at together")]
pub async fn compare(
    config: &Config,
    log: &LogSource,
    ledger: &Ledger,
    dead: &DeadLetters,
    acked: &mut Acked,
    verdicts: &mut Verdicts,
    report: &mut Report,
    ended: Ended,
    first_pass: bool,
) -> Result<(), Error> {
    let mut partitions = std::mem::take(&mut report.partitions);
    for partition in &mut partitions {
        let mut position = partition.log_start;
        let end = partition.log_end;
        'records: while position < end {
            let Some(entries) = records(log, partition, &mut position, verdicts).await? else { continue };
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                // Written since the audit began.
                if entry.offset >= end {
                    break 'records;
                }
                if first_pass {
                    count(&entry, position, log.is_gapless(), partition, verdicts);
                }
                position = entry.offset + 1;
                let place = codec::Place {
                    topic: log.topic(),
                    partition: entry.partition,
                    offset: entry.offset,
                    timestamp: entry.timestamp,
                };
                let decoded = codec::decode(&entry.record, place, config.events.bounds());
                if partition.last_offset.is_some_and(|last| entry.offset <= last) {
                    rows_are_there(&entry, &decoded, ledger, (ended, acked), verdicts)?;
                    if first_pass {
                        dead_letters_are_there(&entry, &decoded, dead, ended, verdicts);
                    }
                } else {
                    for key in keys(&decoded)?.filter(|key| ledger.covers(key.id)) {
                        verdicts.pending += 1;
                        acked.mark_pending(key.id);
                    }
                }
            }
        }
        if first_pass && position < end && !log.is_gapless() {
            partition.offsets_unused += end - position;
        } else if first_pass && position < end {
            verdicts.lack(format!(
                "partition {}: the log said it goes to {}, and ends at {position}",
                partition.partition, partition.log_end
            ));
        }
    }
    if first_pass && dead.repeated() > 0 {
        report.duplicates += dead.repeated();
        report.find(format!("{} dead letters stand more than once", dead.repeated()));
    }
    report.partitions = partitions;
    Ok(())
}

/// Records from `position` on. `None`: retention has moved the log's start beyond it since the audit began: what was
/// dropped is judged by the table's totals from now on, as all that was dropped before.
async fn records(
    log: &LogSource,
    partition: &mut Partition,
    position: &mut u64,
    verdicts: &mut Verdicts,
) -> Result<Option<Vec<Entry>>, Error> {
    let start = match log.read(partition.partition, *position).await {
        // What lies above the end is not this audit's.
        Err(log_source::Error::Read(ReadError::OutOfRange { start, .. })) if start > *position => {
            start.min(partition.log_end)
        }
        read => return Ok(Some(read?)),
    };
    let held_by_lake = partition.last_offset.map_or(0, |last| last + 1);
    if start > held_by_lake {
        verdicts.lack(format!(
            "partition {}: the log dropped offsets {held_by_lake}..{start} while the audit ran, and its snapshot of the \
             lake does not have them: audit again",
            partition.partition
        ));
    }
    // All that was matched so far lies below the new start.
    verdicts.matched.remove(&partition.partition);
    (partition.log_start, *position) = (start, start);
    Ok(None)
}

/// Rows that are named one by one: the range that they are of says more.
const EXAMPLES_MAX: usize = 10;

impl Verdicts {
    fn lack_of(&mut self, entry: &Entry, words: String) {
        let one = Lacking { rows: 1, first: entry.offset, last: entry.offset };
        let held = self.lacking.entry(entry.partition).or_insert(Lacking { rows: 0, ..one });
        *held = held.and(one);
        self.lack(words);
    }

    fn lack(&mut self, words: String) {
        self.absent += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(words);
        }
    }
}

/// Offsets follow each other, without a hole unless it is none in this log.
fn count(entry: &Entry, expected: u64, gapless: bool, partition: &mut Partition, verdicts: &mut Verdicts) {
    partition.records_compared += 1;
    if entry.offset > expected && !gapless {
        partition.offsets_unused += entry.offset - expected;
    } else if entry.offset != expected {
        partition.offsets_missing += entry.offset.abs_diff(expected);
        verdicts.lack(format!(
            "partition {}: after offset {expected} the log goes on at {}",
            entry.partition, entry.offset
        ));
    }
}

/// Each row of the record is in the lake at its place, or its key is there from an earlier one (a duplicate, dropped), or its
/// date has ended.
fn rows_are_there(
    entry: &Entry,
    decoded: &Decoded,
    ledger: &Ledger,
    (ended, acked): (Ended, &mut Acked),
    verdicts: &mut Verdicts,
) -> Result<(), Error> {
    let times = codec::times(&decoded.batch, Column::EVENT_TIME)?;
    for ((key, row), time) in keys(decoded)?.zip(&decoded.rows).zip(times) {
        if !ledger.covers(key.id) {
            continue;
        }
        let place = Place { partition: entry.partition, offset: entry.offset, row: *row };
        let mut known = ledger.places_of(key).peekable();
        // Copies of one event may lie on two dates: the first of them stays, and ends with its date.
        if known.peek().is_none() && *time < ended.events_us.saturating_add(DAY_US) {
            verdicts.expired += 1;
            acked.mark_pending(key.id);
        } else if known.peek().is_none() {
            let words = format!("{place} of the log, id {}, is not in the lake", uuid::Uuid::from_u128(key.id));
            verdicts.lack_of(entry, words);
        } else if known.any(|there| there == place) {
            *verdicts.matched.entry(entry.partition).or_default() += 1;
        }
    }
    Ok(())
}

fn dead_letters_are_there(entry: &Entry, decoded: &Decoded, dead: &DeadLetters, ended: Ended, verdicts: &mut Verdicts) {
    if entry.timestamp < ended.letters_us {
        return;
    }
    for letter in &decoded.dead {
        let place = Place { partition: entry.partition, offset: entry.offset, row: letter.row.unwrap_or(u32::MAX) };
        if !dead.has(place) {
            let words = format!("{place} of the log does not decode ({}), and is not in dead_letters", letter.reason);
            verdicts.lack_of(entry, words);
        }
    }
}

fn keys(decoded: &Decoded) -> Result<impl Iterator<Item = Key>, Error> {
    let batch = &decoded.batch;
    let column = |name| batch.column_by_name(name).ok_or_else(|| Error::from(format!("column {name} is missing")));
    let tenants = column("tenant_id")?.as_dictionary::<Int32Type>();
    let names = tenants.values().as_string::<i32>();
    let ids = column("event_id")?.as_fixed_size_binary();
    let count = batch.num_rows();
    Ok((0..count).filter_map(move |row| {
        let id: &[u8; 16] = ids.value(row).try_into().ok()?;
        Some(Key::new(names.value(tenants.key(row)?), id))
    }))
}
