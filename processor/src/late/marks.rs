//! The table `late_windows`: windows whose newest revision lacks events. Small, and written anew as a whole.
use crate::Error;
use crate::limits::LATE_WINDOWS_MAX;
use crate::positions::{self, Positions, covers};
use crate::table::time_field;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use event::clock::Micros;
use event::schema::TIME_ZONE;
use futures::TryStreamExt;
use lake::location::Location;
use lake::table::{Commit, Error as LakeError, Outcome, Spec, Table};
use lake::tables::{LOG, properties};
use std::collections::{BTreeMap, btree_map::Entry};
use std::sync::Arc;
use std::time::Duration;

/// Its name, in messages.
const NAME: &str = "late_windows";

/// Times that another writer may be first before a change is put off: each takes one commit of milliseconds.
const RACES_MAX: u32 = 20;

/// After the first race that was lost; twice as long after each further one, so often.
const BACKOFF: Duration = Duration::from_millis(5);
const BACKOFF_DOUBLINGS: u32 = 7;

/// A window to be computed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The first moment after the window, µs.
    pub(crate) end_us: i64,
    /// What `events` must hold for it.
    pub(crate) positions: Positions,
    /// Late events; some count twice where a processor was killed before it had committed. None: see [`super::backfill`].
    pub(crate) events: u64,
    /// What [`lake::tables::REWRITES`] of `events` must have reached: rows of the window change with it.
    pub(crate) awaits: Option<i64>,
    /// When the first of them was.
    pub(crate) marked_at: Micros,
}

impl Mark {
    /// Some events of the window are in no rollup's count: it is left to the correction, whole.
    pub(crate) fn has_late_events(&self) -> bool {
        self.events > 0
    }

    /// No event made it: a revision is asked for, whichever.
    pub(crate) fn is_filled_in(&self) -> bool {
        self.events == 0 && self.awaits.is_none()
    }
}

/// From what a window was computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Covered {
    /// Everything below these.
    pub(crate) positions: Positions,
    /// With so many rewrites of `events`; `None`: that isn't known.
    pub(crate) rewrites: Option<i64>,
}

impl Covered {
    fn is_all_of(&self, mark: &Mark) -> bool {
        covers(&self.positions, &mark.positions)
            && mark.awaits.is_none_or(|awaits| self.rewrites.is_some_and(|rewrites| rewrites >= awaits))
    }
}

/// By name of the rollup and start of the window, µs.
pub(crate) type Marks = BTreeMap<(String, i64), Mark>;

/// All marks, of every rollup, for who has no handle; none where no processor has begun.
pub(crate) async fn marks(at: &Location) -> Result<Marks, LakeError> {
    match LateWindows::existing(at).await? {
        Some(mut table) => table.read().await,
        None => Ok(Marks::new()),
    }
}

/// A handle of the table.
#[derive(Debug)]
pub(crate) struct LateWindows {
    table: Table,
}

impl LateWindows {
    /// Opens the table, or makes it; refuses one of another log.
    pub(crate) async fn open(at: &Location, log: &dyn log::Log) -> Result<LateWindows, LakeError> {
        let schema = Schema::new(vec![
            Field::new("rollup", DataType::Utf8, false),
            time_field("window_start"),
            time_field("window_end"),
            positions::field(),
            Field::new("events", DataType::Int64, false),
            time_field("marked_at"),
            awaits_field(),
        ]);
        let of_log = format!("{}/{}", log.cluster(), log.topic());
        let mut properties = properties(log.writer().partitions());
        properties.insert(LOG.to_owned(), of_log.clone());
        let spec = Spec {
            schema: Arc::new(schema),
            partition_columns: Vec::new(),
            properties,
            statistics_columns: Vec::new(),
        };
        let table = Table::open_or_create(at, &spec).await?;
        match table.property(LOG) {
            Some(held) if held == of_log => Ok(LateWindows { table }),
            held => {
                let reason = format!("it is of the log {held:?}, this one is {of_log:?}; use another location");
                Err(LakeError::Incompatible { table: NAME.to_owned(), reason })
            }
        }
    }

    /// The table of whichever log; `None`: no processor has begun.
    pub(crate) async fn existing(at: &Location) -> Result<Option<LateWindows>, LakeError> {
        Ok(Table::open(at).await?.map(|table| LateWindows { table }))
    }

    /// All marks.
    pub(crate) async fn read(&mut self) -> Result<Marks, LakeError> {
        self.table.reload().await?;
        let mut marks = Marks::new();
        for file in self.table.files().await? {
            let mut batches = self.table.read_file(&file.path, None).await?;
            while let Some(batch) = batches.try_next().await? {
                for row in 0..batch.num_rows() {
                    let (window, mark) = of_row(&batch, row)
                        .ok_or_else(|| broken(format!("{} holds rows of another shape", file.path)))?;
                    add(&mut marks, window, mark);
                }
            }
        }
        Ok(marks)
    }

    /// Adds marks to what is marked; durable when this returns. Where not all fit, those that do are, and the others are
    /// made again when some were corrected.
    pub(crate) async fn mark(&mut self, new: &Marks) -> Result<(), Error> {
        let mut full = false;
        let added = |marks: &mut Marks| {
            let before = marks.clone();
            full = false;
            for (window, mark) in new {
                match marks.len() < LATE_WINDOWS_MAX || marks.contains_key(window) {
                    true => add(marks, window.clone(), mark.clone()),
                    false => full = true,
                }
            }
            *marks != before
        };
        self.change(added).await?;
        if full { Err(Error::TooManyLate) } else { Ok(()) }
    }

    /// Clears the marks of windows that were computed from all that they ask for.
    pub(crate) async fn clear(&mut self, rollup: &str, covered: &BTreeMap<i64, Covered>) -> Result<(), LakeError> {
        let uncovered = |marks: &mut Marks| {
            let before = marks.len();
            marks.retain(|(of, start), mark| {
                of != rollup || !covered.get(start).is_some_and(|covered| covered.is_all_of(mark))
            });
            marks.len() < before
        };
        self.change(uncovered).await
    }

    /// Clears the marks of a rollup that no event made; how many.
    pub(crate) async fn unmark_filled_in(&mut self, rollup: &str) -> Result<usize, LakeError> {
        let mut cleared = 0;
        let unmark = |marks: &mut Marks| {
            let before = marks.len();
            marks.retain(|(of, _), mark| of != rollup || !mark.is_filled_in());
            cleared = before - marks.len();
            cleared > 0
        };
        self.change(unmark).await?;
        Ok(cleared)
    }

    /// Writes the table anew as `change` leaves it; nothing where it says that nothing changed.
    async fn change(&mut self, mut change: impl FnMut(&mut Marks) -> bool) -> Result<(), LakeError> {
        for race in 0..RACES_MAX {
            if race > 0 {
                // Each further processor is one more to race with.
                tokio::time::sleep(BACKOFF * 2_u32.pow(race.min(BACKOFF_DOUBLINGS))).await;
            }
            let mut marks = self.read().await?;
            if !change(&mut marks) {
                return Ok(());
            }
            self.table.add_missing_columns(&Schema::new(vec![awaits_field()])).await?;
            let mut commit = Commit { removes: self.table.files().await?, data_change: true, ..Commit::default() };
            if !marks.is_empty() {
                let rows = rows(&self.table.data_schema(), &marks).map_err(|error| broken(error.to_string()))?;
                commit.adds.push(self.table.write_file(BTreeMap::new(), vec![vec![rows]]).await?);
            }
            match self.table.commit(&commit).await? {
                Outcome::Committed { .. } => return Ok(()),
                // Another writer was first, or the reply was lost: what is there now says which.
                Outcome::Superseded => self.table.discard(&commit.adds).await,
            }
        }
        Err(LakeError::Unavailable(format!("{NAME}: others were first {RACES_MAX} times in a row")))
    }
}

fn awaits_field() -> Field {
    Field::new("awaits", DataType::Int64, true)
}

fn broken(reason: String) -> LakeError {
    LakeError::Broken { table: NAME.to_owned(), reason }
}

/// Of two marks of one window the larger positions count. The same events may be marked twice: then nothing changes.
fn add(marks: &mut Marks, window: (String, i64), mark: Mark) {
    match marks.entry(window) {
        Entry::Vacant(place) => drop(place.insert(mark)),
        Entry::Occupied(mut held) => {
            let held = held.get_mut();
            held.awaits = held.awaits.max(mark.awaits);
            if covers(&held.positions, &mark.positions) {
                return;
            }
            held.events += mark.events;
            held.marked_at = held.marked_at.min(mark.marked_at);
            for (partition, next) in mark.positions {
                let held = held.positions.entry(partition).or_default();
                *held = next.max(*held);
            }
        }
    }
}

fn rows(schema: &Schema, marks: &Marks) -> Result<RecordBatch, ArrowError> {
    let time = |times: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(times).with_timezone(TIME_ZONE)) as ArrayRef;
    let of_positions = schema.field_with_name("positions")?.data_type();
    RecordBatch::try_from_iter([
        ("rollup", Arc::new(StringArray::from_iter_values(marks.keys().map(|(rollup, _)| rollup))) as ArrayRef),
        ("window_start", time(marks.keys().map(|(_, start)| *start).collect())),
        ("window_end", time(marks.values().map(|mark| mark.end_us).collect())),
        ("positions", Arc::new(positions::column(of_positions, marks.values().map(|mark| &mark.positions))?)),
        ("events", Arc::new(Int64Array::from_iter_values(marks.values().map(|mark| mark.events as i64)))),
        ("marked_at", time(marks.values().map(|mark| mark.marked_at).collect())),
        ("awaits", Arc::new(marks.values().map(|mark| mark.awaits).collect::<Int64Array>())),
    ])
}

fn of_row(batch: &RecordBatch, row: usize) -> Option<((String, i64), Mark)> {
    let time = |name| Some(batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?.value(row));
    let rollup = batch.column_by_name("rollup")?.as_string_opt::<i32>()?.value(row).to_owned();
    let events = batch.column_by_name("events")?.as_primitive_opt::<Int64Type>()?.value(row);
    // A table of an older version has no such column yet.
    let awaits = match batch.column_by_name("awaits") {
        Some(column) => column.as_primitive_opt::<Int64Type>()?.iter().nth(row)?,
        None => None,
    };
    let mark = Mark {
        end_us: time("window_end")?,
        positions: positions::of_row(batch.column_by_name("positions")?, row)?,
        events: u64::try_from(events).ok()?,
        awaits,
        marked_at: time("marked_at")?,
    };
    Some(((rollup, time("window_start")?), mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::clock::Clock;

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Micros {
            0
        }
    }

    fn mark(pairs: &[(u32, u64)], events: u64) -> Marks {
        let positions = pairs.iter().copied().collect();
        Marks::from([(("devices".to_owned(), 0), Mark { end_us: 10, positions, events, awaits: None, marked_at: 7 })])
    }

    #[tokio::test]
    async fn a_mark_stays_until_all_of_it_is_covered_and_grows_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let (at, log) = (Location::Local(dir.path().to_owned()), log::memory::Log::new("events", 2, Arc::new(Noon)));
        let mut one = LateWindows::open(&at, log.as_ref()).await.unwrap();
        let mut other = LateWindows::open(&at, log.as_ref()).await.unwrap();
        one.mark(&mark(&[(0, 5)], 2)).await.unwrap();
        assert_eq!(other.read().await.unwrap(), mark(&[(0, 5)], 2));
        one.mark(&mark(&[(0, 5)], 2)).await.unwrap();
        assert_eq!(other.read().await.unwrap(), mark(&[(0, 5)], 2), "marked twice is marked once");
        one.mark(&mark(&[(0, 4), (1, 3)], 1)).await.unwrap();
        other.clear("devices", &covered(&[(0, 9), (1, 2)], None)).await.unwrap();
        other.clear("others", &covered(&[(0, 9), (1, 9)], None)).await.unwrap();
        assert_eq!(one.read().await.unwrap(), mark(&[(0, 5), (1, 3)], 3));
        other.clear("devices", &covered(&[(0, 5), (1, 3)], None)).await.unwrap();
        assert_eq!(one.read().await.unwrap(), Marks::new());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_many_who_mark_and_clear_at_the_same_time_nobody_loses_a_mark() {
        let dir = tempfile::tempdir().unwrap();
        let (at, log) = (Location::Local(dir.path().to_owned()), log::memory::Log::new("events", 2, Arc::new(Noon)));
        let mut writers = Vec::new();
        for writer in 0..6_u64 {
            let mut late = LateWindows::open(&at, log.as_ref()).await.unwrap();
            writers.push(tokio::spawn(async move {
                for round in 1..=8 {
                    let own = format!("of-{writer}");
                    let of_window = |name: &str| {
                        let mark = mark(&[(0, round)], 1).into_values().next().unwrap();
                        Marks::from([((name.to_owned(), round as i64), mark)])
                    };
                    late.mark(&of_window(&own)).await.unwrap();
                    late.mark(&of_window("of-all")).await.unwrap();
                    if round % 2 == 0 {
                        let covered = Covered { positions: Positions::from([(0, round)]), rewrites: None };
                        late.clear(&own, &BTreeMap::from([(round as i64, covered)])).await.unwrap();
                    }
                }
            }));
        }
        for writer in writers {
            writer.await.unwrap();
        }
        let marks = LateWindows::open(&at, log.as_ref()).await.unwrap().read().await.unwrap();
        let own = (0..6).flat_map(|writer| [1, 3, 5, 7].map(|round| (format!("of-{writer}"), round)));
        let wanted: Vec<_> = (1..=8).map(|round| ("of-all".to_owned(), round)).collect();
        let mut wanted: Vec<_> = own.chain(wanted).collect();
        wanted.sort();
        assert_eq!(marks.keys().cloned().collect::<Vec<_>>(), wanted);
        assert!(marks.values().all(|mark| mark.events == 1), "the same events are marked once");
    }

    fn covered(pairs: &[(u32, u64)], rewrites: Option<i64>) -> BTreeMap<i64, Covered> {
        BTreeMap::from([(0, Covered { positions: pairs.iter().copied().collect(), rewrites })])
    }

    #[tokio::test]
    async fn a_mark_that_awaits_a_rewrite_stays_until_the_window_was_computed_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (at, log) = (Location::Local(dir.path().to_owned()), log::memory::Log::new("events", 2, Arc::new(Noon)));
        let mut late = LateWindows::open(&at, log.as_ref()).await.unwrap();
        let mut awaiting = mark(&[], 0);
        awaiting.values_mut().for_each(|mark| mark.awaits = Some(3));
        late.mark(&awaiting).await.unwrap();
        late.mark(&mark(&[(0, 5)], 2)).await.unwrap();
        for too_little in [covered(&[(0, 9)], None), covered(&[(0, 9)], Some(2)), covered(&[(0, 4)], Some(3))] {
            late.clear("devices", &too_little).await.unwrap();
            let left = late.read().await.unwrap();
            let left = &left[&("devices".to_owned(), 0)];
            assert_eq!((left.awaits, left.events, left.is_filled_in()), (Some(3), 2, false));
        }
        late.clear("devices", &covered(&[(0, 5)], Some(3))).await.unwrap();
        assert_eq!(late.read().await.unwrap(), Marks::new());
    }
}
