//! What a view event is: schema, decoding, identity, the batch codec, the dedup window.
//!
//! Pure: no I/O, no clock, no randomness, no async. Whatever varies is passed in, so sink, processor and replay get
//! the same rows from the same bytes.
//!
//! ```text
//!   body (JSON, NDJSON)                                                        rows of schema::canonical()
//!        │                                                                                  ▲
//!        ▼                                                                                  │
//!   decode ──▶ view_event ──▶ partition ──▶ batch ──▶ codec::encode ──▶ record ──▶ codec::decode ──▶ dedup
//!     │  │      (identity)    which one     columns        │            in the log                 seen in the
//!     │  └─ rejections, each with its reason               └─ at most limits::RECORD_BYTES_MAX     last N rows?
//!     └─ checked against schema and limits
//! ```
//! - [`schema`]: the canonical columns, once. [`limits`]: every bound, with its arithmetic.
//! - [`decode`]: a body's bytes to [`view_event`]s; a bad event never fails its neighbours.
//! - [`identity`]: where an event's id comes from; with the tenant it is the dedup key, everywhere.
//! - [`partition`]: a session's events and their retries meet in one partition.
//! - [`batch`]: events to columns, with a bound of the record that they will make.
//! - [`codec`]: a batch to a [`record`] and back; also records that others produced.
//! - [`dedup`]: the window over the last N rows read, which any reader can make anew from the log. [`date`]: of a row.
//!
//! Not here: where records are kept (`log`), who receives them (`ingest`), the tables (`lake`).
pub mod batch;
pub mod clock;
pub mod codec;
pub mod date;
pub mod decode;
pub mod dedup;
pub mod identity;
pub mod limits;
pub mod nulls;
pub mod partition;
pub mod record;
mod remembered;
pub mod schema;
pub mod view_event;
