//! What people see: log lines, errors, progress. Standard output belongs to results, standard error to the rest.
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Logs go to standard error: readable lines on a terminal, JSON otherwise. `RUST_LOG` sets what is shown.
pub fn init_logging(default_level: &str) {
    // Ours at the default level, libraries only when something is wrong.
    let ours = ["playhead", "ingest", "sink", "processor", "maintenance", "lake", "log", "event", "benches"];
    // A commit that another writer won is our protocol's daily bread, counted and said by us: not by the library too.
    let libraries = "warn,deltalake_core::kernel::transaction=off".to_owned();
    let default = ours.iter().fold(libraries, |filter, room| format!("{filter},{room}={default_level}"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call (tests, demo) keeps the first subscriber: that is not an error.
    if std::io::stderr().is_terminal() {
        let _ = builder.with_target(false).try_init();
    } else {
        let _ = builder.json().flatten_event(true).try_init();
    }
}

/// A line of a result.
pub fn say(line: impl Display) {
    offer(line);
}

/// A line of a result that has no end. False: nobody reads any more (`| head`), which is no error of ours.
pub fn offer(line: impl Display) -> bool {
    writeln!(std::io::stdout(), "{line}").is_ok()
}

/// The result of `--json`: one object on the last line.
pub fn say_json(value: &impl serde::Serialize) {
    match serde_json::to_string(value) {
        Ok(line) => say(line),
        Err(error) => complain(&format_args!("the result can't be written as JSON: {error}")),
    }
}

/// A line for the person at the terminal, beside the result.
pub fn note(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// An error that ends a command.
pub fn complain(error: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "playhead: {error}");
}

/// A progress bar of `length` steps on a terminal, nothing elsewhere.
pub fn progress(length: u64, what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {msg} ({eta})") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
