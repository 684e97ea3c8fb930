//! A rollup's table: its columns, where its commits have come to, and how rows of closed windows get in.
//!
//! W, and for each partition P, S and D, are `txn` actions of the same commit as the rows: there is no other checkpoint.
use crate::fold::WindowRows;
use crate::kept::Position;
use crate::positions::{self, Positions};
use crate::rollup::{Definition, OWN_COLUMNS, Plan};
use arrow_array::{ArrayRef, Int32Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use event::clock::Micros;
use event::schema::TIME_ZONE;
use lake::location::Location;
use lake::table::{Commit, Error, Outcome, Spec, Table, Txn};
use lake::tables::{DEDUP_ROWS, LOG, PARTITIONS, properties};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

mod revisions;

pub(crate) use revisions::Latest;

/// Property: the SQL that the table's rows come from.
const SQL: &str = "playhead.rollup.sql";
/// Property: length of its windows, µs.
const WINDOW: &str = "playhead.rollup.window_us";
/// Property: windows begin this often, µs.
const SLIDE: &str = "playhead.rollup.slide_us";

/// The revision of a window that was closed as its events came.
const FIRST_REVISION: i32 = 1;

/// What a rollup's table says in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// W, µs; `None`: nothing was committed yet.
    pub(crate) watermark_us: Option<i64>,
    /// By partition.
    pub(crate) positions: BTreeMap<u32, Position>,
}

/// What every row of a revision says of it.
#[derive(Debug, Clone, Copy)]
struct Revision<'a> {
    positions: &'a Positions,
    closed_at: Micros,
}

/// A rollup's table, and the log that it is of.
pub(crate) struct RollupTable {
    table: Table,
    name: String,
    /// Of the names of its `txn`s.
    base: String,
    standing: Standing,
}

/// A time that every row has.
pub(crate) fn time_field(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some(TIME_ZONE.into())), false)
}

/// Delta knows neither views nor large strings.
fn stored(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

/// `window_start, window_end, revision, closed_at, positions`, then what the SQL makes, then the states of its sketches.
fn schema(plan: &Plan) -> Schema {
    let own = [
        time_field("window_start"),
        time_field("window_end"),
        Field::new("revision", DataType::Int32, false),
        time_field("closed_at"),
        positions::field(),
    ];
    let made = plan.output().fields().iter().map(|field| Field::new(field.name(), stored(field.data_type()), true));
    Schema::new(own.into_iter().chain(made).chain(plan.states().cloned()).collect::<Vec<_>>())
}

impl Definition {
    /// What a rollup's table says of what it holds; `None`: it is no such table. How late events may be is not among it.
    pub fn of_table(name: &str, table: &Table) -> Option<Definition> {
        let length = |property| Some(Duration::from_micros(table.property(property)?.parse().ok()?));
        let (window, slide) = (length(WINDOW)?, length(SLIDE)?);
        let slide = Some(slide).filter(|slide| *slide != window);
        Some(Definition {
            name: name.to_owned(),
            window,
            slide,
            allowed_lateness: Duration::ZERO,
            sql: table.property(SQL)?,
        })
    }
}

/// W of a rollup's table, µs, and by partition P; `None`: nothing was committed yet.
pub(crate) async fn reached(name: &str, table: &Table) -> Result<Option<(i64, Positions)>, Error> {
    let base = base(&table.property(LOG).unwrap_or_default(), name);
    let Some(watermark_us) = table.txn(&base).await? else { return Ok(None) };
    let partitions: u32 = table.property(PARTITIONS).and_then(|count| count.parse().ok()).unwrap_or_default();
    let mut positions = Positions::new();
    for partition in 0..partitions {
        let next = table.txn(&txn(&base, partition, PARTS[0])).await?;
        positions.extend(next.and_then(|next| u64::try_from(next).ok()).map(|next| (partition, next)));
    }
    Ok(Some((watermark_us, positions)))
}

fn txn(base: &str, partition: u32, what: &str) -> String {
    format!("{base}/{partition}/{what}")
}

/// What the names of a rollup's `txn`s begin with.
fn base(log: &str, rollup: &str) -> String {
    format!("processor/{log}/{rollup}")
}

/// Refuses a table that was made with other properties than these.
fn check_made_with(table: &Table, name: &str, wanted: &[(&str, String)]) -> Result<(), Error> {
    for (property, wanted) in wanted {
        let held = table.property(property);
        if held.as_ref() != Some(wanted) {
            let reason = format!(
                "it was made with {property} = {}, now it is {wanted:?}: rows of both in one table could not be told \
                 apart. Give the rollup another name, or move the table away",
                held.map_or("nothing".to_owned(), |held| format!("{held:?}"))
            );
            return Err(Error::Incompatible { table: name.to_owned(), reason });
        }
    }
    Ok(())
}

impl RollupTable {
    /// Opens the table, or makes it; refuses one that was made of other SQL, other windows, another log or another dedup window.
    pub(crate) async fn open(
        at: &Location,
        definition: &Definition,
        plan: &Plan,
        log: &dyn log::Log,
        dedup_rows: usize,
    ) -> Result<RollupTable, Error> {
        let (name, partitions) = (&definition.name, log.writer().partitions());
        let own = [
            (LOG, format!("{}/{}", log.cluster(), log.topic())),
            (PARTITIONS, partitions.to_string()),
            (DEDUP_ROWS, dedup_rows.to_string()),
            (SQL, definition.sql.clone()),
            (WINDOW, plan.windows.length_us().to_string()),
            (SLIDE, plan.windows.slide_us().to_string()),
        ];
        let mut of_table = properties(partitions);
        of_table.extend(own.iter().map(|(property, value)| ((*property).to_owned(), value.clone())));
        let spec = Spec {
            schema: Arc::new(schema(plan)),
            partition_columns: Vec::new(),
            properties: of_table,
            statistics_columns: vec!["window_start".to_owned(), "window_end".to_owned()],
        };
        // Before its columns are looked at: that the SQL was changed says more than that a type was.
        if let Some(table) = Table::open(at).await? {
            check_made_with(&table, name, &own)?;
        }
        let table = Table::open_or_create(at, &spec).await?;
        check_made_with(&table, name, &own)?;
        let base = base(&format!("{}/{}", log.cluster(), log.topic()), name);
        let standing = Standing { watermark_us: None, positions: BTreeMap::new() };
        Ok(RollupTable { table, name: name.clone(), base, standing })
    }

    fn txn(&self, partition: u32, what: &str) -> String {
        txn(&self.base, partition, what)
    }

    /// What the last snapshot that was looked at said.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The newest snapshot's word.
    pub(crate) async fn reload(&mut self, partitions: u32) -> Result<&Standing, Error> {
        self.table.reload().await?;
        let mut positions = BTreeMap::new();
        for partition in 0..partitions {
            if let Some(position) = self.position(partition).await? {
                positions.insert(partition, position);
            }
        }
        let watermark_us = self.table.txn(&self.base).await?;
        if watermark_us.is_none() && !positions.is_empty() {
            return Err(self.broken("there are positions and no watermark"));
        }
        self.standing = Standing { watermark_us, positions };
        Ok(&self.standing)
    }

    async fn position(&self, partition: u32) -> Result<Option<Position>, Error> {
        let mut values = Vec::new();
        for what in PARTS {
            values.push(self.table.txn(&self.txn(partition, what)).await?);
        }
        let number = |value: i64| u64::try_from(value).ok();
        match values[..] {
            [None, None, None, None] => Ok(None),
            [Some(next), Some(safe), Some(dedup), Some(fingerprint)] => {
                let position = number(next).zip(number(safe)).zip(number(dedup));
                let position = position.map(|((next, safe), dedup)| Position { next, safe, dedup, fingerprint });
                let position =
                    position.filter(|position| position.dedup <= position.safe && position.safe <= position.next);
                position.map(Some).ok_or_else(|| self.broken(&format!("partition {partition}: {values:?}")))
            }
            _ => Err(self.broken(&format!("partition {partition}: {values:?}"))),
        }
    }

    fn broken(&self, reason: &str) -> Error {
        Error::Broken { table: self.name.clone(), reason: format!("its txn values don't belong together: {reason}") }
    }

    /// What one commit is to bring in; its file is written and durable when this returns.
    pub(crate) async fn prepare(
        &self,
        closed: &[WindowRows],
        watermark_us: i64,
        positions: &BTreeMap<u32, Position>,
        closed_at: Micros,
    ) -> Result<Commit, Error> {
        let mut commit = Commit { data_change: true, ..Commit::default() };
        let next = positions.iter().map(|(partition, position)| (*partition, position.next)).collect();
        let revision = Revision { positions: &next, closed_at };
        let batches = closed.iter().filter(|window| window.rows.num_rows() > 0);
        let batches =
            batches.map(|window| self.rows(window, FIRST_REVISION, revision)).collect::<Result<Vec<_>, _>>()?;
        if !batches.is_empty() {
            commit.adds.push(self.table.write_file(BTreeMap::new(), vec![batches]).await?);
        }
        commit.txns.push(Txn { app: self.base.clone(), expected: self.standing.watermark_us, new: watermark_us });
        for (partition, position) in positions {
            let before = self.standing.positions.get(partition).map(parts);
            for (at, new) in parts(position).into_iter().enumerate() {
                let app = self.txn(*partition, PARTS[at]);
                commit.txns.push(Txn { app, expected: before.map(|before| before[at]), new });
            }
        }
        Ok(commit)
    }

    /// Commits what was prepared; the same may be tried again after [`Error::Unavailable`].
    pub(crate) async fn commit(
        &mut self,
        commit: &Commit,
        watermark_us: i64,
        positions: &BTreeMap<u32, Position>,
    ) -> Result<Outcome, Error> {
        let outcome = self.table.commit(commit).await?;
        match outcome {
            Outcome::Committed { .. } => {
                self.standing = Standing { watermark_us: Some(watermark_us), positions: positions.clone() };
            }
            Outcome::Superseded => self.table.discard(&commit.adds).await,
        }
        Ok(outcome)
    }

    fn rows(&self, window: &WindowRows, revision: i32, of: Revision<'_>) -> Result<RecordBatch, Error> {
        let rows = window.rows.num_rows();
        let schema = self.table.data_schema();
        let time = |time: i64| Arc::new(TimestampMicrosecondArray::from(vec![time; rows]).with_timezone(TIME_ZONE));
        let broken = |reason: String| Error::Broken { table: self.name.clone(), reason };
        let positions = schema
            .field_with_name("positions")
            .and_then(|field| positions::column(field.data_type(), std::iter::repeat_n(of.positions, rows)));
        let own: Vec<ArrayRef> = vec![
            time(window.start_us),
            time(window.end_us),
            Arc::new(Int32Array::from(vec![revision; rows])),
            time(of.closed_at),
            Arc::new(positions.map_err(|error| broken(error.to_string()))?),
        ];
        let own = OWN_COLUMNS.into_iter().zip(own).map(|(name, array)| (name.to_owned(), array));
        let made = window.rows.schema();
        let made = made.fields().iter().map(|field| field.name().clone()).zip(window.rows.columns().iter().cloned());
        RecordBatch::try_from_iter(own.chain(made)).map_err(|error| broken(error.to_string()))
    }
}

/// Names of a partition's `txn`s, in the order of [`parts`].
const PARTS: [&str; 4] = ["position", "safe", "dedup", "fingerprint"];

fn parts(position: &Position) -> [i64; 4] {
    [position.next as i64, position.safe as i64, position.dedup as i64, position.fingerprint]
}
