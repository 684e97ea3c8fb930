//! Sends what is due over the pool of connections, tries again what failed, and settles each request in the tally.
//!
//! One thread, one runtime: a request costs little, and a generator that spreads over all cores would take them from
//! the server that it measures.
use crate::answer::{self, Verdict};
use crate::backoff::Backoff;
use crate::connection::{ANSWER_TIMEOUT, Answer, Connection, Endpoint};
use crate::options::Error;
use crate::schedule::{DueQueue, Request};
use crate::tally::{Ending, Tally};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What is out when the time is over is waited for, and tried again, this long.
const GRACE: Duration = Duration::from_secs(10);
/// The same after a stop: someone waits at a terminal.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How often acknowledged ids are handed to the writer.
const ACKED_EVERY: Duration = Duration::from_millis(100);
/// A disk that takes no ids for so long is taken for broken: what waits in memory must stay bounded.
const ACKED_STUCK: Duration = Duration::from_secs(30);

/// What the workers of a run share; all on one thread.
pub(crate) struct Driver {
    endpoint: Endpoint,
    queue: Arc<DueQueue>,
    tally: RefCell<Tally>,
    backoff: RefCell<Backoff>,
    /// No more waiting: what has no answer is given up.
    over: CancellationToken,
}

/// What one attempt came to.
enum Attempt {
    Answered(Verdict),
    /// The connection is gone; whether the server took the events is not known.
    Lost(String),
    /// There is no connection to be had.
    Unreachable(io::Error),
    Over,
}

impl Driver {
    pub(crate) fn new(endpoint: Endpoint, queue: Arc<DueQueue>, tally: Tally, seed: u64) -> Driver {
        Driver {
            endpoint,
            queue,
            tally: RefCell::new(tally),
            backoff: RefCell::new(Backoff::new(seed)),
            over: CancellationToken::new(),
        }
    }

    /// The tally, when all is done.
    pub(crate) fn into_tally(self) -> Tally {
        self.tally.into_inner()
    }

    /// Looks the target up.
    pub(crate) async fn resolve(&mut self) -> Result<(), Error> {
        self.endpoint.resolve().await
    }

    /// Drives until the queue is closed and everything settled, or `GRACE` after `end`. Returns events that were due
    /// and never tried. Needs a `LocalSet`.
    pub(crate) async fn drive(
        self: &Rc<Self>,
        connections: usize,
        end: Instant,
        acked: Option<mpsc::Sender<Vec<Uuid>>>,
        stop: &CancellationToken,
    ) -> Result<u64, Error> {
        let mut workers = JoinSet::new();
        for _ in 0..connections {
            workers.spawn_local(Rc::clone(self).work());
        }
        let deadline = async {
            tokio::select! {
                () = tokio::time::sleep_until((end + GRACE).into()) => {}
                () = async { stop.cancelled().await; tokio::time::sleep(STOP_GRACE).await } => {}
            }
        };
        tokio::pin!(deadline);
        let hand_over = self.hand_over(acked.as_ref());
        tokio::pin!(hand_over);
        loop {
            tokio::select! {
                ended = workers.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => return Err(Error::Thread(error.to_string())),
                    None => break,
                },
                () = &mut deadline, if !self.over.is_cancelled() => self.over.cancel(),
                error = &mut hand_over => return Err(error),
            }
        }
        let not_sent = self.settle_the_rest();
        if let Some(acked) = &acked {
            let ids = self.tally.borrow_mut().take_acked();
            send_acked(acked, ids).await?;
        }
        Ok(not_sent)
    }

    /// What still waits has no answer: tried, it is unknown; never tried, it was not sent.
    fn settle_the_rest(&self) -> u64 {
        let mut not_sent = 0;
        for request in self.queue.drain() {
            if request.attempts == 0 {
                not_sent += request.body.events();
            } else {
                self.tally.borrow_mut().end(&request.body, Ending::Unknown, request.due.elapsed());
            }
        }
        not_sent
    }

    /// Hands acknowledged ids to their writer, from time to time; returns only when that fails.
    async fn hand_over(&self, acked: Option<&mpsc::Sender<Vec<Uuid>>>) -> Error {
        let Some(acked) = acked else { return std::future::pending().await };
        loop {
            tokio::time::sleep(ACKED_EVERY).await;
            let ids = self.tally.borrow_mut().take_acked();
            if let Err(error) = send_acked(acked, ids).await {
                return error;
            }
        }
    }

    /// One connection's life: request after request.
    async fn work(self: Rc<Self>) {
        let mut connection = None;
        while let Some(request) = self.queue.next(&self.over).await {
            self.settle(&mut connection, request).await;
        }
    }

    /// Tries a request until it has an end, or must wait without holding the connection.
    async fn settle(&self, connection: &mut Option<Connection>, mut request: Request) {
        let mut refusals = 0;
        loop {
            self.tally.borrow_mut().begin(&request.body, request.attempts);
            let attempt = tokio::select! {
                biased;
                attempt = self.attempt(connection, &request) => attempt,
                () = self.over.cancelled() => Attempt::Over,
            };
            request.attempts += 1;
            match attempt {
                Attempt::Answered(Verdict::Accepted { rejected }) => {
                    return self.end(&request, Ending::Accepted { rejected });
                }
                Attempt::Answered(Verdict::Refused) => return self.end(&request, Ending::Refused),
                Attempt::Answered(Verdict::Contradictory) | Attempt::Over => {
                    return self.end(&request, Ending::Unknown);
                }
                Attempt::Answered(Verdict::Again { after }) => return self.postpone(request, after),
                Attempt::Lost(why) => {
                    *connection = None;
                    self.tally.borrow_mut().trouble(|| format!("connection lost: {why}"));
                    return self.postpone(request, None);
                }
                Attempt::Unreachable(error) => {
                    // The connection waits with its request: else each that is due would knock at a closed door.
                    self.tally.borrow_mut().trouble(|| format!("can't connect: {error}"));
                    refusals += 1;
                    let wait = self.backoff.borrow_mut().before(refusals, None);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.over.cancelled() => return self.end(&request, Ending::Unknown),
                    }
                }
            }
        }
    }

    fn end(&self, request: &Request, ending: Ending) {
        self.tally.borrow_mut().end(&request.body, ending, request.due.elapsed());
    }

    fn postpone(&self, request: Request, after: Option<Duration>) {
        let wait = self.backoff.borrow_mut().before(request.attempts, after);
        self.queue.postpone(request, Instant::now() + wait);
    }

    async fn attempt(&self, connection: &mut Option<Connection>, request: &Request) -> Attempt {
        // A server closes idle connections when it likes: that is no lost request.
        if let Some(open) = connection
            && !open.ready().await
        {
            *connection = None;
        }
        let open = match connection {
            Some(open) => open,
            None => match Connection::open(&self.endpoint).await {
                Ok(opened) => connection.insert(opened),
                Err(error) => return Attempt::Unreachable(error),
            },
        };
        let posted = tokio::time::timeout(ANSWER_TIMEOUT, open.post(&self.endpoint, request.body.bytes.clone())).await;
        match posted {
            Ok(Ok(answer)) => Attempt::Answered(self.read(&answer, request)),
            Ok(Err(why)) => Attempt::Lost(why),
            Err(_) => Attempt::Lost(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
        }
    }

    fn read(&self, answer: &Answer, request: &Request) -> Verdict {
        let verdict = answer::verdict(answer.status, &answer.headers, &answer.body, request.body.events());
        let planned = match &verdict {
            Verdict::Accepted { rejected } => rejected.iter().all(|position| request.body.bad.contains(position)),
            Verdict::Refused => request.body.bad.len() == request.body.ids.len(),
            Verdict::Again { .. } | Verdict::Contradictory => false,
        };
        if !planned {
            self.tally.borrow_mut().trouble(|| {
                let text = String::from_utf8_lossy(&answer.body);
                format!("{}: {}", answer.status, text.chars().take(300).collect::<String>())
            });
        }
        verdict
    }
}

async fn send_acked(acked: &mpsc::Sender<Vec<Uuid>>, ids: Vec<Uuid>) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let failed = |why: String| Error::Acked(io::Error::other(why));
    match tokio::time::timeout(ACKED_STUCK, acked.send(ids)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(failed("the writer has stopped".to_owned())),
        Err(_) => Err(failed(format!("nothing was written for {} s", ACKED_STUCK.as_secs()))),
    }
}
