//! A log record as the codec makes it: headers and payload, before it has an offset.
//!
//! Promise: [`Record::fingerprint`] depends on nothing but names, values and payload, and two records that differ in
//! any of them (or in the order of their headers) are told apart but for a chance of 2^-63.
use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

/// One record: a batch of events with what a reader must know before it decodes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Header names and values, in order, names unique. Names: `codec::header`.
    pub headers: Vec<(String, Bytes)>,
    /// The body: an Arrow IPC stream, JSON or NDJSON, as the header `content-type` says.
    pub payload: Bytes,
}

impl Record {
    /// The value of the header `name`, if there is one.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// Bytes of names, values and payload: what `limits::RECORD_BYTES_MAX` bounds.
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.headers.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
    }

    /// A 63-bit hash of payload and headers, never negative. Stored with each commit as a `txn`, and compared at
    /// every assignment: it tells a log that was made anew from the one that the table was written from.
    ///
    /// xxh3-64, less its lowest bit, over: the number of headers; for each header its name and its value; the
    /// payload. Numbers are 64-bit little endian, and each name, value and payload has its length before it, so no
    /// two records have the same serialisation. It guards against mishaps, not against forgery.
    pub fn fingerprint(&self) -> i64 {
        let mut hash = Xxh3::new();
        hash.update(&(self.headers.len() as u64).to_le_bytes());
        for (name, value) in &self.headers {
            update_with_length(&mut hash, name.as_bytes());
            update_with_length(&mut hash, value);
        }
        update_with_length(&mut hash, &self.payload);
        (hash.digest() >> 1) as i64
    }
}

fn update_with_length(hash: &mut Xxh3, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(headers: &[(&str, &str)], payload: &str) -> Record {
        let headers =
            headers.iter().map(|(name, value)| (name.to_string(), Bytes::copy_from_slice(value.as_bytes()))).collect();
        Record { headers, payload: Bytes::copy_from_slice(payload.as_bytes()) }
    }

    #[test]
    fn records_that_only_differ_in_where_a_part_ends_have_other_fingerprints() {
        let records = [
            record(&[("a", "bc")], "d"),
            record(&[("ab", "c")], "d"),
            record(&[("a", "b")], "cd"),
            record(&[("a", ""), ("b", "c")], "d"),
            record(&[("b", "c"), ("a", "")], "d"),
            record(&[], "abcd"),
            record(&[("abcd", "")], ""),
            record(&[], ""),
        ];
        let mut fingerprints: Vec<_> = records.iter().map(Record::fingerprint).collect();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        assert_eq!(fingerprints.len(), records.len());
        assert!(fingerprints.iter().all(|fingerprint| *fingerprint >= 0), "a txn's value is never negative");
    }

    #[test]
    fn a_fingerprint_stays_the_same_over_versions() {
        // Tables hold these values: another hash would stop every partition.
        assert_eq!(record(&[("content-type", "application/json")], "{}").fingerprint(), 5_881_348_676_235_765_394);
    }
}
