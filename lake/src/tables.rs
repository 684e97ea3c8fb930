//! The tables `events` and `dead_letters`: their schemas, properties and `txn` names.
use crate::table::{Error, Spec, Table};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use event::schema::{Column, Kind, SCHEMA_VERSION, TIME_ZONE};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Property: partitions of the log that the table was made for.
pub const PARTITIONS: &str = "playhead.partitions";
/// Property: the log that the table was made for, `{cluster}/{topic}`; set by who makes it.
pub const LOG: &str = "playhead.log";
/// Property: rows of the dedup window, a partition.
pub const DEDUP_ROWS: &str = "playhead.dedup.rows";
/// Property: version of the canonical schema that the table was made with.
pub const SCHEMA: &str = "playhead.schema.version";

/// Partition column of `events`: the UTC date of `event_time`.
pub const EVENT_DATE: &str = "event_date";
/// Partition column of `dead_letters`: the UTC date of `received_at`.
pub const RECEIVED_DATE: &str = "received_date";

/// `events`: the canonical columns without dictionaries, event_date (partition column, date),
/// `_topic, _partition, _offset, _row`.
pub fn events(partitions: u32, dedup_rows: usize) -> Spec {
    let canonical = Column::all().map(|column| column.field().with_data_type(table_type(column.kind())));
    let mut fields: Vec<Field> = canonical.collect();
    fields.push(Field::new(EVENT_DATE, DataType::Date32, false));
    fields.extend(provenance(false));
    let mut properties = properties(partitions);
    properties.insert(DEDUP_ROWS.to_owned(), dedup_rows.to_string());
    Spec {
        schema: Arc::new(Schema::new(fields)),
        partition_columns: vec![EVENT_DATE.to_owned()],
        properties,
        statistics_columns: names(&["event_time", "_partition", "_offset", "content_id"]),
    }
}

/// `dead_letters`: received_date (partition column), received_at, reason, content_type, payload (binary),
/// `_topic, _partition, _offset, _row` (`_row` null: the whole record).
pub fn dead_letters(partitions: u32) -> Spec {
    let mut fields = vec![
        Field::new(RECEIVED_DATE, DataType::Date32, false),
        Field::new("received_at", table_type(Kind::Time), false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("content_type", DataType::Utf8, true),
        Field::new("payload", DataType::Binary, true),
    ];
    fields.extend(provenance(true));
    Spec {
        schema: Arc::new(Schema::new(fields)),
        partition_columns: vec![RECEIVED_DATE.to_owned()],
        properties: properties(partitions),
        statistics_columns: names(&["received_at", "_partition", "_offset"]),
    }
}

/// Where a row came from: the log record, and the row within it.
fn provenance(whole_records: bool) -> [Field; 4] {
    [
        Field::new("_topic", DataType::Utf8, false),
        Field::new("_partition", DataType::Int32, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_row", DataType::Int64, whole_records),
    ]
}

/// Delta has no dictionaries and no fixed-size binary.
fn table_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text { .. } | Kind::Dictionary { .. } => DataType::Utf8,
        Kind::EventId => DataType::Binary,
        Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some(TIME_ZONE.into())),
        Kind::Int16 | Kind::Int32 | Kind::Int64 | Kind::Float32 | Kind::Boolean | Kind::Custom => kind.data_type(),
    }
}

/// What every table of ours has: for a log of so many partitions.
///
/// Never `delta.setTransactionRetentionDuration` (positions of idle partitions would expire), never
/// `delta.appendOnly` (merging removes files).
pub fn properties(partitions: u32) -> BTreeMap<String, String> {
    let properties = [
        (PARTITIONS, partitions.to_string()),
        (SCHEMA, SCHEMA_VERSION.to_string()),
        // A day of history for whoever reads an older snapshot, and one to spare.
        ("delta.logRetentionDuration", "interval 2 days".to_owned()),
        ("delta.deletedFileRetentionDuration", "interval 2 days".to_owned()),
        // For other writers: ours leave checkpoints to upkeep.
        ("delta.checkpointInterval", "100".to_owned()),
    ];
    properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn names(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|&column| column.to_owned()).collect()
}

/// Names of the `txn`s of one log partition in one table. Values never decrease but for the fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnNames {
    /// Last offset included.
    pub offset: String,
    /// Fingerprint of the record at that offset.
    pub fingerprint: String,
    /// D: the offset from which the dedup window is rebuilt.
    pub dedup: String,
    /// Running totals since the table was made: rows read, rows kept, duplicates dropped, dead letters.
    pub rows: String,
    /// Duplicates dropped.
    pub duplicates: String,
    /// Dead letters (in `dead_letters`: rows of that table from this partition).
    pub dead_letters: String,
    /// Rows that were kept first and removed since, less those that a replay added: copies that compaction found, dates that
    /// retention ended. Moved by who holds the maintenance lease. `dead_letters` has its own.
    pub removed: String,
}

/// In `events` and `dead_letters`: the job whose replay was begun last, and with `/{partition}` the next offset that it has to
/// replay there. In both tables: a replay swaps the rows of `events` first.
pub const REPLAY: &str = "maintenance/replay";

/// Dates of the table before this one, in days since 1970, are gone: retention. What comes late for one goes with the next pass.
pub const EXPIRED: &str = "maintenance/expired";

/// A day, µs.
pub const DAY_US: i64 = 86_400_000_000;

/// The first moment (µs since 1970) that retention has left in a table; the smallest there is where it took nothing.
pub async fn ended_us(table: &Table) -> Result<i64, Error> {
    Ok(table.txn(EXPIRED).await?.map_or(i64::MIN, |days| days.saturating_mul(DAY_US)))
}

/// How many commits removed rows from a table, or brought rows into what it had: who computes something from the table
/// waits for this to reach a value. Moved by who holds the maintenance lease.
pub const REWRITES: &str = "maintenance/rewrites";

/// `sink/{cluster}/{topic}/{partition}` and its companions `.../fingerprint`, `.../dedup`, `.../rows` ...
pub fn txn_names(cluster: &str, topic: &str, partition: u32) -> TxnNames {
    let base = format!("sink/{cluster}/{topic}/{partition}");
    TxnNames {
        fingerprint: format!("{base}/fingerprint"),
        dedup: format!("{base}/dedup"),
        rows: format!("{base}/rows"),
        duplicates: format!("{base}/duplicates"),
        dead_letters: format!("{base}/dead_letters"),
        removed: format!("{base}/removed"),
        offset: base,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_has_every_canonical_column_in_a_type_that_delta_has() {
        let spec = events(4, 1000);
        for column in Column::all() {
            let field = spec.schema.field_with_name(column.name()).unwrap();
            assert!(!matches!(field.data_type(), DataType::Dictionary(..) | DataType::FixedSizeBinary(_)), "{field}");
            assert_eq!(field.is_nullable(), column.spec().nullable, "{}", column.name());
        }
        let last: Vec<_> = spec.schema.fields().iter().rev().take(5).map(|field| field.name().as_str()).collect();
        assert_eq!(last, ["_row", "_offset", "_partition", "_topic", "event_date"]);
    }

    #[test]
    fn no_property_would_expire_a_position_or_forbid_merging() {
        for spec in [events(4, 1000), dead_letters(4)] {
            assert!(!spec.properties.contains_key("delta.setTransactionRetentionDuration"));
            assert!(!spec.properties.contains_key("delta.appendOnly"));
            assert!(spec.statistics_columns.iter().all(|name| spec.schema.field_with_name(name).is_ok()));
        }
    }
}
