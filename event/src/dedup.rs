//! The dedup window: a row is a duplicate when its key is among the previous N rows read of its partition.

/// The dedup key: tenant and event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// xxh3-64 of the tenant's name.
    pub tenant: u64,
    /// The event id.
    pub id: u128,
}

impl Key {
    /// The key of an event.
    pub fn new(tenant: &str, event_id: &[u8; 16]) -> Self {
        let _ = (tenant, event_id);
        unimplemented!()
    }
}

/// The last N keys read of one partition, kept or not.
pub struct Window {}

impl Window {
    /// An empty window over `rows` rows.
    pub fn new(rows: usize) -> Self {
        let _ = rows;
        unimplemented!()
    }
    /// Takes the next row read, of the record at `offset`; true when it is a duplicate.
    pub fn observe(&mut self, offset: u64, key: Key) -> bool {
        let _ = (offset, key);
        unimplemented!()
    }
    /// D: the offset to read from so that the window is the same after a restart at the next record;
    /// `None` while nothing was read. (Smallest offset whose rows are still in the window.)
    pub fn start_offset(&self) -> Option<u64> {
        unimplemented!()
    }
    /// Rows held now; less than N: the window is short (start of the log, or retention cut it).
    pub fn len(&self) -> usize {
        unimplemented!()
    }
    /// True while nothing was read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
