//! Records that are damaged or made to hurt: no panic, no memory beyond the limits, always an answer.
use crate::codec::{decode, encode, minimal};
use crate::codec_foreign::reason;
use crate::samples;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use event::codec::{Decoded, header};
use event::limits;
use event::record::Record;
use proptest::collection::vec;
use proptest::prelude::*;
use std::io::Write;
use std::sync::Arc;

/// A change of a payload.
#[derive(Debug, Clone)]
enum Damage {
    Flip { at: prop::sample::Index, bit: u8 },
    Set { at: prop::sample::Index, bytes: Vec<u8> },
    Truncate(prop::sample::Index),
    Remove { at: prop::sample::Index, count: usize },
    Append(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = || any::<prop::sample::Index>();
    let extreme =
        prop_oneof![Just(vec![0xff; 8]), Just(vec![0; 8]), Just(vec![0xff, 0xff, 0xff, 0x7f]), vec(any::<u8>(), 1..9)];
    prop_oneof![
        4 => (at(), 0..8u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        4 => (at(), extreme).prop_map(|(at, bytes)| Damage::Set { at, bytes }),
        2 => at().prop_map(Damage::Truncate),
        1 => (at(), 1..64usize).prop_map(|(at, count)| Damage::Remove { at, count }),
        1 => vec(any::<u8>(), 1..64).prop_map(Damage::Append),
    ]
}

fn apply(payload: &[u8], damage: &Damage) -> Vec<u8> {
    let mut payload = payload.to_vec();
    match damage {
        Damage::Flip { at, bit } => {
            let at = at.index(payload.len());
            payload[at] ^= 1 << bit;
        }
        Damage::Set { at, bytes } => {
            let at = at.index(payload.len());
            let end = (at + bytes.len()).min(payload.len());
            payload[at..end].copy_from_slice(&bytes[..end - at]);
        }
        Damage::Truncate(at) => payload.truncate(at.index(payload.len())),
        Damage::Remove { at, count } => {
            let at = at.index(payload.len());
            let end = (at + count).min(payload.len());
            payload.drain(at..end);
        }
        Damage::Append(bytes) => payload.extend_from_slice(bytes),
    }
    payload
}

fn without_header(mut record: Record, name: &str) -> Record {
    record.headers.retain(|(kept, _)| kept != name);
    record
}

fn assert_in_bounds(decoded: &Decoded) -> Result<(), TestCaseError> {
    prop_assert!(decoded.batch.num_rows() <= limits::RECORD_ROWS_MAX);
    prop_assert_eq!(decoded.rows.len(), decoded.batch.num_rows());
    for dead in &decoded.dead {
        prop_assert!(!dead.reason.contains("panicked"), "the bulkhead had to hold");
        prop_assert!(!dead.reason.is_empty() && dead.reason.len() <= limits::REASON_BYTES_MAX);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn damage_is_found_by_the_checksum(events in vec(samples::event(), 1..6), damages in vec(damage(), 1..16)) {
        let record = encode(&events);
        for damage in damages {
            let payload = apply(&record.payload, &damage);
            if payload != record.payload {
                let damaged = Record { payload: payload.into(), ..record.clone() };
                prop_assert!(reason(&damaged).contains("payload is damaged"));
            }
        }
    }

    #[test]
    fn damage_without_a_checksum_never_panics(
        events in vec(samples::event(), 1..40),
        damages in vec(vec(damage(), 1..4), 1..64),
    ) {
        let record = without_header(without_header(encode(&events), header::CHECKSUM), header::ROWS);
        for several in damages {
            let payload = several.iter().fold(record.payload.to_vec(), |payload, damage| {
                if payload.is_empty() { payload } else { apply(&payload, damage) }
            });
            assert_in_bounds(&decode(&Record { payload: payload.into(), ..record.clone() }))?;
        }
    }

    #[test]
    fn any_bytes_have_an_answer(payload in vec(any::<u8>(), 0..512), marker in any::<bool>()) {
        let mut bytes = if marker { vec![0xff, 0xff, 0xff, 0xff, 64, 0, 0, 0] } else { Vec::new() };
        bytes.extend(payload);
        assert_in_bounds(&decode(&Record { headers: Vec::new(), payload: bytes.into() }))?;
    }
}

#[test]
fn every_cut_of_a_record_is_a_dead_letter() {
    let record = without_header(encode(&[minimal(1), minimal(2)]), header::CHECKSUM);
    for length in 0..record.payload.len() {
        let cut = Record { payload: record.payload.slice(..length), ..record.clone() };
        assert!(!reason(&cut).contains("panicked"), "at {length}");
    }
}

/// A record of Arrow's own writer whose resp_url is one compressed buffer of `URL_BYTES`.
fn record_with_a_large_buffer() -> Record {
    let urls = StringArray::from(vec!["a".repeat(2_003); 31]);
    compressed(&with_column(31, "resp_url", Arc::new(urls)), CompressionType::LZ4_FRAME)
}

const URL_BYTES: u64 = 31 * 2_003;
/// What an lz4 frame begins with.
const LZ4_MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();

fn with_claim(record: &Record, claim: u64) -> Record {
    let (from, to) = (URL_BYTES.to_le_bytes(), claim.to_le_bytes());
    let mut payload = record.payload.to_vec();
    // The last of the strings' offsets looks like the length, but no lz4 frame follows it.
    let claimed = [&from[..], &LZ4_MAGIC].concat();
    let places: Vec<_> = (0..payload.len() - 12).filter(|at| payload[*at..at + 12] == claimed).collect();
    assert_eq!(places.len(), 1, "the length of the compressed buffer is there once");
    payload[places[0]..places[0] + 8].copy_from_slice(&to);
    Record { payload: payload.into(), ..record.clone() }
}

#[test]
fn a_buffer_that_claims_more_than_the_limit_is_not_believed() {
    let record = record_with_a_large_buffer();
    assert_eq!(decode(&with_claim(&record, URL_BYTES)).batch.num_rows(), 31);
    for claim in [1 << 40, i64::MAX as u64, limits::DECODED_BYTES_MAX as u64 + 1] {
        let reason = reason(&with_claim(&record, claim));
        assert!(reason.contains("when unfolded"), "{claim}: {reason}");
    }
    assert!(reason(&with_claim(&record, i64::MIN as u64)).contains("claims -"));
}

#[test]
fn a_buffer_that_unfolds_to_something_else_than_it_claims_is_a_dead_letter() {
    let record = record_with_a_large_buffer();
    for claim in [1, 100, URL_BYTES - 1, URL_BYTES + 1, 1 << 20] {
        let reason = reason(&with_claim(&record, claim));
        assert!(reason.contains("does not unfold to"), "{claim}: {reason}");
    }
}

fn compressed(batch: &RecordBatch, codec: CompressionType) -> Record {
    let options = IpcWriteOptions::default().try_with_compression(Some(codec)).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    Record { headers: Vec::new(), payload: Bytes::from(writer.into_inner().unwrap()) }
}

/// A batch of ours with one column more.
fn with_column(rows: usize, name: &str, array: ArrayRef) -> RecordBatch {
    let events: Vec<_> = (0..rows as u128).map(minimal).collect();
    let mut builder = event::batch::BatchBuilder::new();
    for event in &events {
        builder.append(samples::ARRIVAL, event);
    }
    let batch = builder.finish();
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(name, array.data_type().clone(), true)));
    let mut columns = batch.columns().to_vec();
    columns.push(array);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

#[test]
fn a_dictionary_that_unfolds_to_gigabytes_is_a_dead_letter() {
    let rows = 90_000;
    let values = Arc::new(StringArray::from(vec!["x".repeat(60_000)]));
    let keys = Int32Array::from(vec![0; rows]);
    for name in ["cdn", "content_title"] {
        let bomb = DictionaryArray::<Int32Type>::new(keys.clone(), values.clone());
        let record = compressed(&with_column(rows, name, Arc::new(bomb)), CompressionType::LZ4_FRAME);
        let reason = reason(&record);
        assert!(reason.contains("strings take more than"), "{reason}");
    }
}

#[test]
fn a_record_of_too_many_rows_is_a_dead_letter() {
    let rows = limits::RECORD_ROWS_MAX + 1;
    let none = DictionaryArray::<Int32Type>::from_iter(std::iter::repeat_n(None::<&str>, rows));
    let reason = reason(&compressed(&with_column(rows, "cdn", Arc::new(none)), CompressionType::LZ4_FRAME));
    assert!(reason.contains("over the limit of 100000"), "{reason}");
}

#[test]
fn a_reason_never_quotes_more_than_a_little_of_the_record() {
    let name = "c".repeat(100_000);
    let array = Arc::new(Int32Array::from(vec![1]));
    let field = Field::new(&name, DataType::Int32, true);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap();
    let reason = reason(&compressed(&batch, CompressionType::LZ4_FRAME));
    assert!(reason.len() < 300, "{} bytes", reason.len());
}

/// The record with this payload in an lz4 frame.
fn in_a_frame(record: &Record, payload: &[u8]) -> Record {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(payload).unwrap();
    let payload = Bytes::from(encoder.finish().unwrap());
    let mut headers = record.headers.clone();
    headers.retain(|(name, _)| name != header::CONTENT_ENCODING && name != header::CHECKSUM);
    headers.push((header::CONTENT_ENCODING.to_owned(), Bytes::from_static(b"LZ4")));
    Record { headers, payload }
}

#[test]
fn a_frame_around_a_stream_whose_bodies_are_compressed_too_is_taken_off() {
    let arrow = record_with_a_large_buffer();
    assert_eq!(decode(&in_a_frame(&arrow, &arrow.payload)).batch.num_rows(), 31);
}

#[test]
fn a_frame_around_json_is_a_dead_letter_since_the_bytes_of_its_rows_could_not_be_kept() {
    let json = r#"{"event_type":"play","content_id":"c","event_time":1795320000000,"session_id":"s"}"#;
    let reason = reason(&in_a_frame(&Record::default(), json.as_bytes()));
    assert!(reason.contains("content-encoding lz4 is for Arrow streams: send JSON as it is"), "{reason}");
}

#[test]
fn frame_and_bodies_share_what_a_record_may_take() {
    let rows = 31;
    let urls = StringArray::from_iter_values((0..rows).map(|_| "u".repeat(limits::DECODED_BYTES_MAX / 60)));
    let record = compressed(&with_column(rows, "resp_url", Arc::new(urls)), CompressionType::LZ4_FRAME);
    let padding = limits::DECODED_BYTES_MAX / 2 - record.payload.len();
    assert_eq!(decode(&record).batch.num_rows(), rows, "by themselves the bodies fit");
    // Nothing may follow a stream, but what does is unfolded first.
    let padded = [&record.payload[..], &vec![0; padding]].concat();
    let reason = reason(&in_a_frame(&record, &padded));
    assert!(reason.contains("more than 67108864 bytes when unfolded"), "{reason}");
}

#[test]
fn a_frame_that_unfolds_to_gigabytes_is_a_dead_letter() {
    let nothing = vec![0; limits::DECODED_BYTES_MAX + 1];
    let reason = reason(&in_a_frame(&Record::default(), &nothing));
    assert!(reason.contains("more than 67108864 bytes when unfolded"), "{reason}");
}

#[test]
fn what_follows_a_frame_is_not_passed_over() {
    let record = without_header(encode(&[minimal(1)]), header::CHECKSUM);
    for tail in [&[0; 1][..], &[0; 4], &record.payload] {
        let longer = Record { payload: [&record.payload, tail].concat().into(), ..record.clone() };
        let reason = reason(&longer);
        assert!(reason.contains(&format!("{} bytes follow the lz4 frame", tail.len())), "{reason}");
    }
}

#[test]
fn an_encoding_that_is_not_known_is_named() {
    let mut record = without_header(encode(&[minimal(1)]), header::CONTENT_ENCODING);
    record.headers.push((header::CONTENT_ENCODING.to_owned(), Bytes::from_static(b"snappy")));
    assert!(reason(&record).contains("content-encoding snappy is not supported: use lz4"));
}
