//! One file a command. Each gets its settings, does its work through the other rooms, and prints what came of it.
use crate::cli::{Cli, Command, Common, ConfigAction};
use crate::config::{self, Config};
pub use crate::outcome::{Error, Outcome};
use crate::roles::Roles;
use crate::storage::{LogPlace, Storage};
use clap::CommandFactory;
use std::path::{Path, PathBuf};

mod audit;
mod compact;
mod config_command;
mod demo;
mod jobs;
mod load;
mod replay;
mod rollup;
mod serve;
mod signals;
mod sql;
mod status;
mod tail;

/// Where log and lake live when --data says nothing.
const DEFAULT_DATA: &str = "./playhead-data";

/// What every command starts from.
pub struct Context {
    /// The common options.
    pub common: Common,
    /// The configuration, checked.
    pub config: Config,
}

impl Context {
    fn data_path(&self) -> PathBuf {
        self.common.data.clone().unwrap_or_else(|| DEFAULT_DATA.into())
    }

    /// Log and lake for a command that only looks.
    fn look(&self) -> Result<Storage, Error> {
        Ok(Storage::look(&self.config, &self.data_path())?)
    }

    /// The same of the log alone.
    fn look_at_log(&self) -> Result<LogPlace, Error> {
        Ok(Storage::look_at_log(&self.config, &self.data_path())?)
    }
}

/// Whoever takes events in on this machine goes before: measured, a saturated node keeps 0.87 of its rate beside a replay that
/// is nice, and 0.72 beside one that isn't. Before any thread begins, since each has its own.
fn give_way() {
    const NICENESS: i32 = 10;
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "it runs with the priority that it was given");
    }
}

/// Runs one command to its end.
pub fn run(cli: Cli) -> Result<Outcome, Error> {
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "playhead", &mut std::io::stdout());
        return Ok(Outcome::Right);
    }
    let loaded = config::load(cli.common.config.as_deref().map(Path::new));
    if let (Command::Config { action: ConfigAction::Check }, Err(error)) = (&cli.command, &loaded) {
        return Ok(config_command::wrong(error, cli.common.json));
    }
    let config = loaded?;
    let context = Context { common: cli.common, config };
    if let Command::Config { action } = cli.command {
        return Ok(config_command::run(&context, action));
    }
    if matches!(cli.command, Command::Replay(_) | Command::Rebuild(_) | Command::Compact(_)) {
        give_way();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Up(options) => serve::run(context, options, Roles::ALL).await,
            Command::Ingest(options) => serve::run(context, options, Roles::INGEST).await,
            Command::Sink(options) => serve::run(context, options.into(), Roles::SINK).await,
            Command::Process(options) => serve::run(context, options.into(), Roles::PROCESS).await,
            Command::Rollup { action } => rollup::run(&context, action).await,
            Command::Load(options) => load::run(context, options).await,
            Command::Demo(options) => demo::run(context, options).await,
            Command::Audit(options) => audit::run(context, options).await,
            Command::Compact(options) => compact::run(&context, options).await,
            Command::Replay(options) => replay::run(&context, options).await,
            Command::Rebuild(options) => replay::rebuild(&context, options).await,
            Command::Jobs(options) => jobs::run(&context, options).await,
            Command::Tail(options) => tail::run(context, options).await,
            Command::Sql(options) => sql::run(context, options).await,
            Command::Status => status::run(context).await,
            Command::Config { .. } | Command::Completions { .. } => unreachable!("done without a runtime"),
        }
    });
    // Blocking reads that nobody waits for any more must not hold the process.
    runtime.shutdown_background();
    outcome
}
