//! What a view event is: schema, decoding, identity, the batch codec, the dedup window.
//!
//! Pure: no I/O, no clock, no randomness, no async. Whatever varies is passed in.
pub mod batch;
pub mod clock;
pub mod codec;
pub mod decode;
pub mod dedup;
pub mod identity;
pub mod limits;
pub mod partition;
pub mod record;
pub mod schema;
pub mod view_event;
