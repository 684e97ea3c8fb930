//! Watching work that may never end: a store, or a broker, that takes a request and does not answer gives no error to
//! wait out.
use crate::readiness::Readiness;
use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;

/// Whom a flush waits for.
pub(crate) const STORE: &str = "the lake's store";
/// Whom reading, and the checks before and after a flush, wait for.
pub(crate) const LOG: &str = "the log";

/// Waits for `work` however long it takes; when it takes longer than `slow`, the sink is unready until somebody says
/// [`Readiness::recovered`]. `what` is a sentence's subject, `whom` it waits for another's.
pub(crate) async fn watched<T>(
    readiness: &mut Readiness,
    what: &str,
    whom: &str,
    slow: Duration,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    if let Ok(done) = timeout(slow, work.as_mut()).await {
        return done;
    }
    let words = format!("{what} is under way for more than {slow:?}: {whom} does not answer");
    tracing::warn!(words, "sink waits");
    readiness.trouble(words);
    work.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::sync::oneshot;

    const LONG: Duration = Duration::from_secs(60);

    type Told = Arc<Mutex<Vec<Result<(), String>>>>;

    fn ready() -> (Told, Readiness) {
        let told = Told::default();
        let seen = told.clone();
        let mut readiness = Readiness::new(Arc::new(move |answer| seen.lock().unwrap().push(answer)));
        readiness.started();
        (told, readiness)
    }

    #[tokio::test]
    async fn work_that_hangs_makes_the_sink_unready_in_words_until_it_ends() {
        let (told, mut readiness) = ready();
        let (answer, hangs) = oneshot::channel();
        let seen = told.clone();
        // The store answers only when the sink was told unready: without the watch this never ends.
        let store = tokio::spawn(async move {
            while seen.lock().unwrap().last() == Some(&Ok(())) {
                tokio::task::yield_now().await;
            }
            answer.send(7).unwrap();
        });
        let slow = Duration::from_millis(5);
        let done = timeout(LONG, watched(&mut readiness, "a flush", STORE, slow, hangs)).await;
        assert_eq!(done, Ok(Ok(7)));
        store.await.unwrap();
        readiness.recovered();
        let words = "a flush is under way for more than 5ms: the lake's store does not answer";
        assert_eq!(told.lock().unwrap()[1..], [Ok(()), Err(words.to_owned()), Ok(())]);
    }

    #[tokio::test]
    async fn work_that_ends_in_time_is_not_told() {
        let (told, mut readiness) = ready();
        watched(&mut readiness, "a flush", STORE, LONG, tokio::task::yield_now()).await;
        assert_eq!(told.lock().unwrap().len(), 2, "starting, ready");
    }
}
