//! What all clients of librdkafka have in common: where their log lines go, what their last trouble was, how they end.
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// A panic elsewhere while it was locked is that task's failure; what is in it is whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Librdkafka's words for an error, without the names of the binding's types.
pub(super) fn words(error: &KafkaError) -> String {
    match (error.rdkafka_error_code(), error) {
        (Some(code), _) => code_words(code),
        // The value may be a secret.
        (None, KafkaError::ClientConfig(_, words, name, _)) => format!("{name}: {words}"),
        (None, KafkaError::ClientCreation(words)) => words.clone(),
        (None, error) => error.to_string(),
    }
}

/// As librdkafka says it, e.g. `Local: All broker connections are down`.
pub(super) fn code_words(code: RDKafkaErrorCode) -> String {
    // "AllBrokersDown (Local: All broker connections are down)"
    let both = code.to_string();
    match both.split_once(" (") {
        Some((_, words)) => words.strip_suffix(')').unwrap_or(words).to_owned(),
        None => both,
    }
}

/// Hears what a client says beside its answers.
#[derive(Debug, Default)]
pub(super) struct Context {
    trouble: Mutex<Option<(RDKafkaErrorCode, String)>>,
    failure: Mutex<Option<String>>,
}

impl Context {
    /// The last error that concerned the client as a whole (connections, authentication), and librdkafka's words.
    pub(super) fn trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        let (code, reason) = lock(&self.trouble).clone()?;
        // A connection that the broker closed is in the log alone; what is told is that no broker is left.
        let failure = (code == RDKafkaErrorCode::AllBrokersDown).then(|| lock(&self.failure).clone()).flatten();
        Some((code, failure.unwrap_or(reason)))
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if facility == "FAIL" {
            // "[thrd:NAME]: NAME: Disconnected ..."
            let words = line.split_once("]: ").map_or(line, |(_, words)| words);
            *lock(&self.failure) = Some(words.to_owned());
        }
        log_line(level, facility, line);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition comes as an error too.
        if let Some(code) = error.rdkafka_error_code().filter(|code| *code != RDKafkaErrorCode::PartitionEOF) {
            tracing::debug!(target: "librdkafka", code = %code_words(code), reason);
            let mut trouble = lock(&self.trouble);
            // That no broker is left comes after what became of the last one, and says less.
            if code != RDKafkaErrorCode::AllBrokersDown || trouble.is_none() {
                *trouble = Some((code, reason.to_owned()));
            }
        }
    }
}

impl ConsumerContext for Context {}

/// A connection that fails is an error to librdkafka, but it tries again: what that means is said where it is met.
pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        // Positions are in the tables; a rebalance makes commits to the group fail as a matter of course.
        _ if facility == "COMMITFAIL" => tracing::debug!(target: "librdkafka", facility, "{line}"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{line}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, "{line}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{line}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}

/// Counts clients that are being ended.
#[derive(Debug, Clone)]
pub(super) struct Closing(Arc<watch::Sender<usize>>);

impl Default for Closing {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Closing {
    /// Until all have ended, or so long.
    pub(super) async fn wait(&self, limit: Duration) {
        let mut count = self.0.subscribe();
        let ended = tokio::time::timeout(limit, count.wait_for(|count| *count == 0)).await;
        if ended.is_err() {
            tracing::warn!(
                "a client of Kafka has not ended in time: a group that it has not left notices by the session's timeout"
            );
        }
    }
}

/// A client whose end may wait for the network (leaving a group, a last flush): it ends on a thread of its own.
pub(super) struct Client<C: Send + Sync + 'static> {
    client: Option<Arc<C>>,
    closing: Closing,
}

impl<C: Send + Sync + 'static> Client<C> {
    pub(super) fn new(client: C, closing: &Closing) -> Self {
        Self { client: Some(Arc::new(client)), closing: closing.clone() }
    }

    /// For a blocking call on another thread.
    pub(super) fn share(&self) -> Arc<C> {
        match &self.client {
            Some(client) => client.clone(),
            None => unreachable!("it is taken out by drop alone"),
        }
    }
}

impl<C: Send + Sync + 'static> Deref for Client<C> {
    type Target = C;

    fn deref(&self) -> &C {
        match &self.client {
            Some(client) => client,
            None => unreachable!("it is taken out by drop alone"),
        }
    }
}

impl<C: Send + Sync + 'static> Drop for Client<C> {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        self.closing.0.send_modify(|count| *count += 1);
        let ends = Ends { client: Some(client), closing: self.closing.clone() };
        // Without a thread it ends here: dropping what the closure holds.
        let _ = std::thread::Builder::new().name("kafka-close".into()).spawn(move || drop(ends));
    }
}

struct Ends<C> {
    client: Option<Arc<C>>,
    closing: Closing,
}

impl<C> Drop for Ends<C> {
    fn drop(&mut self) {
        drop(self.client.take());
        self.closing.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::types::RDKafkaConfRes;

    #[test]
    fn an_error_is_said_in_librdkafkas_words_and_without_a_secret() {
        let error = KafkaError::MetadataFetch(RDKafkaErrorCode::AllBrokersDown);
        assert_eq!(words(&error), "Local: All broker connections are down");
        let invalid = RDKafkaConfRes::RD_KAFKA_CONF_INVALID;
        let error = KafkaError::ClientConfig(invalid, "not good".into(), "sasl.password".into(), "secret".into());
        assert_eq!(words(&error), "sasl.password: not good");
    }
}
