//! Reads partitions from offsets that are given by hand.
//!
//! Promise: nothing is skipped in silence. librdkafka passes over a batch whose checksum is wrong, or that it can't
//! unpack, with an error beside it; such an error puts every place in doubt, and they are fetched anew.
use super::client::{Client, Closing, Context, code_words, words};
use super::{Options, entry, properties, rights};
use crate::{Entry, ReadError};
use futures::FutureExt;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a fetch brought.
#[derive(Debug)]
pub(super) enum Fetched {
    Entry(Entry),
    /// Of a partition.
    End(u32),
    /// Some position may be wrong, or something was passed over.
    Doubt {
        words: Option<String>,
        broken: bool,
    },
    /// Nothing can be read now.
    Trouble(String),
    Nothing,
}

pub(super) struct Fetcher {
    consumer: Client<StreamConsumer<Context>>,
    options: Arc<Options>,
    name: String,
    fetched: BTreeSet<u32>,
}

impl Fetcher {
    pub(super) fn new(options: Arc<Options>, name: &str, closing: &Closing) -> Result<Self, ReadError> {
        let consumer = properties::fetcher(&options, name).create_with_context(Context::default());
        let consumer = consumer.map_err(|error| ReadError::Unavailable(words(&error)))?;
        let consumer = Client::new(consumer, closing);
        Ok(Self { consumer, options, name: name.to_owned(), fetched: BTreeSet::new() })
    }

    /// Another one like it, which fetches nothing yet.
    pub(super) fn renewed(&self, closing: &Closing) -> Result<Self, ReadError> {
        Self::new(self.options.clone(), &self.name, closing)
    }

    /// From here on, records of `partition` come from `offset`. What was fetched before is dropped: each start is a
    /// barrier in librdkafka's queue.
    pub(super) fn start(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        self.stop(partition);
        let place = self.place(partition, Offset::Offset(offset as i64))?;
        self.consumer.incremental_assign(&place).map_err(|error| unavailable(partition, &error))?;
        self.fetched.insert(partition);
        Ok(())
    }

    /// No more records of `partition`.
    pub(super) fn stop(&mut self, partition: u32) {
        if !self.fetched.remove(&partition) {
            return;
        }
        let stopped = self.place(partition, Offset::Invalid).and_then(|place| {
            self.consumer.incremental_unassign(&place).map_err(|error| unavailable(partition, &error))
        });
        if let Err(error) = stopped {
            tracing::warn!(partition, %error, "fetching did not stop: its records are dropped");
        }
    }

    /// All below it was handed out since the fetch began, or is no record: markers of transactions are gone over in
    /// silence. `None`: nothing was. Asks no broker.
    pub(super) fn position(&self, partition: u32) -> Option<u64> {
        let positions = self.consumer.position().ok()?;
        match positions.find_partition(&self.options.topic, partition as i32)?.offset() {
            Offset::Offset(offset) => u64::try_from(offset).ok(),
            _ => None,
        }
    }

    fn place(&self, partition: u32, offset: Offset) -> Result<TopicPartitionList, ReadError> {
        let mut place = TopicPartitionList::with_capacity(1);
        let added = place.add_partition_offset(&self.options.topic, partition as i32, offset);
        added.map_err(|error| unavailable(partition, &error))?;
        Ok(place)
    }

    /// Waits for the next thing; nothing is lost when it is dropped. Of trouble only the last is told, and none that is
    /// over: while Kafka is down errors pile up faster than a reader that backs off looks at them.
    pub(super) async fn next(&self) -> Fetched {
        let mut fetched = self.came(self.consumer.recv().await);
        while matches!(fetched, Fetched::Trouble(_)) {
            match self.consumer.recv().now_or_never().map(|came| self.came(came)) {
                None => break,
                Some(Fetched::Nothing) => {}
                Some(newer) => fetched = newer,
            }
        }
        fetched
    }

    fn came(&self, came: Result<BorrowedMessage<'_>, KafkaError>) -> Fetched {
        match came {
            Ok(message) => entry::entry(&message).map_or(Fetched::Nothing, Fetched::Entry),
            Err(KafkaError::PartitionEOF(partition)) => u32::try_from(partition).map_or(Fetched::Nothing, Fetched::End),
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &KafkaError) -> Fetched {
        use RDKafkaErrorCode as Code;
        let Some(code) = error.rdkafka_error_code() else { return Fetched::Trouble(words(error)) };
        let reason = || match self.consumer.context().trouble() {
            Some((_, reason)) if !reason.is_empty() => reason,
            _ => code_words(code),
        };
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => Fetched::Doubt { words: None, broken: false },
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId => {
                let words = format!("topic {} is not there: {}", self.options.topic, code_words(code));
                Fetched::Doubt { words: Some(words), broken: false }
            }
            Code::AllBrokersDown | Code::Authentication | Code::SSL => Fetched::Trouble(reason()),
            Code::TopicAuthorizationFailed => Fetched::Trouble(rights::on_topic(&self.options, "Read", code)),
            // librdkafka connects and asks again; it tells when no broker is left.
            Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::TimedOutQueue
            | Code::NetworkException => Fetched::Nothing,
            // Of the group this client only has the name.
            Code::GroupAuthorizationFailed
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::CoordinatorLoadInProgress
            | Code::WaitingForCoordinator => Fetched::Nothing,
            Code::BadMessage | Code::BadCompression | Code::NotImplemented | Code::InvalidMessage => {
                Fetched::Doubt { words: Some(reason()), broken: true }
            }
            _ => Fetched::Doubt { words: Some(reason()), broken: false },
        }
    }
}

fn unavailable(partition: u32, error: &KafkaError) -> ReadError {
    ReadError::Unavailable(format!("partition {partition} can't be fetched: {}", words(error)))
}
