//! Records as librdkafka has them, and as we do. Pure.
use crate::{Entry, Record};
use bytes::Bytes;
use event::clock::Micros;
use rdkafka::Timestamp;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A header whose name is no text keeps its place, under this name and without its value: the binding shows neither.
const NAMELESS: &str = "\u{fffd}";

/// `None`: no record of ours has such a place (librdkafka's own numbers are negative).
pub(super) fn entry<M: Message>(message: &M) -> Option<Entry> {
    Some(Entry {
        partition: u32::try_from(message.partition()).ok()?,
        offset: u64::try_from(message.offset()).ok()?,
        timestamp: micros(message.timestamp()),
        record: record(message),
    })
}

/// What any producer wrote; its key is of no use to us.
pub(super) fn record<M: Message>(message: &M) -> Record {
    let headers = message.headers().map(all_headers).unwrap_or_default();
    let payload = message.payload().map(Bytes::copy_from_slice).unwrap_or_default();
    Record { headers, payload }
}

/// Milliseconds, as Kafka has them.
fn micros(timestamp: Timestamp) -> Micros {
    timestamp.to_millis().unwrap_or(0).saturating_mul(1_000)
}

fn all_headers<H: Headers>(headers: &H) -> Vec<(String, Bytes)> {
    (0..headers.count()).map(|index| header(headers, index)).collect()
}

/// The binding panics over a name that is not UTF-8, which any producer may write.
fn header<H: Headers>(headers: &H, index: usize) -> (String, Bytes) {
    let read = catch_unwind(AssertUnwindSafe(|| {
        let header = headers.try_get(index)?;
        Some((header.key.to_owned(), header.value.map(Bytes::copy_from_slice).unwrap_or_default()))
    }));
    read.ok().flatten().unwrap_or_else(|| (NAMELESS.to_owned(), Bytes::new()))
}

/// `None`: there are none.
pub(super) fn owned_headers(record: &Record) -> Option<OwnedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    let headers = OwnedHeaders::new_with_capacity(record.headers.len());
    let insert = |headers: OwnedHeaders, (key, value): &(String, Bytes)| {
        headers.insert(Header { key, value: Some(value.as_ref()) })
    };
    Some(record.headers.iter().fold(headers, insert))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::OwnedMessage;

    fn message(headers: Option<OwnedHeaders>, payload: Option<Vec<u8>>, timestamp: Timestamp) -> OwnedMessage {
        OwnedMessage::new(payload, Some(b"key".to_vec()), "events".into(), timestamp, 3, 7, headers)
    }

    #[test]
    fn a_record_comes_back_as_it_was_sent() {
        let headers = vec![("b".to_owned(), Bytes::from_static(b"\0\xff")), ("a".to_owned(), Bytes::new())];
        let sent = Record { headers, payload: Bytes::from_static(b"payload") };
        let message = message(owned_headers(&sent), Some(sent.payload.to_vec()), Timestamp::LogAppendTime(12));
        let got = entry(&message).unwrap();
        assert_eq!((got.partition, got.offset, got.timestamp), (3, 7, 12_000));
        assert_eq!(got.record, sent);
    }

    #[test]
    fn what_others_leave_out_is_empty() {
        let got = entry(&message(None, None, Timestamp::NotAvailable)).unwrap();
        assert_eq!((got.timestamp, got.record), (0, Record::default()));
    }

    #[test]
    fn a_header_that_can_not_be_read_costs_only_itself() {
        struct Broken;
        impl Headers for Broken {
            fn count(&self) -> usize {
                3
            }
            fn try_get(&self, index: usize) -> Option<Header<'_, &[u8]>> {
                assert_ne!(index, 1, "as the binding panics over a name that is not UTF-8");
                Some(Header { key: "good", value: Some(b"value") })
            }
        }
        let names: Vec<_> = all_headers(&Broken).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["good", NAMELESS, "good"]);
    }
}
