//! Every bound of the processor, each with its arithmetic.
use std::time::Duration;

/// Bytes of a rollup's SQL: a screen of text is 4 KB.
pub const SQL_BYTES_MAX: usize = 16 << 10;

/// Bytes of a rollup's name: it is the name of a folder, and part of a `txn` id.
pub const NAME_BYTES_MAX: usize = 63;

/// The shortest window.
pub const WINDOW_MIN: Duration = Duration::from_secs(1);

/// The longest window. A restart reads back one window and its lateness; a day is put together from its windows.
pub const WINDOW_MAX: Duration = Duration::from_secs(3_600);

/// Windows that an event is in: a window of an hour that slides by a minute.
pub const WINDOWS_OF_EVENT_MAX: u32 = 60;

/// The longest allowed lateness.
pub const LATENESS_MAX: Duration = Duration::from_secs(3_600);

/// Windows that late events were marked for, of all rollups together: 30 days of minutes, of six rollups. A mark is about
/// 100 bytes, and all are written anew with each change.
pub const LATE_WINDOWS_MAX: usize = 6 * 30 * 1_440;

/// Of those, windows that await a rewrite of `events`: a quarter, so that late events have their room. Of four rollups of minutes they
/// are eleven days.
pub const AWAITING_MAX: usize = LATE_WINDOWS_MAX / 4;

/// Windows of a rollup whose partials are merged at once, when they are small.
pub const CLOSED_AT_ONCE: usize = 60;

/// Windows of a rollup that are computed again at once, when they are small.
pub const CORRECTED_AT_ONCE: usize = 60;

/// Memory of the windows that are computed again at once, bytes: of more than one window half as many are taken. A single one
/// takes [`OPEN_BYTES_MAX`].
pub const CORRECTED_BYTES_MAX: usize = 128 << 20;

/// The longest time between two revisions of a window that late events keep coming for.
pub const CORRECTION_WAIT_MAX: Duration = Duration::from_secs(600);

/// Days that are looked at whether they are kept, before the newest that is over: events may be a century old.
pub const DAYS_MAX: i64 = 36_600;

/// Days that one commit computes: a month.
pub const DAYS_AT_ONCE: usize = 31;

/// Rows that such a commit reads before it takes no further day: some seconds. What waits for it is the upkeep of the processor's
/// other tables.
pub const DAY_ROWS_AT_ONCE: u64 = 4_000_000;

/// Memory of a day's groups while its windows are put together, bytes; what is more goes to the system's temporary folder. A sketch is held twice, for its
/// state and its value: 16,000 groups with two full ones of 4 KiB, or 100,000 with some hundred values each.
pub const DAY_BYTES_MAX: usize = 256 << 20;

/// Windows of a rollup that are shown after they were closed: what a screen compares the open ones with.
pub const RECENT_WINDOWS: usize = 10;

/// Rows of those windows: of more, the older are not shown.
pub const RECENT_ROWS_MAX: usize = 100_000;

/// Bytes of what one processor has open of a rollup, as others get it: 100,000 groups of 600 bytes. Of more nothing is shown.
pub const PART_BYTES_MAX: usize = 64 << 20;

/// Bytes of the parts of all processors that are merged at a look; those of more are missing.
pub const PARTS_BYTES_MAX: usize = 4 * PART_BYTES_MAX;

/// Windows that are shown at a look where processors share the partitions: as many as can be asked for.
pub const SHOWN_WINDOWS_MAX: usize = 100;

/// Groups of a window, unless it is configured: titles times devices of a large service. One takes some 100 bytes, and up
/// to 4 KiB for each sketch with many values.
pub const GROUPS_MAX: usize = 100_000;

/// Open windows of a rollup, unless it is configured: windows of a second, an hour of lateness, and clocks that are an hour
/// ahead are 7,200.
pub const OPEN_WINDOWS_MAX: usize = 10_000;

/// Memory of the open windows of all rollups, bytes, unless it is configured: four rollups of two windows, of 100,000 groups of
/// 600 bytes.
pub const OPEN_BYTES_MAX: usize = 512 << 20;

/// Events after which that memory is looked at: of a kilobyte of groups each 2 MB.
pub const EVENTS_A_LOOK: usize = GATHERED_EVENTS_MAX;

/// Events of a partition that are folded at once: four rollups take some 200 us for a batch, and 0.3 us for each event.
pub const GATHERED_EVENTS_MAX: usize = 2_048;

/// Bytes of the log that are folded at once, of a partition: so many events of 128 bytes.
pub const GATHERED_BYTES_MAX: usize = 256 << 10;

/// The same of all partitions: four that are full. LZ4 unfolds to 255 times as much at most, 255 MB of nothing but zeros.
pub const GATHERED_BYTES_IN_ALL_MAX: usize = 1 << 20;

/// Windows whose groups are put together at a look: each step goes over all windows, some 100 us where 10,000 are open.
pub const SHRUNK_A_LOOK: usize = 64;

/// While windows are opened faster than ticks come, a tick is due so often until there are as many as may be.
pub const TICKS_UP_TO_BOUND: usize = 8;

/// Keys and aggregates of a rollup, together.
pub const COLUMNS_MAX: usize = 64;
