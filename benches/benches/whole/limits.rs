//! What a step takes at least: the bare work with the same libraries, on the same data, on one core.
use arrow_array::RecordBatch;
use event::codec::{self, Place};
use event::record::Record;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

#[path = "../limits/parsing.rs"]
mod parsing;

pub use benches::cpu::this_thread_seconds as thread_cpu_s;
pub use parsing::{bodies, parse_to_arrow};

/// What a record of the edge has about, at half of saturation and one event a request.
const RECORD_BYTES: usize = 8_000;

/// Writes batches of one schema as Parquet (zstd-1) into memory; returns the bytes of the file. Its one setting is that a
/// dictionary may be as large as ours.
pub fn write_parquet(batches: &[RecordBatch]) -> usize {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_page_size_limit(4 << 20)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties)).expect("a writer");
    batches.iter().for_each(|batch| writer.write(batch).expect("a batch is written"));
    writer.into_inner().expect("a file").len()
}

/// Latency of librdkafka and the broker: a record after the other, `records_per_s` of them, each acknowledged by the
/// broker. Milliseconds: p50, p99, p99.9.
pub fn produce(brokers: &str, topic: &str, records_per_s: f64, seconds: u32) -> (f64, f64, f64) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("linger.ms", "0");
    let producer: FutureProducer = config.create().expect("a producer");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let payload = vec![7u8; RECORD_BYTES];
    let mut took_ms = Vec::new();
    runtime.block_on(async {
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / records_per_s.max(1.0)));
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds.into()) {
            ticks.tick().await;
            let since = Instant::now();
            let record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).partition(0).payload(&payload);
            producer.send(record, Duration::from_secs(10)).await.expect("an acknowledgement");
            took_ms.push(since.elapsed().as_secs_f64() * 1e3);
        }
    });
    took_ms.sort_by(f64::total_cmp);
    let at = |quantile: f64| took_ms[((took_ms.len() - 1) as f64 * quantile) as usize];
    (at(0.5), at(0.99), at(0.999))
}

/// All records of a topic, partition by partition.
pub fn records(brokers: &str, topic: &str) -> Vec<Record> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "bench").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let limit = Duration::from_secs(30);
    let metadata = consumer.fetch_metadata(Some(topic), limit).expect("the topic");
    let mut records = Vec::new();
    for partition in metadata.topics()[0].partitions().iter().map(|partition| partition.id()) {
        let (_, end) = consumer.fetch_watermarks(topic, partition, limit).expect("its bounds");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        consumer.assign(&list).expect("an assignment");
        let mut next = 0;
        while next < end {
            let message = consumer.poll(limit).expect("a record in time").expect("a record");
            next = message.offset() + 1;
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            let headers =
                headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec().into()));
            let payload = message.payload().unwrap_or_default().to_vec().into();
            records.push(Record { headers: headers.collect(), payload });
        }
    }
    records
}

/// The same as the sink writes them.
pub fn batches(records: &[Record]) -> Vec<RecordBatch> {
    let place = Place { topic: "events", partition: 0, offset: 0, timestamp: parsing::START_MS };
    records.iter().map(|record| codec::decode(record, place, parsing::BOUNDS).batch).collect()
}
