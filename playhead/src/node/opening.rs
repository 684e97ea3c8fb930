//! The log, opened by a node, which has time: what passes is waited for.
use super::Error;
use crate::storage::{LogPlace, OpenError};
use log::Log;
use log::embedded::OpenError as EmbeddedError;
use log::kafka::OpenError as KafkaError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a command that only looks may keep a starting node waiting.
const LOOKING_MAX: Duration = Duration::from_secs(10);
/// How often a waiting node tries again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The first wait for a Kafka that does not answer, doubled each time up to the last.
const KAFKA_WAIT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// A log that this process will own. A command that only looks (audit, tail, status) may have it for a moment: that is
/// waited out. A node that runs is not.
pub async fn owned(place: &LogPlace) -> Result<Arc<dyn Log>, Error> {
    let deadline = Instant::now() + LOOKING_MAX;
    let announced = || place.owned().and_then(|data| data.announced());
    loop {
        match place.open().await {
            Err(OpenError::Embedded(EmbeddedError::Owned { pid, .. }))
                if Instant::now() < deadline && announced().is_none_or(|node| node.pid.to_string() != pid) =>
            {
                tracing::info!(pid, "another command looks at the log: waiting for it");
                sleep(LOOK_AGAIN).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// A log in Kafka, which is waited for as long as it takes; `report` is told why. What is refused is an error at once.
pub async fn shared(place: &LogPlace, report: impl Fn(&str)) -> Result<Arc<dyn Log>, Error> {
    let (mut wait, wait_max) = KAFKA_WAIT;
    report("Kafka is asked for the topic: no answer yet");
    loop {
        match place.open().await {
            Err(OpenError::Kafka(error @ KafkaError::Unavailable(_))) => {
                report(&error.to_string());
                sleep(wait).await;
                wait = (wait * 2).min(wait_max);
            }
            opened => return Ok(opened?),
        }
    }
}
