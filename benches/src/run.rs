//! A run: its threads, from the first body to the report.
use crate::acked;
use crate::bodies;
use crate::body::Body;
use crate::connection::Endpoint;
use crate::cpu;
use crate::driver::Driver;
use crate::options::{Error, Options};
use crate::report::{LatencyMs, Progress, Report};
use crate::schedule::{self, DueQueue, Paced};
use crate::tally::Tally;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

/// Runs the load. `acked` gets one UUID a line for each event that a 2xx accepted, flushed as they come (each id once,
/// though the audience sends some events twice; bad events never).
///
/// When `stop` is cancelled nothing more is sent, and what is out is waited for two seconds. Dropping the future stops
/// the run too; its threads end by themselves.
///
/// # Errors
/// Options that no run can have, a target that can't be looked up, `acked` that can't be written. A collector that
/// refuses connections is no error: the report says what became of the events.
pub async fn run(
    options: Options,
    acked: Option<Box<dyn Write + Send>>,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<Report, Error> {
    let endpoint = Endpoint::new(&options.target)?;
    let bodies = bodies(&options)?;
    let stop = stop.child_token();
    let _stopped_when_dropped = stop.clone().drop_guard();
    let (done, report) = oneshot::channel();
    let work = move || {
        let tally = Tally::new(progress, acked.is_some());
        drop(done.send(run_here(&options, endpoint, bodies, tally, acked, &stop)));
    };
    thread::Builder::new().name("load-driver".to_owned()).spawn(work).map_err(not_started)?;
    report.await.map_err(|_| Error::Thread("the driver broke off".to_owned()))?
}

/// The run, on the calling thread and those that it starts.
fn run_here(
    options: &Options,
    endpoint: Endpoint,
    bodies: Box<dyn Iterator<Item = Body> + Send>,
    tally: Tally,
    acked: Option<Box<dyn Write + Send>>,
    stop: &CancellationToken,
) -> Result<Report, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(not_started)?;
    let queue = Arc::new(DueQueue::default());
    let mut driver = Driver::new(endpoint, Arc::clone(&queue), tally, options.seed);
    runtime.block_on(driver.resolve())?;
    let driver = Rc::new(driver);
    thread::scope(|scope| {
        let (made, ready) = sync_channel(schedule::CHUNKS_AHEAD);
        let chunk = schedule::chunk(options.batch);
        let producer = start(scope, "load-producer", move || schedule::produce(bodies, chunk, &made))?;
        let writer = acked.map(|file| start_writer(scope, file)).transpose()?;
        let (acked, writer) = writer.unzip();
        // The clock starts with the first body at hand: making the audience must not count as lateness.
        let first = ready.recv().ok();
        let begin = Instant::now();
        let end = begin + options.duration;
        let pacer = {
            let (queue, stop) = (Arc::clone(&queue), stop.clone());
            start(scope, "load-pacer", move || release(first, ready, begin, end, &queue, &stop))?
        };
        let driven = LocalSet::new().block_on(&runtime, driver.drive(options.connections, end, acked, stop));
        let seconds = begin.elapsed().as_secs_f64();
        if driven.is_err() {
            stop.cancel();
        }
        // First the writer: its error says more than the driver's about a closed channel.
        let writer_cpu = match writer.map(join).transpose()? {
            Some((written, cpu)) => written.map(|()| cpu).map_err(Error::Acked)?,
            None => 0.0,
        };
        let mut not_sent = driven?;
        let (paced, pacer_cpu) = join(pacer)?;
        let ((), producer_cpu) = join(producer)?;
        not_sent += paced.not_sent;
        drop(runtime);
        let Some(driver) = Rc::into_inner(driver) else {
            return Err(Error::Thread("a connection outlived the run".to_owned()));
        };
        let cpu_seconds = writer_cpu + pacer_cpu + producer_cpu + cpu::this_thread_seconds();
        Ok(report(&driver.into_tally(), paced, not_sent, seconds, cpu_seconds))
    })
}

fn release(
    first: Option<Vec<Body>>,
    ready: Receiver<Vec<Body>>,
    begin: Instant,
    end: Instant,
    queue: &DueQueue,
    stop: &CancellationToken,
) -> Paced {
    match first {
        Some(first) => schedule::pace(schedule::received(first, ready), begin, end, queue, stop),
        None => schedule::pace(std::iter::empty(), begin, end, queue, stop),
    }
}

type Acked = mpsc::Sender<Vec<uuid::Uuid>>;

fn start_writer<'scope>(
    scope: &'scope Scope<'scope, '_>,
    mut file: Box<dyn Write + Send>,
) -> Result<(Acked, Measured<'scope, io::Result<()>>), Error> {
    let (acked, ids) = mpsc::channel(acked::WAITING_MAX);
    Ok((acked, start(scope, "load-acked", move || acked::write(ids, &mut *file))?))
}

/// A thread that returns its CPU seconds too.
type Measured<'scope, T> = ScopedJoinHandle<'scope, (T, f64)>;

fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<Measured<'scope, T>, Error> {
    let measured = move || {
        let done = work();
        (done, cpu::this_thread_seconds())
    };
    thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, measured).map_err(not_started)
}

fn join<T>(thread: Measured<'_, T>) -> Result<(T, f64), Error> {
    let name = thread.thread().name().unwrap_or("load").to_owned();
    thread.join().map_err(|_| Error::Thread(format!("{name} broke off")))
}

fn not_started(error: io::Error) -> Error {
    Error::Thread(format!("it could not be started: {error}"))
}

fn report(tally: &Tally, paced: Paced, not_sent: u64, seconds: f64, cpu_seconds: f64) -> Report {
    Report {
        requests: tally.requests,
        events: tally.events,
        acknowledged: tally.acknowledged,
        distinct_acknowledged: tally.distinct_acknowledged,
        rejected: tally.rejected,
        unknown: tally.unknown,
        not_sent,
        duplicates_sent: tally.duplicates_sent,
        bad_sent: tally.bad_sent,
        bad_rejected: tally.bad_rejected,
        retries: tally.retries,
        late: paced.late,
        seconds,
        events_per_s: tally.acknowledged as f64 / seconds.max(Duration::from_micros(1).as_secs_f64()),
        latency_ms: LatencyMs::of(&tally.latency_us),
        cpu_seconds,
        first_trouble: tally.first_trouble.clone(),
    }
}
