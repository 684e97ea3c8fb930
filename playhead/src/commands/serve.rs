//! `playhead up`, `ingest`, `sink` and `process`: a node with its roles, until a signal.
use super::signals::{Signals, end_at_the_latest};
use super::{Context, Error, Outcome};
use crate::cli::Serve;
use crate::node::Node;
use crate::roles::Roles;
use crate::storage::{LogPlace, Storage};
use crate::terminal;
use std::time::Duration;

/// A stop takes at most 30 s.
const STOP_MAX: Duration = Duration::from_secs(29);

/// Runs the node; a second signal while it stops ends it at once (what is acknowledged is durable).
pub async fn run(mut context: Context, options: Serve, roles: Roles) -> Result<Outcome, Error> {
    terminal::init_logging("info");
    if roles != Roles::ALL && !context.config.kafka.is_used() {
        return Err(format!(
            "`playhead {}` is one role over Kafka, and kafka.brokers is empty: set it in playhead.toml or by \
             PLAYHEAD_KAFKA__BROKERS=HOST:9092, or run all roles on one machine with `playhead up`",
            roles.command()
        )
        .into());
    }
    if let Some(listen) = options.listen {
        context.config.ingest.listen = listen;
    }
    if let Some(admin) = options.admin {
        context.config.admin.listen = admin;
    }
    // Else it is as it was loaded, and checked.
    if options.listen.or(options.admin).is_some() {
        crate::config::check(&context.config)?;
    }
    if roles == Roles::PROCESS && context.config.rollups().rollups.is_empty() {
        return Err("no rollup is configured: add a [[rollup]], or leave rollup_defaults as it is".into());
    }
    let mut signals = Signals::new()?;
    let storage = Storage::make(&context.config, &context.data_path(), roles)?;
    let mut node = tokio::select! {
        node = Node::start(&context.config, &storage, roles) => node?,
        () = signals.next() => return Ok(Outcome::Right),
    };
    let became_ready = tokio::select! {
        () = node.ready() => true,
        error = node.failed() => return Err(error.into()),
        () = signals.next() => false,
    };
    if became_ready {
        announce(&context, &storage, &node, roles);
        tokio::select! {
            error = node.failed() => return Err(error.into()),
            () = signals.next() => {}
        }
    }
    end_at_the_latest(STOP_MAX);
    tracing::info!(
        "stopping: {}",
        match roles {
            Roles::PROCESS => "closing windows that are complete",
            Roles::INGEST => "answering what was accepted",
            _ => "bringing what was accepted to the lake",
        }
    );
    tokio::select! {
        stopped = node.stop() => stopped?,
        () = signals.next() => return Err("stopped at once by a second signal; the next start goes on from the log".into()),
    }
    tracing::info!("stopped");
    Ok(Outcome::Right)
}

fn announce(context: &Context, storage: &Storage, node: &Node, roles: Roles) {
    if context.common.json {
        terminal::say_json(&serde_json::json!({
            "listening": node.listen.map(|address| address.to_string()),
            "admin": node.admin.to_string(),
            "live": node.live.map(|address| address.to_string()),
        }));
        return;
    }
    match roles {
        Roles::ALL => terminal::say("playhead is up"),
        one => terminal::say(format_args!("playhead {} is up", one.command())),
    }
    if let Some(listen) = node.listen {
        terminal::say(format_args!("  events   POST http://{listen}/v1/events"));
    }
    if let Some(live) = node.live {
        terminal::say(format_args!("  screen   http://{live}/, /v1/live"));
    }
    terminal::say(format_args!("  health   http://{}/readyz, /metrics", node.admin));
    if let LogPlace::Kafka(options) = &storage.log {
        let brokers = options.brokers.join(",");
        terminal::say(format_args!(
            "  log      Kafka at {brokers}, topic {}, {} partitions",
            options.topic, options.partitions
        ));
    }
    if roles.write_lake() {
        let groups =
            [storage.log.group().filter(|_| roles.sink), storage.log.processors_group().filter(|_| roles.process)];
        for group in groups.into_iter().flatten() {
            terminal::say(format_args!("  group    {group}"));
        }
        terminal::say(format_args!("  lake     {}", storage.lake.name()));
        let rollups = context.config.rollups().rollups;
        if roles.process && !rollups.is_empty() {
            let names: Vec<&str> = rollups.iter().map(|rollup| rollup.name.as_str()).collect();
            terminal::say(format_args!("  rollups  {}", names.join(", ")));
        }
    }
    terminal::say("Ctrl-C stops it.");
}
