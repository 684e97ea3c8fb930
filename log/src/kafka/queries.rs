//! Questions to the brokers, each answered afresh. librdkafka waits in the calling thread, so they go to threads that
//! may block.
use super::client::{Client, Closing, Context, lock, words};
use super::{Options, entry, properties, rights};
use crate::ReadError;
use event::clock::Micros;
use event::record::Record;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A broker that does not answer within it is unavailable.
const QUERY_LIMIT: Duration = Duration::from_secs(5);

/// Events that a client may tell after a question that failed.
const TOLD_MAX: u32 = 100;

/// What librdkafka says of a partition without a leader.
const LEADERLESS: [RDKafkaErrorCode; 2] = [RDKafkaErrorCode::UnknownPartition, RDKafkaErrorCode::LeaderNotAvailable];

type Asking = BaseConsumer<Context>;

/// Asks by a client of its own: a broker answers the requests of one connection in order, and a fetch waits there.
#[derive(Clone)]
pub(super) struct Queries {
    options: Arc<Options>,
    name: String,
    closing: Closing,
    /// Made when it is needed, and anew when an answer may still come that nobody waits for, or when what it has in mind is old.
    client: Arc<Mutex<Option<Client<Asking>>>>,
    /// One record is read at a time.
    reading: Arc<Mutex<()>>,
}

impl Queries {
    pub(super) fn new(options: Arc<Options>, name: &str, closing: &Closing) -> Self {
        let (name, closing) = (name.to_owned(), closing.clone());
        Self { options, name, closing, client: Arc::default(), reading: Arc::default() }
    }

    fn client(&self) -> Result<Arc<Asking>, ReadError> {
        let mut client = lock(&self.client);
        if let Some(client) = &*client {
            return Ok(client.share());
        }
        let made = properties::queries(&self.options, &self.name).create_with_context(Context::default());
        let made = made.map_err(|error| ReadError::Unavailable(words(&error)))?;
        Ok(client.insert(Client::new(made, &self.closing)).share())
    }

    /// What a client has to tell (lines for the log) piles up until it is polled, but a record that somebody waits for
    /// is not to be lost by it.
    fn let_it_tell(&self) {
        let (Ok(_alone), Ok(client)) = (self.reading.try_lock(), self.client()) else { return };
        for _ in 0..TOLD_MAX {
            let _ = client.poll(Duration::ZERO);
        }
    }

    /// The next question goes by another client.
    fn renew(&self) {
        drop(lock(&self.client).take());
    }

    /// First offset still there, and the next one: below it all transactions have ended.
    pub(super) async fn bounds(&self, partition: u32) -> Result<Range<u64>, ReadError> {
        self.blocking(move |queries| queries.bounds_now(partition)).await
    }

    /// As [`Queries::bounds`], in the calling thread.
    pub(super) fn bounds_now(&self, partition: u32) -> Result<Range<u64>, ReadError> {
        let asked = self.client()?.fetch_watermarks(&self.options.topic, partition as i32, QUERY_LIMIT);
        let (start, end) = asked.map_err(|error| self.unavailable(partition, "its bounds", &error))?;
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
        let failed = |error| self.unavailable(partition, "the offset of a time", &error);
        let mut asked = TopicPartitionList::with_capacity(1);
        asked.add_partition_offset(&self.options.topic, partition as i32, Offset::Offset(time_ms)).map_err(failed)?;
        let answered = self.client()?.offsets_for_times(asked, QUERY_LIMIT).map_err(failed)?;
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
        let _alone = lock(&self.reading);
        match read_one(self.client()?.as_ref(), &self.options.topic, partition, at) {
            Answer::Record(record) => Ok(Some(record)),
            Answer::None => Ok(None),
            // A position out of range is told without its partition and may be an echo: the bounds decide.
            Answer::Reset if !self.bounds_now(partition)?.contains(&offset) => Ok(None),
            Answer::Reset => {
                self.renew();
                Err(unanswered(partition, offset, "the offset was refused"))
            }
            Answer::Denied(code) => {
                self.renew();
                Err(unanswered(partition, offset, &rights::on_topic(&self.options, "Read", code)))
            }
            Answer::Failed(words) => {
                self.renew();
                Err(unanswered(partition, offset, &words))
            }
        }
    }

    fn unavailable(&self, partition: u32, what: &str, error: &KafkaError) -> ReadError {
        self.let_it_tell();
        // A client that once heard of a partition without a leader, as it is while brokers come back, does not ask for its
        // leader again before it has forgotten the topic, after minutes (librdkafka 2.12, `rd_kafka_topic_partition_list_get_leaders`).
        if error.rdkafka_error_code().is_some_and(|code| LEADERLESS.contains(&code)) {
            self.renew();
        }
        let words = match error.rdkafka_error_code() {
            Some(code) if rights::is_missing(code) => rights::on_topic(&self.options, "Describe", code),
            _ => words(error),
        };
        ReadError::Unavailable(format!("partition {partition}: {what} can't be read: {words}"))
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
    Denied(RDKafkaErrorCode),
    Failed(String),
}

fn read_one(consumer: &Asking, topic: &str, partition: u32, offset: i64) -> Answer {
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

fn wait_for(consumer: &Asking, partition: i32, offset: i64) -> Answer {
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
                // It is told once. Of the group this client only has the name.
                Some(code @ RDKafkaErrorCode::TopicAuthorizationFailed) => return Answer::Denied(code),
                Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {}
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

#[cfg(test)]
mod tests;
