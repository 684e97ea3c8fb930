//! Every bound of maintenance, each with its arithmetic.

/// Keys that are compared at once: an entry of the map takes some 100 bytes, so 200 MB. More rows take more passes over the
/// keys of the dates beside.
pub const KEYS_AT_ONCE: u64 = 2_000_000;

/// Copies that one compaction removes: 24 bytes each. More go with the next one.
pub const COPIES_MAX: usize = 1_000_000;

/// Bytes of files that one compaction takes: at some 40 bytes an event 50 million, a few minutes of one core.
pub const INPUT_BYTES_MAX: u64 = 2 << 30;

/// Files that one compaction takes: their footers are read one after the other, and the commit names each.
pub const INPUT_FILES_MAX: usize = 2_000;

/// Rows that the sort hands on at once.
pub const BATCH_ROWS: usize = 8_192;
