//! `playhead up`: all roles in one process, until a signal.
use super::{Context, Error, Outcome};
use crate::cli::Up;
use crate::data_dir::DataDir;
use crate::node::Node;
use crate::terminal;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A stop takes at most 30 s.
const STOP_MAX: Duration = Duration::from_secs(29);

/// Runs the node; a second signal while it stops ends it at once (what is acknowledged is durable).
pub async fn run(mut context: Context, options: Up) -> Result<Outcome, Error> {
    terminal::init_logging("info");
    if let Some(listen) = options.listen {
        context.config.ingest.listen = listen;
        crate::config::check(&context.config)?;
    }
    if let Some(admin) = options.admin {
        context.config.admin.listen = admin;
    }
    let mut signals = Signals::new()?;
    let data = DataDir::open_or_create(&context.data_path())?;
    let mut node = tokio::select! {
        node = Node::start(&context.config, data) => node?,
        () = signals.next() => return Ok(Outcome::Right),
    };
    let became_ready = tokio::select! {
        () = node.ready() => true,
        error = node.failed() => return Err(error.into()),
        () = signals.next() => false,
    };
    if became_ready {
        announce(&context, &node);
        tokio::select! {
            error = node.failed() => return Err(error.into()),
            () = signals.next() => {}
        }
    }
    end_at_the_latest(STOP_MAX);
    tracing::info!("stopping: bringing what was accepted to the lake");
    tokio::select! {
        stopped = node.stop() => stopped?,
        () = signals.next() => return Err("stopped at once by a second signal; the next start goes on from the log".into()),
    }
    tracing::info!("stopped");
    Ok(Outcome::Right)
}

fn announce(context: &Context, node: &Node) {
    if context.common.json {
        terminal::say_json(
            &serde_json::json!({ "listening": node.listen.to_string(), "admin": node.admin.to_string() }),
        );
        return;
    }
    terminal::say(format_args!(
        "playhead is up\n  events   POST http://{}/v1/events\n  health   http://{}/readyz, /metrics\n  lake     {}\nCtrl-C stops it.",
        node.listen,
        node.admin,
        context.data_path().join("lake/events").display()
    ));
}

/// A disk that hangs would hold every thread that waits for it, and the process with them: after `limit` it ends all the
/// same. What was acknowledged is durable; what was not goes on at the next start.
#[allow(clippy::disallowed_methods, reason = "nothing that hangs can be unwound, and no runtime may be needed for it")]
fn end_at_the_latest(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        terminal::complain(&format_args!(
            "did not stop within {} s (does the disk hang?): ending now",
            limit.as_secs()
        ));
        std::process::exit(2);
    });
}

/// SIGTERM and Ctrl-C.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> std::io::Result<Self> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
