//! `playhead load`: the load generator, on its own.
use super::signals::Signals;
use super::{Context, Error, Outcome};
use crate::cli::{Load, LoadFormat};
use crate::clock::SystemClock;
use crate::terminal;
use benches::{Format, Options, Progress, Report, Shape, Target};
use event::clock::Clock;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Events per second when neither --rate nor --viewers is given.
const RATE_DEFAULT: f64 = 1_000.0;

/// Runs the load; Ctrl-C ends it early, with the figures up to then. Wrong only if nothing was acknowledged.
pub async fn run(context: Context, load: Load) -> Result<Outcome, Error> {
    terminal::init_logging("warn");
    let acked = load.acked.as_deref().map(open_acked).transpose()?;
    let options = options(&load)?;
    let report = drive(options, acked).await?;
    if context.common.json {
        terminal::say_json(&report);
    } else {
        print(&report);
    }
    Ok(if report.acknowledged > 0 { Outcome::Right } else { Outcome::Wrong })
}

/// Runs a load with a bar on the terminal; a signal ends it early, with the figures up to then.
pub async fn drive(options: Options, acked: Option<Box<dyn Write + Send>>) -> Result<Report, Error> {
    let stop = CancellationToken::new();
    let mut signals = Signals::new()?;
    let progress = Arc::new(Progress::default());
    let shown = tokio::spawn(show(progress.clone(), options.duration.as_secs(), stop.clone()));
    let run = benches::run(options, acked, progress, stop.clone());
    tokio::pin!(run);
    let report = tokio::select! {
        report = &mut run => report,
        () = signals.next() => {
            stop.cancel();
            run.await
        }
    };
    stop.cancel();
    let _ = shown.await;
    Ok(report?)
}

/// The file of acknowledged ids, ready to be written.
pub fn open_acked(path: &Path) -> Result<Box<dyn Write + Send>, Error> {
    let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Box::new(file))
}

fn options(load: &Load) -> Result<Options, Error> {
    let shape = match (load.viewers, load.rate) {
        (Some(viewers), _) => Shape::Audience { viewers },
        (None, rate) => Shape::Rate { events_per_s: rate.unwrap_or(RATE_DEFAULT) },
    };
    let headers = load.headers.iter().map(|header| {
        let (name, value) =
            header.split_once(':').ok_or_else(|| format!("--header {header:?} is not 'Name: value'"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    });
    Ok(Options {
        target: Target {
            url: load.url.clone(),
            path: load.path.clone(),
            headers: headers.collect::<Result<_, String>>()?,
            format: match load.format {
                LoadFormat::Ndjson => Format::Ndjson,
                LoadFormat::Json => Format::Json,
            },
        },
        shape,
        batch: load.batch as usize,
        duration: Duration::from_secs(load.seconds),
        seed: load.seed,
        run: run_id(),
        connections: load.connections as usize,
        start_ms: SystemClock.now() / 1_000,
        speed: load.speed,
    })
}

/// What tells this run's events from any other's.
#[allow(clippy::disallowed_methods)] // Two runs may start with the same seed at the same moment, on two machines even.
pub fn run_id() -> Uuid {
    Uuid::new_v4()
}

/// A bar on the terminal while the load runs.
async fn show(progress: Arc<Progress>, seconds: u64, stop: CancellationToken) {
    let bar = terminal::progress(seconds, "load");
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut before = 0;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let sent = progress.sent.load(Ordering::Relaxed);
        let acknowledged = progress.acknowledged.load(Ordering::Relaxed);
        bar.inc(1);
        bar.set_message(format!(
            "{sent} sent, {acknowledged} acknowledged, {} events/s",
            acknowledged.saturating_sub(before)
        ));
        before = acknowledged;
    }
    bar.finish_and_clear();
}

fn print(report: &Report) {
    terminal::say(format_args!(
        "{} requests, {} events in {:.1} s: {} acknowledged ({:.0} events/s), {} rejected, {} unknown",
        report.requests,
        report.events,
        report.seconds,
        report.acknowledged,
        report.events_per_s,
        report.rejected,
        report.unknown
    ));
    let latency = report.latency_ms;
    terminal::say(format_args!(
        "latency from when a request was due: p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms",
        latency.p50, latency.p99, latency.p999, latency.max
    ));
    if report.not_sent > 0 {
        terminal::say(format_args!(
            "{} events were due and never sent, for which the latencies above are too good: {}; lower --rate",
            report.not_sent,
            match report.late * 10 > report.requests {
                true => "this machine is too slow, or has too much to do",
                false => "the collector is too slow",
            }
        ));
    }
    if report.duplicates_sent + report.bad_sent > 0 {
        terminal::say(format_args!(
            "of these on purpose: {} copies and {} bad events ({} of them rejected); {} distinct ones were acknowledged",
            report.duplicates_sent, report.bad_sent, report.bad_rejected, report.distinct_acknowledged
        ));
    }
    if let Some(trouble) = &report.first_trouble {
        terminal::say(format_args!("first trouble: {trouble} ({} requests tried again)", report.retries));
    }
    terminal::say(format_args!("generator's own CPU: {:.2} s", report.cpu_seconds));
}
