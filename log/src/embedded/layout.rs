//! Bytes on disk: keys and values of the keyspaces. Pure.
//!
//! ```text
//! keyspace p0, p1, ..   offset u64 BE            ->  record
//! keyspace meta         's' partition            ->  first offset held, newest timestamp
//!                       'g' partition, offset    ->  a closed segment
//!                       'r' partition, reader    ->  released offset
//!                       'w'                      ->  nothing: written so that fjall's clock ticks
//! record:  version u8 = 1 | timestamp i64 | header count u32 | (name length u32, value length u32, name, value)* | payload
//! ```
//! Integers in keys are big-endian, so that they sort; in values little-endian.
use super::partition::Segment;
use crate::{Entry, Record};
use bytes::Bytes;
use event::clock::Micros;

/// Version of the record format; another one is an error in words.
const RECORD_VERSION: u8 = 1;

/// Beyond its value, what a record costs on disk: key, block and journal framing, its part of the indexes (estimated).
const OVERHEAD_BYTES: u64 = 64;

/// Written before files are deleted; means nothing.
pub(super) const SWEEP_KEY: &[u8] = b"w";

pub(super) fn offset_key(offset: u64) -> [u8; 8] {
    offset.to_be_bytes()
}

pub(super) fn offset_of_key(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

fn meta_key(tag: u8, partition: u32, rest: &[u8]) -> Vec<u8> {
    [&[tag], partition.to_be_bytes().as_slice(), rest].concat()
}

pub(super) fn start_key(partition: u32) -> Vec<u8> {
    meta_key(b's', partition, &[])
}

pub(super) fn segment_key(partition: u32, start: u64) -> Vec<u8> {
    meta_key(b'g', partition, &start.to_be_bytes())
}

/// All segments' keys of `partition` begin with this.
pub(super) fn segment_prefix(partition: u32) -> Vec<u8> {
    meta_key(b'g', partition, &[])
}

pub(super) fn release_key(partition: u32, reader: &str) -> Vec<u8> {
    meta_key(b'r', partition, reader.as_bytes())
}

pub(super) fn encode_start(start: u64, newest: Micros) -> Vec<u8> {
    [start.to_le_bytes(), newest.to_le_bytes()].concat()
}

pub(super) fn decode_start(value: &[u8]) -> Option<(u64, Micros)> {
    let mut fields = Fields(value);
    let start = (fields.u64()?, fields.i64()?);
    fields.0.is_empty().then_some(start)
}

pub(super) fn encode_release(offset: u64) -> Vec<u8> {
    offset.to_le_bytes().to_vec()
}

pub(super) fn decode_release(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

/// The value of a closed segment; its key has its start.
pub(super) fn encode_segment(segment: &Segment) -> Vec<u8> {
    [segment.end.to_le_bytes(), segment.newest.to_le_bytes(), segment.bytes.to_le_bytes()].concat()
}

pub(super) fn decode_segment(key: &[u8], value: &[u8]) -> Option<Segment> {
    let start = offset_of_key(key.get(5..)?)?;
    let mut fields = Fields(value);
    let segment = Segment { start, end: fields.u64()?, newest: fields.i64()?, bytes: fields.u64()? };
    fields.0.is_empty().then_some(segment)
}

/// Bytes of a record on disk, as the budget counts them.
pub(super) fn stored_bytes(record: &Record) -> u64 {
    (value_bytes(record) as u64) + OVERHEAD_BYTES
}

/// As [`stored_bytes`], of an encoded value.
pub(super) fn stored_bytes_of_value(value: &[u8]) -> u64 {
    value.len() as u64 + OVERHEAD_BYTES
}

fn value_bytes(record: &Record) -> usize {
    1 + 8 + 4 + 8 * record.headers.len() + record.bytes()
}

pub(super) fn encode_record(timestamp: Micros, record: &Record) -> Vec<u8> {
    let mut value = Vec::with_capacity(value_bytes(record));
    value.push(RECORD_VERSION);
    value.extend_from_slice(&timestamp.to_le_bytes());
    value.extend_from_slice(&(record.headers.len() as u32).to_le_bytes());
    for (name, content) in &record.headers {
        value.extend_from_slice(&(name.len() as u32).to_le_bytes());
        value.extend_from_slice(&(content.len() as u32).to_le_bytes());
        value.extend_from_slice(name.as_bytes());
        value.extend_from_slice(content);
    }
    value.extend_from_slice(&record.payload);
    value
}

/// The timestamp alone.
pub(super) fn timestamp_of_value(value: &[u8]) -> Result<Micros, String> {
    let mut fields = Fields(value);
    match fields.u8() {
        Some(RECORD_VERSION) => fields.i64().ok_or_else(|| "its value is cut short".to_owned()),
        Some(other) => Err(format!("its value has version {other}, this program knows {RECORD_VERSION}")),
        None => Err("its value is empty".to_owned()),
    }
}

pub(super) fn decode_record(partition: u32, offset: u64, value: &[u8]) -> Result<Entry, String> {
    let timestamp = timestamp_of_value(value)?;
    let record = decode_content(&value[9..]).ok_or("its headers do not fit its value")?;
    Ok(Entry { partition, offset, timestamp, record })
}

fn decode_content(value: &[u8]) -> Option<Record> {
    let whole = Bytes::copy_from_slice(value);
    let mut fields = Fields(&whole);
    let count = fields.u32()? as usize;
    // A header takes 8 bytes at least: a count that can't be true does not reserve memory.
    let mut headers = Vec::with_capacity(count.min(value.len() / 8));
    for _ in 0..count {
        let (name_bytes, content_bytes) = (fields.u32()? as usize, fields.u32()? as usize);
        let name = String::from_utf8(fields.take(name_bytes)?.to_vec()).ok()?;
        let content = whole.slice_ref(fields.take(content_bytes)?);
        headers.push((name, content));
    }
    let payload = whole.slice_ref(fields.0);
    Some(Record { headers, payload })
}

/// Reads fields off the front of a slice.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(field)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|field| field[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take(8)?.try_into().ok().map(i64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_was(
            timestamp: i64,
            headers in prop::collection::vec((".{0,8}", prop::collection::vec(any::<u8>(), 0..9)), 0..4),
            payload in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let headers = headers.into_iter().map(|(name, content)| (name, Bytes::from(content))).collect();
            let record = Record { headers, payload: payload.into() };
            let value = encode_record(timestamp, &record);
            prop_assert_eq!(stored_bytes(&record), stored_bytes_of_value(&value));
            prop_assert_eq!(decode_record(3, 7, &value), Ok(Entry { partition: 3, offset: 7, timestamp, record }));
        }

        #[test]
        fn foreign_bytes_are_an_error_and_never_a_panic(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_record(0, 0, &value);
        }
    }

    #[test]
    fn a_newer_record_format_is_refused_in_words() {
        let mut value = encode_record(1, &Record::default());
        value[0] = 9;
        assert!(decode_record(0, 0, &value).unwrap_err().contains("version 9"));
    }

    #[test]
    fn a_segment_comes_back_from_key_and_value() {
        let segment = Segment { start: 5, end: 9, newest: -4, bytes: 77 };
        assert_eq!(decode_segment(&segment_key(3, 5), &encode_segment(&segment)), Some(segment));
    }
}
