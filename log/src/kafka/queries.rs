//! Questions to the brokers, each answered afresh. librdkafka waits in the calling thread, so they go to threads that
//! may block.
use super::client::{Client, Closing, Context, lock, words};
use super::{Options, entry, properties};
use crate::ReadError;
use event::clock::Micros;
use event::record::Record;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A broker that does not answer within it is unavailable.
const QUERY_LIMIT: Duration = Duration::from_secs(5);

type Probe = BaseConsumer<Context>;

/// Asks by the fetcher's client, and by a small one of its own for single records.
#[derive(Clone)]
pub(super) struct Queries {
    options: Arc<Options>,
    name: String,
    closing: Closing,
    client: Arc<StreamConsumer<Context>>,
    /// Made when the first record is asked for.
    probe: Arc<Mutex<Option<Client<Probe>>>>,
}

impl Queries {
    pub(super) fn new(
        options: Arc<Options>,
        name: &str,
        client: Arc<StreamConsumer<Context>>,
        closing: &Closing,
    ) -> Self {
        let (name, closing) = (name.to_owned(), closing.clone());
        Self { options, name, closing, client, probe: Arc::default() }
    }

    /// First offset still there, and the next one: below it all transactions have ended.
    pub(super) async fn bounds(&self, partition: u32) -> Result<Range<u64>, ReadError> {
        self.blocking(move |queries| queries.bounds_now(partition)).await
    }

    /// As [`Queries::bounds`], in the calling thread.
    pub(super) fn bounds_now(&self, partition: u32) -> Result<Range<u64>, ReadError> {
        let asked = self.client.fetch_watermarks(&self.options.topic, partition as i32, QUERY_LIMIT);
        let (start, end) = asked.map_err(|error| unavailable(partition, "its bounds", &error))?;
        match (u64::try_from(start), u64::try_from(end)) {
            (Ok(start), Ok(end)) if start <= end => Ok(start..end),
            _ => Err(ReadError::Unavailable(format!("partition {partition}: the broker says bounds {start}..{end}"))),
        }
    }

    pub(super) async fn offset_at(&self, partition: u32, time: Micros) -> Result<Option<u64>, ReadError> {
        self.blocking(move |queries| queries.offset_at_now(partition, time)).await
    }

    fn offset_at_now(&self, partition: u32, time: Micros) -> Result<Option<u64>, ReadError> {
        // Kafka has milliseconds, and its own meanings for negative ones.
        let time_ms = time.max(0).div_ceil_ms();
        let failed = |error| unavailable(partition, "the offset of a time", &error);
        let mut asked = TopicPartitionList::with_capacity(1);
        asked.add_partition_offset(&self.options.topic, partition as i32, Offset::Offset(time_ms)).map_err(failed)?;
        let answered = self.client.offsets_for_times(asked, QUERY_LIMIT).map_err(failed)?;
        let elements = answered.elements();
        let Some(answer) = elements.first() else { return Ok(None) };
        answer.error().map_err(failed)?;
        match answer.offset() {
            Offset::Offset(offset) => Ok(u64::try_from(offset).ok()),
            _ => Ok(None),
        }
    }

    /// The record that stands at `offset` now.
    pub(super) async fn record_at(&self, partition: u32, offset: u64) -> Result<Option<Record>, ReadError> {
        self.blocking(move |queries| queries.record_at_now(partition, offset)).await
    }

    fn record_at_now(&self, partition: u32, offset: u64) -> Result<Option<Record>, ReadError> {
        let Ok(at) = i64::try_from(offset) else { return Ok(None) };
        let mut probe = lock(&self.probe);
        let consumer = match probe.take() {
            Some(consumer) => consumer,
            None => self.new_probe()?,
        };
        let answer = read_one(&consumer, &self.options.topic, partition, at);
        let found = match answer {
            Answer::Record(record) => Some(record),
            Answer::None => None,
            // A position out of range is told without its partition and may be an echo: the bounds decide.
            Answer::Reset if !self.bounds_now(partition)?.contains(&offset) => None,
            Answer::Reset => return Err(unanswered(partition, offset, "the offset was refused")),
            // The consumer goes too: its answer would come into the next question.
            Answer::Failed(words) => return Err(unanswered(partition, offset, &words)),
        };
        *probe = Some(consumer);
        Ok(found)
    }

    fn new_probe(&self) -> Result<Client<Probe>, ReadError> {
        let probe = properties::probe(&self.options, &self.name).create_with_context(Context::default());
        let probe = probe.map_err(|error| ReadError::Unavailable(words(&error)))?;
        Ok(Client::new(probe, &self.closing))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Queries) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let queries = self.clone();
        match tokio::task::spawn_blocking(move || query(&queries)).await {
            Ok(answer) => answer,
            Err(error) => Err(ReadError::Unavailable(format!("a question was interrupted: {error}"))),
        }
    }
}

enum Answer {
    Record(Record),
    None,
    Reset,
    Failed(String),
}

fn read_one(consumer: &Probe, topic: &str, partition: u32, offset: i64) -> Answer {
    let mut place = TopicPartitionList::with_capacity(1);
    let assigned = place
        .add_partition_offset(topic, partition as i32, Offset::Offset(offset))
        .and_then(|()| consumer.assign(&place));
    if let Err(error) = assigned {
        return Answer::Failed(words(&error));
    }
    let answer = wait_for(consumer, partition as i32, offset);
    match consumer.unassign() {
        Ok(()) => answer,
        Err(error) => Answer::Failed(words(&error)),
    }
}

fn wait_for(consumer: &Probe, partition: i32, offset: i64) -> Answer {
    let until = Instant::now() + QUERY_LIMIT;
    let mut trouble = String::from("no answer in time");
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Answer::Failed(trouble);
        }
        match consumer.poll(left) {
            None => {}
            Some(Ok(message)) if message.partition() != partition || message.offset() < offset => {}
            Some(Ok(message)) if message.offset() == offset => return Answer::Record(entry::record(&message)),
            Some(Ok(_)) => return Answer::None,
            Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition => return Answer::None,
            Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => return Answer::Reset,
                _ => trouble = words(&error),
            },
        }
    }
}

trait CeilMs {
    fn div_ceil_ms(self) -> i64;
}

impl CeilMs for Micros {
    /// The first millisecond that is not before it.
    fn div_ceil_ms(self) -> i64 {
        self / 1_000 + i64::from(self % 1_000 > 0)
    }
}

fn unanswered(partition: u32, offset: u64, words: &str) -> ReadError {
    ReadError::Unavailable(format!("partition {partition}: the record at {offset} can't be read: {words}"))
}

fn unavailable(partition: u32, what: &str, error: &KafkaError) -> ReadError {
    ReadError::Unavailable(format!("partition {partition}: {what} can't be read: {}", words(error)))
}
