//! Events to a record and back: nothing changes, and no record is larger than its builder said.
use crate::samples::{self, ARRIVAL, BOUNDS, NOW, PLACE};
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_ipc::reader::StreamReader;
use arrow_schema::DataType;
use event::batch::{Arrival, BatchBuilder};
use event::codec::{self, Decoded, header};
use event::limits;
use event::record::Record;
use event::schema::{self, Column, Kind};
use event::view_event::{Value, ViewEvent};
use proptest::collection::vec;
use proptest::prelude::*;
use std::borrow::Cow;
use std::io::Read;

pub fn encode(events: &[ViewEvent<'_>]) -> Record {
    let mut builder = BatchBuilder::new();
    for event in events {
        builder.append(ARRIVAL, event);
    }
    codec::encode(&builder.finish()).unwrap()
}

pub fn decode(record: &Record) -> Decoded {
    codec::decode(record, PLACE, BOUNDS)
}

pub fn minimal(event_id: u128) -> ViewEvent<'static> {
    ViewEvent {
        event_id: event_id.to_be_bytes(),
        event_time: NOW,
        session_id: None,
        event_type: Cow::Borrowed("play"),
        fields: Vec::new(),
        custom: Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn events_come_back_as_they_were_encoded(events in vec(samples::event(), 1..24)) {
        let record = encode(&events);
        let decoded = decode(&record);
        prop_assert_eq!(&decoded.dead, &[]);
        prop_assert_eq!(decoded.batch.schema(), schema::canonical());
        prop_assert_eq!(decoded.rows, (0..events.len() as u32).collect::<Vec<_>>());
        for (row, event) in events.iter().enumerate() {
            prop_assert_eq!(&samples::event_at(&decoded.batch, row), event);
            let ours = |column| samples::value_at(&decoded.batch, column, row);
            prop_assert_eq!(ours(Column::TENANT_ID), Some(Value::Text("default".into())));
            prop_assert_eq!(ours(Column::SOURCE), Some(Value::Text("http".into())));
            prop_assert_eq!(ours(Column::RECEIVED_AT), Some(Value::Time(NOW)));
            prop_assert_eq!(ours(Column::SCHEMA_VERSION), Some(Value::Int(schema::SCHEMA_VERSION.into())));
        }
    }

    #[test]
    fn a_record_is_never_larger_than_its_builder_said(
        events in vec(samples::event(), 1..24),
        copies in prop_oneof![Just(1usize), Just(3), Just(40)],
    ) {
        let mut builder = BatchBuilder::new();
        for event in (0..copies).flat_map(|_| &events) {
            let announced = builder.encoded_bytes_max() + builder.added_bytes_max(ARRIVAL, event);
            builder.append(ARRIVAL, event);
            prop_assert!(builder.encoded_bytes_max() <= announced, "an event added more than was announced");
        }
        let (rows, bytes_max) = (builder.rows(), builder.encoded_bytes_max());
        match codec::encode(&builder.finish()) {
            Ok(record) => prop_assert!(record.bytes() <= bytes_max, "{} > {bytes_max}, {rows} rows", record.bytes()),
            Err(_) => prop_assert!(bytes_max > limits::RECORD_BYTES_MAX, "refused within its bound of {bytes_max}"),
        }
    }
}

#[test]
fn the_headers_say_what_is_in_the_record() {
    let events = [NOW + 5, NOW - 7, NOW].map(|event_time| ViewEvent { event_time, ..minimal(1) });
    let record = encode(&events);
    let text = |name| std::str::from_utf8(record.header(name).unwrap()).unwrap().to_owned();
    assert_eq!(text(header::CONTENT_TYPE), "application/vnd.apache.arrow.stream");
    assert_eq!(text(header::CONTENT_ENCODING), "lz4");
    assert_eq!(text(header::SCHEMA_VERSION), "1");
    assert_eq!(text(header::ROWS), "3");
    assert_eq!(text(header::EVENT_TIME_MIN), (NOW - 7).to_string());
    assert_eq!(text(header::EVENT_TIME_MAX), (NOW + 5).to_string());
    assert_eq!(text(header::CHECKSUM).len(), 16);
}

#[test]
fn a_batch_without_rows_is_no_record() {
    let error = codec::encode(&BatchBuilder::new().finish()).unwrap_err();
    assert_eq!(error.rows, 0);
}

#[test]
fn a_builder_is_empty_after_finish_and_can_be_filled_again() {
    let mut builder = BatchBuilder::new();
    let fresh = builder.encoded_bytes_max();
    builder.append(ARRIVAL, &ViewEvent { session_id: Some("s".into()), ..minimal(1) });
    assert_eq!(builder.finish().num_rows(), 1);
    assert_eq!((builder.rows(), builder.encoded_bytes_max()), (0, fresh));
    builder.append(ARRIVAL, &minimal(2));
    let batch = builder.finish();
    assert_eq!(batch.num_rows(), 1);
    assert!(batch.column_by_name("session_id").is_none(), "a column without values is left out");
}

/// An event with the longest value in every column.
fn maximal(seed: u128) -> ViewEvent<'static> {
    let fields = samples::optional_columns().into_iter().map(|column| {
        let value = match column.kind() {
            Kind::Text { bytes_max } | Kind::Dictionary { bytes_max } => {
                Value::Text(Cow::Owned(noise(bytes_max, seed ^ u128::from(column.0))))
            }
            Kind::Float32 => Value::Float(seed as f32),
            Kind::Boolean => Value::Bool(seed.is_multiple_of(2)),
            Kind::Time => Value::Time((mix(seed) >> 70) as i64),
            Kind::Int16 => Value::Int((mix(seed) >> 113) as i64),
            _ => Value::Int((mix(seed) >> 97) as i64),
        };
        (column, value)
    });
    let each = limits::CUSTOM_BYTES_MAX / limits::CUSTOM_KEYS_MAX;
    let custom = (0..limits::CUSTOM_KEYS_MAX).map(|index| {
        let key = noise(limits::CUSTOM_KEY_BYTES_MAX, seed ^ (index as u128) << 64);
        let value = noise(each - key.len(), seed ^ 7 ^ (index as u128) << 32);
        (Cow::Owned(key), Cow::Owned(value))
    });
    ViewEvent {
        event_type: Cow::Owned(noise(64, seed)),
        session_id: Some(Cow::Owned(noise(64, !seed))),
        fields: fields.collect(),
        custom: custom.collect(),
        ..minimal(mix(seed))
    }
}

fn mix(seed: u128) -> u128 {
    let low = xxhash_rust::xxh3::xxh3_64(&seed.to_le_bytes());
    let high = xxhash_rust::xxh3::xxh3_64(&(!seed).to_le_bytes());
    u128::from(high) << 64 | u128::from(low)
}

/// Text that does not compress.
fn noise(bytes: usize, seed: u128) -> String {
    let mut text = String::new();
    for part in 0.. {
        if text.len() >= bytes {
            break;
        }
        let bits = mix(seed.wrapping_add(part << 100));
        text.extend((0..21).map(|at| char::from(b'0' + (bits >> (6 * at)) as u8 % 64)));
    }
    text.truncate(bytes);
    text
}

#[test]
fn the_largest_event_fits_a_record_with_room_to_spare() {
    let mut builder = BatchBuilder::new();
    assert!(builder.encoded_bytes_max() + builder.added_bytes_max(ARRIVAL, &maximal(1)) < limits::RECORD_BYTES_MAX / 4);
    builder.append(ARRIVAL, &maximal(1));
    let (batch, record_max) = (builder.finish(), limits::RECORD_BYTES_MAX / 4);
    assert!(codec::encode(&batch).unwrap().bytes() < record_max);
}

#[test]
fn who_stops_in_time_always_gets_a_record() {
    for next in [maximal as fn(u128) -> ViewEvent<'static>, minimal, heartbeat] {
        let mut builder = BatchBuilder::new();
        for seed in 1.. {
            let event = next(seed);
            if builder.encoded_bytes_max() + builder.added_bytes_max(ARRIVAL, &event) > limits::RECORD_BYTES_MAX {
                break;
            }
            builder.append(ARRIVAL, &event);
        }
        let (rows, bytes_max) = (builder.rows(), builder.encoded_bytes_max());
        assert!(rows < limits::RECORD_ROWS_MAX, "a reader takes every record of ours");
        assert!(bytes_max > limits::RECORD_BYTES_MAX * 9 / 10, "stopped far too early: {bytes_max}");
        let record = codec::encode(&builder.finish()).unwrap();
        println!("{rows} rows: {} bytes, bound {bytes_max}", record.bytes());
        assert_eq!(decode(&record).batch.num_rows(), rows);
    }
}

/// An event as an audience sends it: 20 fields, few titles and devices, random ids.
fn heartbeat(seed: u128) -> ViewEvent<'static> {
    let bits = mix(seed);
    let pick = |from: &[&'static str], shift: u32| from[(bits >> shift) as usize % from.len()];
    let int = |name: &str, value: i64| (Column::by_name(name).unwrap(), Value::Int(value));
    let text = |name: &str, value: String| (Column::by_name(name).unwrap(), Value::Text(Cow::Owned(value)));
    let range = |shift: u32, count: i64| (bits >> shift) as u32 as i64 % count;
    ViewEvent {
        event_time: NOW - range(3, 60_000) * 1_000,
        session_id: Some(Cow::Owned(format!("{:016x}", mix(bits) as u64))),
        event_type: pick(&["heartbeat", "heartbeat", "heartbeat", "play", "pause", "bitrate_change"], 5).into(),
        fields: vec![
            int("seq", range(7, 300)),
            text("viewer_id", format!("{:08x}", mix(bits ^ 1) as u32)),
            text("content_id", format!("title-{}", range(11, 1_000))),
            int("content_duration_ms", 5_400_000),
            text("stream_type", pick(&["vod", "live"], 13).to_owned()),
            text("stream_format", pick(&["hls", "dash"], 17).to_owned()),
            text("player_state", pick(&["playing", "paused", "rebuffering"], 19).to_owned()),
            int("playhead_ms", range(23, 5_400_000)),
            int("bitrate_kbps", [800, 1_600, 3_200, 6_000][range(29, 4) as usize]),
            int("buffer_ms", range(31, 30_000)),
            int("dropped_frames_total", range(37, 20)),
            text("device_type", pick(&["tv", "mobile", "web", "console"], 41).to_owned()),
            text("os", pick(&["tvOS", "Android", "iOS", "webOS", "Windows"], 43).to_owned()),
            text("player_name", pick(&["hls.js", "dash.js", "ExoPlayer"], 47).to_owned()),
            text("country", pick(&["DE", "FR", "US", "BR", "IN", "JP"], 51).to_owned()),
            text("cdn", pick(&["one", "two"], 53).to_owned()),
        ],
        ..minimal(bits)
    }
}

#[test]
fn a_record_of_one_event_is_small() {
    let record = encode(&[heartbeat(1)]);
    println!("one event of 20 fields: {} bytes", record.bytes());
    assert!(record.bytes() <= 2_200, "{} bytes", record.bytes());
    let record = encode(&[minimal(1)]);
    println!("one event of the required fields: {} bytes", record.bytes());
    assert!(record.bytes() <= 1_000, "{} bytes", record.bytes());
}

#[test]
fn an_audience_costs_at_most_130_bytes_an_event() {
    let events: Vec<_> = (0..5_000).map(heartbeat).collect();
    let record = encode(&events);
    println!("5,000 events: {} bytes, {} an event", record.bytes(), record.bytes() / events.len());
    assert!(record.bytes() / events.len() <= 130);
    let decoded = decode(&record);
    let types = samples::column(&decoded.batch, Column::EVENT_TYPE).as_dictionary::<Int32Type>();
    assert_eq!(types.values().len(), 4, "a value is in its dictionary once");
}

#[test]
fn a_batch_over_the_limit_is_refused_in_words() {
    let mut builder = BatchBuilder::new();
    for seed in 0..200 {
        builder.append(Arrival { tenant: "t", ..ARRIVAL }, &maximal(seed));
    }
    let error = codec::encode(&builder.finish()).unwrap_err();
    assert!(error.to_string().contains("over the limit of 1000000"), "{error}");
}

/// A value of `column` that neither compresses nor repeats.
fn noisy(column: Column, seed: u128) -> ViewEvent<'static> {
    let mut event = maximal(seed);
    event.fields.retain(|(kept, _)| *kept == column);
    event.custom.truncate(if column == Column::CUSTOM { 3 } else { 0 });
    let session_id = event.session_id.take().filter(|_| column == Column::SESSION_ID);
    ViewEvent { session_id, event_type: "play".into(), ..event }
}

fn batch_of(events: impl Iterator<Item = ViewEvent<'static>>) -> RecordBatch {
    let mut builder = BatchBuilder::new();
    events.for_each(|event| builder.append(ARRIVAL, &event));
    builder.finish()
}

#[test]
fn arrows_own_reader_reads_what_is_in_the_frame() {
    let event = |seed: u128| match seed {
        0 => maximal(seed),
        _ if seed % 7 == 2 => minimal(seed),
        _ => heartbeat(seed),
    };
    // So few that dictionaries are unfolded, and so many that they are not.
    for rows in [3, 300] {
        let batch = batch_of((0..rows).map(event));
        let record = codec::encode(&batch).unwrap();
        let frame = lz4_flex::frame::FrameDecoder::new(record.payload.as_ref());
        let batches: Vec<_> = StreamReader::try_new(frame, None).unwrap().map(|batch| batch.unwrap()).collect();
        assert_eq!(batches.len(), 1);
        for (field, ours) in batch.schema().fields().iter().zip(batch.columns()) {
            let read = cast(batches[0].column_by_name(field.name()).unwrap(), field.data_type()).unwrap();
            let unfolded = |array: &ArrayRef| match array.data_type() {
                DataType::Dictionary(_, values) => cast(array, values).unwrap(),
                _ => array.clone(),
            };
            assert_eq!(&unfolded(&read), &unfolded(ours), "{}", field.name());
        }
    }
}

#[test]
fn a_slice_of_a_batch_without_custom_keys_is_encoded_as_it_stands() {
    let events: Vec<_> = (0..40).map(|seed| if seed % 3 == 0 { minimal(seed) } else { heartbeat(seed) }).collect();
    let batch = batch_of(events.iter().cloned());
    for (start, rows) in [(0, 40), (1, 39), (13, 9), (39, 1)] {
        let decoded = decode(&codec::encode(&batch.slice(start, rows)).unwrap());
        let read: Vec<_> = (0..rows).map(|row| samples::event_at(&decoded.batch, row)).collect();
        assert_eq!(read, events[start..start + rows]);
    }
}

/// A record's bytes before its payload was compressed, which is what the bound counts.
fn plain_bytes(record: &Record) -> usize {
    let mut plain = Vec::new();
    if record.header(header::CONTENT_ENCODING) != Some(b"lz4") {
        return record.bytes();
    }
    lz4_flex::frame::FrameDecoder::new(record.payload.as_ref()).read_to_end(&mut plain).unwrap();
    record.bytes() - record.payload.len() + plain.len()
}

#[test]
fn no_column_costs_more_than_its_share_of_the_bound() {
    let measure = |column: Option<Column>, rows: u128| {
        let mut builder = BatchBuilder::new();
        for seed in 0..rows {
            let event = match column {
                // Some without, so that there are bits of validity too; the last one with.
                Some(column) if !(rows - seed).is_multiple_of(5) => noisy(column, seed),
                _ => minimal(mix(seed)),
            };
            builder.append(ARRIVAL, &event);
        }
        (builder.encoded_bytes_max(), plain_bytes(&codec::encode(&builder.finish()).unwrap()))
    };
    // One row, where metadata is all; and so many that dictionaries stay dictionaries.
    for rows in [1, 40, 300] {
        let (bound_without, bytes_without) = measure(None, rows);
        assert!(bytes_without <= bound_without);
        for column in Column::all().filter(|column| column.spec().nullable) {
            let (bound, bytes) = measure(Some(column), rows);
            let (share, cost) = (bound - bound_without, bytes - bytes_without);
            assert!(cost <= share, "{} costs {cost} bytes, its share is {share}", column.name());
        }
    }
}
