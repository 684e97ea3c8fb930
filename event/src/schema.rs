//! The canonical columns, once: names, types, limits.
use arrow_schema::SchemaRef;

/// Version of the canonical schema; evolution only adds columns.
pub const SCHEMA_VERSION: i16 = 1;

/// A canonical column, by its position in the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Column(pub u8);

/// The canonical Arrow schema (dictionaries, event_id FixedSizeBinary(16), custom Map): what `codec::decode` yields.
pub fn canonical() -> SchemaRef {
    unimplemented!()
}
