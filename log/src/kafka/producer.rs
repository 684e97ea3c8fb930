//! The idempotent producer, and another one after a fatal error.
//!
//! Promise: what was not enqueued is said to be unwritten; of what was enqueued and not acknowledged nobody knows.
//!
//! A fatal error (the broker lost the producer's state, say) makes a librdkafka producer refuse everything for ever. It
//! is replaced by a new one, which has a new identity: what the old one had under way may be written twice when its
//! sender tries again, as after any unknown outcome.
use super::client::{Client, Closing, Context, code_words, lock, words};
use super::entry::owned_headers;
use super::{Options, properties, rights, telemetry};
use crate::AppendError;
use event::record::Record;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Not more often than this is a producer made anew.
const MAKE_PAUSE: Duration = Duration::from_secs(1);

type Handle = Client<FutureProducer<Context>>;

#[derive(Default)]
struct State {
    current: Option<Arc<Handle>>,
    made_at: Option<Instant>,
    /// Why the last one was retired.
    fatal: String,
    closed: bool,
}

/// The producer of one log.
pub(super) struct Producer {
    config: ClientConfig,
    options: Arc<Options>,
    state: Mutex<State>,
    closing: Closing,
    make_pause: Duration,
}

/// A record that is under way.
pub(super) struct Sent {
    delivery: DeliveryFuture,
    by: Arc<Handle>,
    bytes: usize,
}

impl Producer {
    pub(super) fn new(options: Arc<Options>, closing: &Closing) -> Self {
        Self {
            config: properties::producer(&options),
            options,
            state: Mutex::default(),
            closing: closing.clone(),
            make_pause: MAKE_PAUSE,
        }
    }

    /// Makes the producer before it is needed. What fails now is said by the first append.
    pub(super) fn warm_up(&self) {
        let _ = self.current();
    }

    /// Enqueues the record, in the order of the calls. `Err`: it was not, and won't be written.
    pub(super) fn send(&self, partition: u32, record: &Record) -> Result<Sent, AppendError> {
        let by = self.current()?;
        match self.enqueue(&by, partition, record) {
            Err(KafkaError::MessageProduction(RDKafkaErrorCode::Fatal)) => {
                self.retire(&by);
                let by = self.current()?;
                let sent = self.enqueue(&by, partition, record);
                sent.map_err(|error| self.not_enqueued(&error)).map(|delivery| Sent {
                    delivery,
                    by,
                    bytes: record.bytes(),
                })
            }
            sent => {
                let delivery = sent.map_err(|error| self.not_enqueued(&error))?;
                Ok(Sent { delivery, by, bytes: record.bytes() })
            }
        }
    }

    fn enqueue(&self, by: &Handle, partition: u32, record: &Record) -> Result<DeliveryFuture, KafkaError> {
        let mut message: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(&self.options.topic).partition(partition as i32).payload(&record.payload);
        message.headers = owned_headers(record);
        by.send_result(message).map_err(|(error, _)| error)
    }

    /// The record's offset, once all in-sync replicas have it.
    pub(super) async fn delivered(&self, sent: Sent) -> Result<u64, AppendError> {
        let Sent { delivery, by, bytes } = sent;
        let error = match delivery.await {
            Ok(Ok(delivery)) => match u64::try_from(delivery.offset) {
                Ok(offset) => return Ok(offset),
                Err(_) => return Err(AppendError::Unknown("the broker gave no offset".into())),
            },
            Ok(Err((error, _))) => error,
            Err(_) => return Err(AppendError::Unknown("the producer ended before it was answered".into())),
        };
        let fatal = self.fatal(&by);
        let by_fatal = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)
        );
        if fatal.is_some() || by_fatal {
            self.retire(&by);
        }
        Err(match fatal.filter(|_| by_fatal) {
            Some(words) => AppendError::Unknown(words),
            None => self.not_delivered(&error, bytes),
        })
    }

    fn not_delivered(&self, error: &KafkaError, bytes: usize) -> AppendError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageTimedOut) => AppendError::Unknown(format!(
                "no acknowledgement by all in-sync replicas within {} ms",
                self.options.delivery_timeout_ms
            )),
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                tracing::error!(
                    topic = self.options.topic,
                    bytes,
                    "the topic's max.message.bytes has been lowered: raise it"
                );
                AppendError::Full(format!(
                    "topic {} refuses a record of {bytes} bytes: raise its max.message.bytes",
                    self.options.topic
                ))
            }
            Some(code) if rights::is_missing(code) => {
                AppendError::Unknown(rights::on_topic(&self.options, "Write", code))
            }
            Some(code) => AppendError::Unknown(code_words(code)),
            None => AppendError::Unknown(words(error)),
        }
    }

    fn not_enqueued(&self, error: &KafkaError) -> AppendError {
        AppendError::Full(match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => {
                "the producer's queue is full of records that Kafka has not acknowledged (queue.buffering.max.kbytes)"
                    .into()
            }
            // Told by the topic's description, which is asked for now and then.
            Some(code) if rights::is_missing(code) => rights::on_topic(&self.options, "Write", code),
            _ => format!("the producer does not take the record: {}", words(error)),
        })
    }

    /// The producer, made if there is none.
    fn current(&self) -> Result<Arc<Handle>, AppendError> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(AppendError::Stopped("log is closed".into()));
        }
        if let Some(current) = &state.current {
            return Ok(current.clone());
        }
        if state.made_at.is_some_and(|at| at.elapsed() < self.make_pause) {
            return Err(AppendError::Full(format!("the producer is made anew: {}", state.fatal)));
        }
        state.made_at = Some(Instant::now());
        let made: Result<FutureProducer<Context>, _> = self.config.create_with_context(Context::default());
        let made = made.map_err(|error| {
            state.fatal = format!("none could be made: {}", words(&error));
            AppendError::Full(format!("no producer could be made: {}", words(&error)))
        })?;
        telemetry::producer();
        let current = Arc::new(Client::new(made, &self.closing));
        state.current = Some(current.clone());
        Ok(current)
    }

    /// The fatal error of `producer`, in words. Who may write to no topic at all gets no producer's identity.
    fn fatal(&self, producer: &Handle) -> Option<String> {
        let (code, reason) = producer.client().fatal_error()?;
        Some(if rights::is_missing(code) { rights::on_topic(&self.options, "Write", code) } else { reason })
    }

    /// No more records go by it; what is under way is answered by it still.
    fn retire(&self, old: &Arc<Handle>) {
        let mut state = lock(&self.state);
        if state.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, old)) {
            let reason = self.fatal(old).unwrap_or_default();
            tracing::error!(topic = self.options.topic, reason, "the producer met a fatal error and is made anew");
            state.current = None;
            state.fatal = reason;
        }
    }

    /// Takes no more, and waits for the answers of what is under way.
    pub(super) async fn close(&self, limit: Duration) -> Result<(), AppendError> {
        let current = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.current.take()
        };
        let Some(current) = current else { return Ok(()) };
        let flushing = current.share();
        let flushed = tokio::task::spawn_blocking(move || flushing.flush(limit)).await;
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(AppendError::Unknown(format!(
                "{} records were not acknowledged when the log was closed: {}",
                current.in_flight_count(),
                words(&error)
            ))),
            Err(error) => Err(AppendError::Unknown(format!("closing was interrupted: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests;
