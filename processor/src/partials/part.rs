//! What one processor has of a rollup's open windows, to be merged with others' by who is looked at.
use super::table::{Piece, pieces_of, rows_of, schema, starts_of};
use crate::fold::Partial;
use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use event::clock::Micros;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Key of the stream's metadata: `PARTITION=W` of each partition, with spaces between.
const CLOSED_TO: &str = "playhead.closed_to";
/// Key of the stream's metadata.
const TABLE: &str = "playhead.partials";
/// Key of the stream's metadata.
const RECEIVED: &str = "playhead.received";

/// One processor's part.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Which table of partials it adds to ([`lake::table::Table::id`]).
    table: String,
    /// By partition that it has, W as it was committed, µs: of windows that end after it the partition's events are in here.
    /// One that is not read again yet is not among them.
    closed_to: BTreeMap<u32, i64>,
    /// When the oldest record that was not shown before was received.
    received: Option<Micros>,
    rows: RecordBatch,
}

impl Part {
    pub(crate) fn new(
        table: String,
        closed_to: BTreeMap<u32, i64>,
        partials: &[Partial],
        received: Option<Micros>,
    ) -> Result<Part, ArrowError> {
        Ok(Part { table, closed_to, received, rows: rows_of(partials)? })
    }

    /// As an Arrow IPC stream.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArrowError> {
        let closed_to: Vec<String> =
            self.closed_to.iter().map(|(partition, closed_to_us)| format!("{partition}={closed_to_us}")).collect();
        let mut metadata =
            HashMap::from([(CLOSED_TO.to_owned(), closed_to.join(" ")), (TABLE.to_owned(), self.table.clone())]);
        metadata.extend(self.received.map(|received| (RECEIVED.to_owned(), received.to_string())));
        let mut writer = StreamWriter::try_new(Vec::new(), &schema().with_metadata(metadata))?;
        writer.write(&self.rows)?;
        writer.into_inner()
    }

    /// `None`: these are not bytes of a part.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Part> {
        // Arrow makes room for as much metadata as the first bytes say, before it sees whether there is as much.
        let first = bytes.strip_prefix(&[0xff; 4])?.first_chunk().map(|length| u32::from_le_bytes(*length))?;
        if first as usize > bytes.len() {
            return None;
        }
        let mut reader = StreamReader::try_new(bytes, None).ok()?;
        let written = reader.schema();
        let of_partition = |text: &str| {
            let (partition, closed_to_us) = text.split_once('=')?;
            Some((partition.parse().ok()?, closed_to_us.parse().ok()?))
        };
        let closed_to =
            written.metadata().get(CLOSED_TO)?.split_whitespace().map(of_partition).collect::<Option<_>>()?;
        let received = written.metadata().get(RECEIVED).and_then(|received| received.parse().ok());
        let rows = reader.next()?.ok().filter(|rows| rows.schema().fields() == schema().fields())?;
        let rows = RecordBatch::try_new(Arc::new(schema()), rows.columns().to_vec()).ok()?;
        let table = written.metadata().get(TABLE)?.clone();
        Some(Part { table, closed_to, received, rows })
    }

    pub(crate) fn is_of(&self, table: &str) -> bool {
        self.table == table
    }

    /// How far its partition is that is furthest, µs: who lost its partitions, and does not know, stays behind.
    pub(crate) fn furthest_us(&self) -> i64 {
        self.closed_to.values().copied().max().unwrap_or(i64::MIN)
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = u32> {
        self.closed_to.keys().copied()
    }

    pub(crate) fn received(&self) -> Option<Micros> {
        self.received
    }

    /// Whether what this has of a window that ends at `end_us` is in no table: `closed_to_us` says of a partition how far the
    /// tables are. A commit brings all partitions of a processor past a window together.
    pub(crate) fn adds_to(&self, end_us: i64, closed_to_us: impl Fn(u32) -> i64) -> bool {
        let mut here = self.closed_to.iter().filter(|(_, closed_to_us)| **closed_to_us < end_us);
        here.all(|(partition, _)| closed_to_us(*partition) < end_us)
    }

    /// Starts of the windows that it has groups of, µs.
    pub(crate) fn starts(&self) -> impl Iterator<Item = i64> {
        starts_of(&self.rows).into_iter().flat_map(|starts| starts.values().iter().copied())
    }

    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece> {
        pieces_of(&self.rows).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_reads_back_as_it_was_and_other_bytes_do_not() {
        let part = Part::new("t".to_owned(), BTreeMap::from([(0, i64::MIN), (7, 5)]), &[], Some(9)).unwrap();
        let bytes = part.to_bytes().unwrap();
        assert_eq!(Part::of_bytes(&bytes), Some(part));
        assert_eq!(Part::of_bytes(&bytes[..bytes.len() / 2]), None);
        for other in [&b"no part"[..], b"", b"{\"rollup\": 1}", &[0xff; 40]] {
            assert_eq!(Part::of_bytes(other), None);
        }
    }

    #[test]
    fn what_was_committed_since_is_in_the_table() {
        let part = Part::new("t".to_owned(), BTreeMap::from([(0, 10), (1, 20)]), &[], None).unwrap();
        assert!(part.adds_to(20, |_| 10), "partition 0 is not past it");
        assert!(!part.adds_to(20, |_| 20));
        assert!(part.adds_to(30, |partition| if partition == 2 { 40 } else { 20 }), "another's partition is past it");
    }
}
