//! Any bytes as a log record: an answer within the limits, and no panic. (A panic that the codec's bulkhead catches
//! ends the run too: the fuzzer's panic hook aborts first.)
#![no_main]
use event::codec::{self, Place, header};
use event::decode::TimeBounds;
use event::limits;
use event::record::Record;
use libfuzzer_sys::fuzz_target;

const NOW: i64 = 1_795_320_000_000_000;

fuzz_target!(|data: &[u8]| {
    // The first byte picks the label, so that each of the decoders is reached without having to guess it.
    let Some((label, payload)) = data.split_first() else { return };
    let content_type = match label % 4 {
        0 => None,
        1 => Some("application/vnd.apache.arrow.stream"),
        2 => Some("application/json"),
        _ => Some("application/x-ndjson"),
    };
    let headers = content_type.map(|value| (header::CONTENT_TYPE.to_owned(), value.into()));
    let record = Record { headers: headers.into_iter().collect(), payload: payload.to_vec().into() };
    let place = Place { topic: "events", partition: 0, offset: 7, timestamp: NOW };
    let bounds = TimeBounds { past_max: 30 * 86_400_000_000, future_max: 3_600_000_000, skew_min: 5_000_000 };
    let decoded = codec::decode(&record, place, bounds);
    assert!(decoded.batch.num_rows() <= limits::RECORD_ROWS_MAX);
    assert_eq!(decoded.rows.len(), decoded.batch.num_rows());
    assert_eq!(decoded.batch.schema(), event::schema::canonical());
    assert!(decoded.dead.iter().all(|dead| dead.reason.len() <= limits::REASON_BYTES_MAX));
});
