//! Every bound of an event and a record, each with its arithmetic.

/// A log record with its headers: under Kafka's default `max.message.bytes` of 1,048,588.
pub const RECORD_BYTES_MAX: usize = 1_000_000;
