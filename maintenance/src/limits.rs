//! Every bound of maintenance, each with its arithmetic.

/// What the search for copies holds at a time. Together with the filter some 450 MB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Keys that are compared at once: 81 bytes each in a map of 2^21 buckets, 170 MB. More take more readings of the keys of
    /// what is sorted anew.
    pub keys_at_once: u64,
    /// Rows of other files whose keys may be among those: 80 bytes each. Of rows that are no copies one in ten thousand, so that
    /// three dates of three billion events each are compared.
    pub candidates_max: usize,
    /// Copies that one compaction removes: some 60 bytes each. More go with the next one.
    pub copies_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { keys_at_once: 1_800_000, candidates_max: 1_000_000, copies_max: 1_000_000 }
    }
}

/// A key that is not among the new ones is taken for one that may be, so often: some 20 bits a key, in a power of two: 64 MiB for
/// 25 million.
pub const FALSE_POSITIVES: f64 = 0.0001;

/// The filter has room for so many keys at least.
pub const FILTERED_ROWS_MIN: u64 = 10_000;

/// Bytes of files that one compaction takes: at some 40 bytes an event 25 million, which is minutes of one core and well below
/// the ten minutes that a process has the maintenance lease for.
pub const INPUT_BYTES_MAX: u64 = 1 << 30;

/// Files that one compaction takes: their footers are in memory together.
pub const INPUT_FILES_MAX: usize = 128;

/// Rows that the sort hands on at once.
pub const BATCH_ROWS: usize = 8_192;

/// Memory of rows that a replay holds before they go to files, bytes: as a sink's flush.
pub const STAGED_BYTES_MAX: usize = 64 << 20;

/// Rows of a chunk of a replay, unless told otherwise: at some 40 bytes an event 200 MB of files. Each chunk writes the files anew
/// that its rows lay in.
pub const CHUNK_ROWS: u64 = 5_000_000;

/// Seconds of event time that rows of one exchange lie in, 49 bytes each in a map of 2^23 buckets, before and after: 820 MB at most;
/// eighty days without a pause. A chunk has fewer than it has rows; of a rebuild more are refused.
pub const SECONDS_MAX: usize = 7_000_000;

/// Records whose rows are counted one by one, some 40 bytes each, before and after: 480 MB at most. Of more a replay takes what came
/// for what was added, and what others had taken away stays in the audit's sum.
pub const RECORDS_COUNTED_MAX: usize = 6_000_000;

/// A replay waits for room for its marks this often, for [`MARKS_WAIT_MS`].
pub const MARKS_TRIES: u32 = 60;
/// Between two looks, ms.
pub const MARKS_WAIT_MS: u64 = 5_000;

/// After a compaction that failed, or found no room for its marks: the next try, ms.
pub const PUT_OFF_MS: i64 = 600_000;
