//! The binary `playhead`: commands, configuration, wiring. The only room that reads the environment, the wall clock
//! and randomness; everything below takes them as parameters.
//!
//! ```text
//! commands/   one file a command: parses nothing, prints everything
//! config/     the one typed configuration, from TOML and the environment
//! storage/    which log and which tables the configuration means
//! node/       the roles of this process, wired to one log and one lake, with the admin server beside them
//! log_source/ the log for commands that only look
//! audit/      proves from the outside that the lake is what the log says
//! ```
use clap::Parser;
use std::process::ExitCode;

mod admin_client;
mod audit;
mod cli;
mod clock;
mod commands;
mod compaction;
mod config;
mod data_dir;
mod live;
mod log_source;
mod node;
mod outcome;
mod rewritten;
mod roles;
mod storage;
mod terminal;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            terminal::complain(&error);
            ExitCode::from(2)
        }
    }
}
