//! `playhead config check | show`
use super::{Context, Outcome};
use crate::cli::ConfigAction;
use crate::{config, terminal};
use futures::executor::block_on;
use std::fmt::Display;

/// What `check` says of a configuration that can't be used.
pub fn wrong(error: &dyn Display, json: bool) -> Outcome {
    terminal::complain(error);
    if json {
        terminal::say_json(&serde_json::json!({ "ok": false, "error": error.to_string() }));
    }
    Outcome::Wrong
}

/// The configuration was read and checked already: an invalid one never comes here.
pub fn run(context: &Context, action: ConfigAction) -> Outcome {
    if let (ConfigAction::Check, Err(error)) = (action, block_on(processor::check(&context.config.rollups()))) {
        return wrong(&error, context.common.json);
    }
    match action {
        ConfigAction::Check if context.common.json => terminal::say_json(&serde_json::json!({ "ok": true })),
        ConfigAction::Check => terminal::say("configuration is right"),
        ConfigAction::Show if context.common.json => terminal::say_json(&config::shown(&context.config)),
        ConfigAction::Show => terminal::say(config::to_toml(&context.config).trim_end()),
    }
    Outcome::Right
}
