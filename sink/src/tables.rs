//! The tables `events` and `dead_letters` as the sink uses them: opened, checked against the log, asked for positions.
use crate::Lake;
use crate::partition::DeadCommitted;
use crate::position::{Committed, Stored};
use crate::provenance::Columns;
use event::dedup::WINDOW_ROWS_MAX;
use lake::location::Location;
use lake::table::{Error, Spec, Table};
use lake::tables::{DEDUP_ROWS, EVENT_DATE, LOG, PARTITIONS, TxnNames};

const EVENTS: &str = "events";
const DEAD_LETTERS: &str = "dead_letters";

/// Both tables, and the log that they are written from.
pub(crate) struct Tables {
    pub(crate) events: Table,
    pub(crate) dead_letters: Table,
    pub(crate) topic: String,
    cluster: String,
    /// Rows of the dedup window, as the table says.
    pub(crate) dedup_rows: usize,
    /// How a batch of `events` is made.
    pub(crate) columns: Columns,
}

impl Tables {
    /// Opens the tables, or makes them, and checks that they belong to this log and its number of partitions.
    pub(crate) async fn open(lake: &Lake, log: &dyn log::Log, dedup_rows: usize) -> Result<Tables, Error> {
        let partitions = log.writer().partitions();
        let (topic, cluster) = (log.topic().to_owned(), log.cluster().to_owned());
        let name = format!("{cluster}/{topic}");
        let open = async |table, at: &Location, mut spec: Spec| {
            spec.properties.insert(LOG.to_owned(), name.clone());
            let opened = Table::open_or_create(at, &spec).await?;
            check_log(&opened, table, &name)?;
            check_partitions(&opened, table, partitions)?;
            Ok::<_, Error>(opened)
        };
        let dead_letters = open(DEAD_LETTERS, &lake.dead_letters, lake::tables::dead_letters(partitions)).await?;
        let events = open(EVENTS, &lake.events, lake::tables::events(partitions, dedup_rows)).await?;
        let columns = Columns::new(&events.schema(), EVENT_DATE).map_err(|reason| incompatible(EVENTS, reason))?;
        let pinned: usize = number(&events, EVENTS, DEDUP_ROWS)?;
        if pinned > WINDOW_ROWS_MAX {
            let reason = format!("its property {DEDUP_ROWS} is {pinned}, a window has at most {WINDOW_ROWS_MAX} rows");
            return Err(incompatible(EVENTS, reason));
        }
        if pinned != dedup_rows {
            tracing::warn!(
                pinned,
                configured = dedup_rows,
                "dedup.rows differs from what the table was made with: the table's value is used, a change would judge \
                 what was read already in another way"
            );
        }
        Ok(Tables { events, dead_letters, topic, cluster, dedup_rows: pinned, columns })
    }

    /// The newest snapshots of both.
    pub(crate) async fn reload(&mut self) -> Result<(), Error> {
        self.events.reload().await?;
        self.dead_letters.reload().await
    }

    /// Names of a partition's `txn`s.
    pub(crate) fn names(&self, partition: u32) -> TxnNames {
        lake::tables::txn_names(&self.cluster, &self.topic, partition)
    }

    /// What `events` says of a partition, in the snapshot last seen.
    pub(crate) async fn committed(&self, names: &TxnNames) -> Result<Option<Committed>, Error> {
        let stored = Stored {
            last: self.events.txn(&names.offset).await?,
            fingerprint: self.events.txn(&names.fingerprint).await?,
            dedup: self.events.txn(&names.dedup).await?,
            rows: self.events.txn(&names.rows).await?,
            duplicates: self.events.txn(&names.duplicates).await?,
            dead_letters: self.events.txn(&names.dead_letters).await?,
        };
        stored.committed().map_err(|reason| broken(EVENTS, format!("{}: {reason}", names.offset)))
    }

    /// What `dead_letters` says of a partition, in the snapshot last seen.
    pub(crate) async fn dead_committed(&self, names: &TxnNames) -> Result<Option<DeadCommitted>, Error> {
        let last = self.dead_letters.txn(&names.offset).await?;
        let fingerprint = self.dead_letters.txn(&names.fingerprint).await?;
        let rows = self.dead_letters.txn(&names.dead_letters).await?;
        match (last.map(u64::try_from), fingerprint, rows.map(u64::try_from)) {
            (None, None, None) => Ok(None),
            (Some(Ok(last)), Some(fingerprint), Some(Ok(rows))) => Ok(Some(DeadCommitted { last, fingerprint, rows })),
            _ => {
                let reason =
                    format!("{}: txn values don't belong together: {last:?}, {fingerprint:?}, {rows:?}", names.offset);
                Err(broken(DEAD_LETTERS, reason))
            }
        }
    }
}

/// A table has rows of one log: `_partition` and `_offset` of two would be the same places. Tables of versions that did
/// not write it down are taken as they are.
fn check_log(table: &Table, name: &str, log: &str) -> Result<(), Error> {
    match table.property(LOG) {
        Some(pinned) if pinned != log => {
            let reason = format!(
                "it was made for the log {pinned} (cluster/topic), this log is {log}: rows of two logs in one table \
                 would name the same places. Use the log it was made from, or new tables"
            );
            Err(incompatible(name, reason))
        }
        _ => Ok(()),
    }
}

fn check_partitions(table: &Table, name: &str, partitions: u32) -> Result<(), Error> {
    let pinned: u32 = number(table, name, PARTITIONS)?;
    if pinned == partitions {
        return Ok(());
    }
    let reason = format!(
        "it was made for a log of {pinned} partitions, this log has {partitions}: retries of a session would go to \
         another partition and not be recognised. Use the log it was made from, or new tables"
    );
    Err(incompatible(name, reason))
}

/// A table property that is a number.
fn number<T: std::str::FromStr>(table: &Table, name: &str, property: &str) -> Result<T, Error> {
    let value = table.property(property);
    value.as_deref().and_then(|value| value.parse().ok()).ok_or_else(|| {
        incompatible(name, format!("its property {property} is {value:?}, not a number: it wasn't made by a sink"))
    })
}

fn incompatible(table: &str, reason: String) -> Error {
    Error::Incompatible { table: table.to_owned(), reason }
}

fn broken(table: &str, reason: String) -> Error {
    Error::Broken { table: table.to_owned(), reason }
}
