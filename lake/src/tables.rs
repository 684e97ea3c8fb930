//! The tables `events` and `dead_letters`: their schemas, properties and `txn` names.
use crate::table::Spec;

/// `events`: the canonical columns without dictionaries, event_date (partition column, date),
/// `_topic, _partition, _offset, _row`.
pub fn events(partitions: u32, dedup_rows: usize) -> Spec {
    let _ = (partitions, dedup_rows);
    unimplemented!()
}

/// `dead_letters`: received_date (partition column), received_at, reason, content_type, payload (binary),
/// `_topic, _partition, _offset, _row` (`_row` null: the whole record).
pub fn dead_letters(partitions: u32) -> Spec {
    let _ = partitions;
    unimplemented!()
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
}

/// `sink/{cluster}/{topic}/{partition}` and its companions `.../fingerprint`, `.../dedup`, `.../rows` ...
pub fn txn_names(cluster: &str, topic: &str, partition: u32) -> TxnNames {
    let base = format!("sink/{cluster}/{topic}/{partition}");
    TxnNames {
        fingerprint: format!("{base}/fingerprint"),
        dedup: format!("{base}/dedup"),
        rows: format!("{base}/rows"),
        duplicates: format!("{base}/duplicates"),
        dead_letters: format!("{base}/dead_letters"),
        offset: base,
    }
}
