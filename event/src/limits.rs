//! Every bound of an event and a record, each with its arithmetic. Bounds of single columns: [`crate::schema`].
use crate::schema::COLUMNS;

/// A log record with its headers: under Kafka's default `max.message.bytes` of 1,048,588.
pub const RECORD_BYTES_MAX: usize = 1_000_000;

/// JSON text of one event, 64 KiB. What it says as columns is never longer than its text (escapes only shrink), so
/// one event always fits a record: 65,536 of text, beside it at most 66 columns x 3 buffers x 64 bytes = 12,672,
/// offsets of `custom` below 1,024, and about 30,000 for the schema, the dictionaries' messages and the headers.
pub const EVENT_BYTES_MAX: usize = 64 * 1_024;

/// Keys without a column in one event, those that are null included.
pub const CUSTOM_KEYS_MAX: usize = 64;

/// One key without a column, UTF-8 bytes, as CMCD bounds its custom keys.
pub const CUSTOM_KEY_BYTES_MAX: usize = 64;

/// One value of a key without a column, UTF-8 bytes of its text: a long URL, as `resp_url`.
pub const CUSTOM_VALUE_BYTES_MAX: usize = 2_048;

/// All keys and values without a column in one event: 8 of the longest, or 64 of 256 bytes on average. With the
/// columns' own bounds (about 8,000 bytes together) that stays under [`EVENT_BYTES_MAX`] in any but the most
/// escaped text.
pub const CUSTOM_BYTES_MAX: usize = 16 * 1_024;

/// Levels of objects and arrays in one value without a column.
pub const CUSTOM_DEPTH_MAX: usize = 8;

/// Keys of one event: each column and the keys without a column once.
pub const EVENT_KEYS_MAX: usize = COLUMNS.len() + CUSTOM_KEYS_MAX;

/// An event id as the client gives it, UTF-8 bytes. A UUID has at most 45 (as a URN).
pub const EVENT_ID_BYTES_MAX: usize = 256;

/// Problems of one event that a rejection names; the others are counted.
pub const REASON_PROBLEMS_MAX: usize = 4;

/// Bytes of a client's text that a problem repeats, before control characters are escaped.
pub const REASON_VALUE_BYTES_MAX: usize = 48;

/// A rejection's reason: 4 problems, each with at most two texts of the client's (48 bytes, `\u{7f}` for each at
/// worst: 288, and three dots) and 180 bytes of our own words: 4 x (2 x 291 + 180) = 3,048.
pub const REASON_BYTES_MAX: usize = 3_072;

/// Rows of one record that a reader takes. Ours have at most 1,000,000 / 46 bytes = 21,700 (the required columns
/// alone take 16 + 3 x 4 + 2 x 8 + 2 bytes a row, and their validity); 100,000 rows of the canonical schema, most
/// columns null, take 100,000 x 300 bytes = 30 MB.
pub const RECORD_ROWS_MAX: usize = 100_000;

/// What a record may unfold to: its bodies without compression, and again its strings with each dictionary's values
/// written out. Ours stay under [`RECORD_BYTES_MAX`] in both; others may compress 1 MB to a 64th.
pub const DECODED_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(EVENT_BYTES_MAX * 4 < RECORD_BYTES_MAX, "one event fits a record with room to spare");
const _: () = assert!(CUSTOM_VALUE_BYTES_MAX <= CUSTOM_BYTES_MAX && CUSTOM_BYTES_MAX < EVENT_BYTES_MAX);
