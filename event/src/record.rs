//! A log record as the codec makes it: headers and payload, before it has an offset.
use bytes::Bytes;

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

    /// A 63-bit hash of payload and headers. Stored with each commit as a `txn`, and compared at every
    /// assignment: it tells a log that was made anew from the one that the table was written from.
    pub fn fingerprint(&self) -> i64 {
        unimplemented!()
    }
}
