//! A rollup's table: its columns, where its commits have come to, and how rows of closed windows get in.
//!
//! W, and for each partition P, S and D, are `txn` actions of the same commit as the rows: there is no other checkpoint.
use crate::fold::WindowRows;
use crate::kept::Standing;
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
pub(crate) mod standing;

pub(crate) use revisions::{Latest, START, at, latest, of_another_shape};
pub(crate) use standing::{base_of, counted_from_us, day, reached};

/// Property: the SQL that the table's rows come from.
const SQL: &str = "playhead.rollup.sql";
/// Property: length of its windows, µs.
const WINDOW: &str = "playhead.rollup.window_us";
/// Property: windows begin this often, µs.
const SLIDE: &str = "playhead.rollup.slide_us";

/// The revision of a window that was closed as its events came.
const FIRST_REVISION: i32 = 1;

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

/// Properties of a rollup's tables: all that what they hold depends on.
pub(crate) fn made_with(
    definition: &Definition,
    plan: &Plan,
    log: &dyn log::Log,
    dedup_rows: usize,
) -> Vec<(&'static str, String)> {
    vec![
        (LOG, format!("{}/{}", log.cluster(), log.topic())),
        (PARTITIONS, log.writer().partitions().to_string()),
        (DEDUP_ROWS, dedup_rows.to_string()),
        (SQL, definition.sql.clone()),
        (WINDOW, plan.windows.length_us().to_string()),
        (SLIDE, plan.windows.slide_us().to_string()),
    ]
}

/// Refuses a table that was made with other properties than these.
pub(crate) fn check_made_with(table: &Table, name: &str, wanted: &[(&str, String)]) -> Result<(), Error> {
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
        let own = made_with(definition, plan, log, dedup_rows);
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
        let base = standing::base(&format!("{}/{}", log.cluster(), log.topic()), name);
        Ok(RollupTable { table, name: name.clone(), base, standing: Standing::new() })
    }

    /// What the last snapshot that was looked at said.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The newest snapshot's word of every partition.
    pub(crate) async fn reload(&mut self, partitions: u32) -> Result<&Standing, Error> {
        self.table.reload().await?;
        self.standing = self.all(partitions).await?;
        Ok(&self.standing)
    }

    async fn all(&self, partitions: u32) -> Result<Standing, Error> {
        let mut positions = Standing::new();
        let Some(watermark_us) = self.table.txn(&self.base).await? else { return Ok(positions) };
        for partition in 0..partitions {
            let position = standing::position(&self.table, &self.base, partition, watermark_us).await?;
            positions.extend(position.map(|position| (partition, position)));
        }
        Ok(positions)
    }

    /// W, µs, and by partition P, in the newest snapshot; `None`: nothing was committed yet.
    pub(crate) async fn reached(&mut self) -> Result<Option<(i64, Positions)>, Error> {
        self.table.reload().await?;
        reached(&self.name, &self.table).await
    }

    /// What tells this table from another one at the same place.
    pub(crate) fn id(&self) -> String {
        self.table.id()
    }

    /// What one commit is to bring in: it brings partitions from `before` to `positions`. Its file is written and durable when this
    /// returns.
    pub(crate) async fn prepare(
        &self,
        closed: &[WindowRows],
        before: &Standing,
        positions: &Standing,
        closed_at: Micros,
    ) -> Result<Commit, Error> {
        let next: Positions = positions.iter().map(|(partition, position)| (*partition, position.next)).collect();
        let mut commit = self.first_revisions(closed, &next, closed_at).await?;
        let watermark_us = |of: &Standing| of.values().map(|position| position.closed_to_us).min();
        let new = watermark_us(positions).unwrap_or(i64::MIN);
        commit.txns.push(Txn { app: self.base.clone(), expected: watermark_us(&self.standing), new });
        if self.standing.is_empty() {
            commit.txns.push(self.counted_from(watermark_us(before).unwrap_or(i64::MIN)));
        }
        for (partition, position) in positions {
            commit.txns.extend(standing::txns(&self.base, *partition, self.standing.get(partition), position));
        }
        Ok(commit)
    }

    fn counted_from(&self, closed_to_us: i64) -> Txn {
        Txn { app: standing::counted_from(&self.base), expected: None, new: closed_to_us }
    }

    /// The same of windows that were merged. `to_us`: W from now on; `from_us`: as it was; `began_us`: as it was when the last
    /// partition was begun; `reached`: P.
    pub(crate) async fn prepare_merged(
        &self,
        closed: &[WindowRows],
        from_us: Option<i64>,
        began_us: i64,
        to_us: i64,
        reached: &Positions,
        closed_at: Micros,
    ) -> Result<Commit, Error> {
        let mut commit = self.first_revisions(closed, reached, closed_at).await?;
        commit.txns.push(Txn { app: self.base.clone(), expected: from_us, new: to_us });
        if from_us.is_none() {
            commit.txns.push(self.counted_from(began_us));
        }
        for (partition, next) in reached {
            commit.txns.push(standing::merged_to(&self.table, &self.base, *partition, *next).await?);
        }
        Ok(commit)
    }

    /// Commits windows that were merged.
    pub(crate) async fn commit_merged(&mut self, commit: &Commit) -> Result<Outcome, Error> {
        let outcome = self.table.commit(commit).await?;
        if outcome == Outcome::Superseded {
            self.table.discard(&commit.adds).await;
        }
        Ok(outcome)
    }

    async fn first_revisions(
        &self,
        closed: &[WindowRows],
        positions: &Positions,
        closed_at: Micros,
    ) -> Result<Commit, Error> {
        let mut commit = Commit { data_change: true, ..Commit::default() };
        let rows = |window| self.rows(window, FIRST_REVISION, Revision { positions, closed_at });
        let with_rows = closed.iter().filter(|window| window.rows.num_rows() > 0);
        let batches = with_rows.map(rows).collect::<Result<Vec<_>, _>>()?;
        if !batches.is_empty() {
            commit.adds.push(self.table.write_file(BTreeMap::new(), vec![batches]).await?);
        }
        Ok(commit)
    }

    /// Commits what was prepared; the same may be tried again after [`Error::Unavailable`]. `positions`: what it brings its
    /// partitions to.
    pub(crate) async fn commit(&mut self, commit: &Commit, positions: &Standing) -> Result<Outcome, Error> {
        let outcome = self.commit_merged(commit).await?;
        if let Outcome::Committed { .. } = outcome {
            self.standing.clone_from(positions);
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
