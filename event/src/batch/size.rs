//! How large an encoded record can get: an upper bound as a running sum.
//!
//! ```text
//!   record = headers + schema message + a dictionary message for each dictionary + batch message + end marker
//!            └─────┬───────┘  field    └────────────────┬────────────────────┘  └ nodes, buffers, body
//!                BASE        └────────── column_bytes of each column in use ───────────┘
//! ```
//! A record counts as if it could not be compressed: it is left as it is then. Rows
//! cost the fixed width and one validity bit of each column in use; strings cost their bytes, in a dictionary only
//! the first time. A property test holds the bound against the encoder.
use crate::schema::{Column, Kind};

/// Header names and values of a record: 7 names of at most 25 bytes; of the values the content type has 35 bytes,
/// the two times 20 each, the checksum 16, the others 11 at most.
pub(crate) const HEADERS_BYTES_MAX: usize = 7 * 25 + 35 + 2 * 20 + 16 + 3 * 11;

/// A message without its columns: 8 bytes of framing, tables, their vtables, padding.
const MESSAGE_BYTES_MAX: usize = 192;
/// Schema message, batch message, end marker, headers.
const BASE_BYTES: usize = 2 * MESSAGE_BYTES_MAX + 8 + HEADERS_BYTES_MAX;
/// A field of the schema message without its name: its table, type table, child vector, their vtables and padding.
const FIELD_BYTES_MAX: usize = 72;
/// What a dictionary's encoding adds to its field.
const FIELD_DICTIONARY_BYTES_MAX: usize = 48;
/// Length, count of nulls.
const NODE_BYTES: usize = 16;
/// Offset and length in the metadata; in the body up to 7 bytes of padding, and one for the bits of validity that don't
/// fill a byte.
const BUFFER_BYTES_MAX: usize = 16 + 7 + 1;
/// Strings have one offset more than values.
const OFFSET_BYTES: usize = 4;

/// Bytes of a dictionary's message without its values.
pub(crate) const DICTIONARY_MESSAGE_BYTES_MAX: usize =
    MESSAGE_BYTES_MAX + NODE_BYTES + 3 * BUFFER_BYTES_MAX + OFFSET_BYTES;

/// What a column of plain strings has and one of dictionary keys has not: the values' buffer, one more offset.
pub(crate) const PLAIN_COLUMN_BYTES: usize = BUFFER_BYTES_MAX + OFFSET_BYTES;

/// The bound of one batch, without its number of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Metadata of the columns in use.
    columns_bytes: usize,
    /// Fixed widths and validity bits of the columns in use, of one row.
    row_bits: usize,
    /// Strings, map entries.
    values_bytes: usize,
}

impl Size {
    /// A column is used for the first time: rows before it are null.
    pub(crate) fn add_column(&mut self, column: Column) {
        self.columns_bytes += column_bytes(column);
        self.row_bits += row_bits(column.kind());
    }

    /// A value took these bytes beside its fixed width.
    pub(crate) fn add_value(&mut self, bytes: usize) {
        self.values_bytes += bytes;
    }

    /// The record's bytes with `rows` rows.
    pub(crate) fn record_bytes_max(self, rows: usize) -> usize {
        BASE_BYTES + self.columns_bytes + self.values_bytes + (rows * self.row_bits).div_ceil(8)
    }
}

/// Bytes that a new value of a dictionary takes: an offset beside its own. (It is never null.)
pub(crate) const fn dictionary_value_bytes(value: &str) -> usize {
    value.len() + OFFSET_BYTES
}

/// Bytes that an entry of the map takes: two offsets, three bits of validity beside its strings.
pub(crate) const fn entry_bytes(key: &str, value: &str) -> usize {
    key.len() + value.len() + 2 * OFFSET_BYTES + 1
}

fn column_bytes(column: Column) -> usize {
    let field = FIELD_BYTES_MAX + column.name().len();
    match column.kind() {
        Kind::Text { .. } => field + NODE_BYTES + 3 * BUFFER_BYTES_MAX + OFFSET_BYTES,
        Kind::Dictionary { .. } => {
            field + FIELD_DICTIONARY_BYTES_MAX + NODE_BYTES + 2 * BUFFER_BYTES_MAX + DICTIONARY_MESSAGE_BYTES_MAX
        }
        // Fields and nodes of map, key_value, key, value; buffers: 2 + 1 + 3 + 3.
        Kind::Custom => {
            let names = "key_value".len() + "key".len() + "value".len();
            field + 3 * FIELD_BYTES_MAX + names + 4 * NODE_BYTES + 9 * BUFFER_BYTES_MAX + 3 * OFFSET_BYTES
        }
        _ => field + NODE_BYTES + 2 * BUFFER_BYTES_MAX,
    }
}

fn row_bits(kind: Kind) -> usize {
    let width = match kind {
        Kind::Boolean => 1,
        Kind::Int16 => 16,
        // Strings and maps have an offset, dictionaries a key.
        Kind::Int32 | Kind::Float32 | Kind::Text { .. } | Kind::Dictionary { .. } | Kind::Custom => 32,
        Kind::Int64 | Kind::Time => 64,
        Kind::EventId => 8 * crate::schema::EVENT_ID_BYTES,
    };
    width + 1
}
