//! `playhead rollup check | explain | backfill`
use super::{Context, Error, Outcome};
use crate::cli::{self, RollupAction};
use crate::clock::{SystemClock, rfc3339};
use crate::terminal;
use event::clock::Clock;
use processor::backfill::{Asked, Backfill, cancel};
use processor::days;
use processor::rollup::{Definition, Plan, Refused};
use serde_json::{Value, json};
use std::time::Duration;

/// How often a backfill that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs one of them.
pub async fn run(context: &Context, action: RollupAction) -> Result<Outcome, Error> {
    let rollups = context.config.rollups().rollups;
    match action {
        RollupAction::Check => check(&rollups, context.common.json).await,
        RollupAction::Explain { name } => explain(&rollups, name.as_deref(), context.common.json).await,
        RollupAction::Backfill(options) => backfill(context, &rollups, &options).await,
    }
}

async fn check(rollups: &[Definition], as_json: bool) -> Result<Outcome, Error> {
    let mut found = Vec::new();
    for rollup in rollups {
        found.push((&rollup.name, Plan::new(rollup).await.map(|plan| days::can_be_kept(&plan))));
    }
    let ok = found.iter().all(|(_, planned)| planned.is_ok());
    if as_json {
        let of = |(name, planned): &(&String, Planned)| {
            let mut of = verdict(planned.as_ref().err());
            of["name"] = json!(name);
            of["days"] = json!(planned.as_ref().ok().map(|days| verdict(days.as_ref().err())));
            of
        };
        terminal::say_json(&json!({ "ok": ok, "rollups": found.iter().map(of).collect::<Vec<_>>() }));
    } else {
        for (name, planned) in &found {
            match planned {
                Ok(Ok(())) => terminal::say(format_args!("{name}: right")),
                Ok(Err(days)) => terminal::say(format_args!("{name}: right, without days: {days}")),
                Err(refused) => terminal::say(format_args!("{name}: {refused}")),
            }
        }
    }
    Ok(if ok { Outcome::Right } else { Outcome::Wrong })
}

/// Whether a rollup can be kept, and if so, whether its days can be.
type Planned = Result<Result<(), Refused>, Refused>;

fn verdict(refused: Option<&Refused>) -> Value {
    json!({
        "ok": refused.is_none(),
        "reason": refused.map(|refused| &refused.what),
        "instead": refused.map(|refused| &refused.instead),
    })
}

async fn explain(rollups: &[Definition], name: Option<&str>, as_json: bool) -> Result<Outcome, Error> {
    let chosen: Vec<&Definition> = match name {
        Some(name) => vec![named(rollups, name)?],
        None => rollups.iter().collect(),
    };
    let mut shown = Vec::new();
    for definition in chosen {
        let plan = Plan::new(definition).await;
        let plan = plan.map_err(|reason| format!("rollup {}: {reason}", definition.name))?;
        match as_json {
            true => shown.push(in_json(definition, &plan)),
            false => terminal::say(in_words(definition, &plan)),
        }
    }
    if as_json {
        terminal::say_json(&json!({ "rollups": shown }));
    }
    Ok(Outcome::Right)
}

async fn backfill(context: &Context, rollups: &[Definition], options: &cli::Backfill) -> Result<Outcome, Error> {
    terminal::init_logging("warn");
    let storage = context.look()?;
    let lake = storage.lake.rollups();
    let Some(since_us) = options.since.filter(|_| !options.cancel) else {
        let windows = cancel(&lake, &options.name).await?;
        match context.common.json {
            true => terminal::say_json(&json!({ "cancelled": windows })),
            false => terminal::say(format_args!("{windows} windows are not computed")),
        }
        return Ok(Outcome::Right);
    };
    let definition = named(rollups, &options.name)?;
    let asked = Asked { since_us, until_us: options.until };
    let planned = Backfill::plan(&lake, definition, asked).await?;
    let windows = planned.count();
    if !options.dry_run {
        planned.mark(&lake, SystemClock.now()).await?;
    }
    let (first, last) = (rfc3339(planned.starts.start), rfc3339(planned.starts.end));
    if options.wait {
        if storage.log.owned().is_some_and(|data| data.running().is_none()) {
            terminal::note("no node runs here: they are computed when one does (playhead up)");
        }
        let bar = terminal::progress(windows.unsigned_abs(), "backfill");
        loop {
            let left = planned.waiting(&lake).await? as u64;
            bar.set_position(windows.unsigned_abs().saturating_sub(left));
            if left == 0 {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bar.finish_and_clear();
    }
    if context.common.json {
        let marked = !options.dry_run;
        terminal::say_json(&json!({ "windows": windows, "first": first, "before": last, "marked": marked }));
    } else {
        let what = match (options.dry_run, options.wait) {
            (true, _) => "would be looked at: those that the rollup does not hold are computed from events",
            (_, true) => "were looked at: those that the rollup did not hold are computed",
            _ => {
                "are marked: those that the rollup does not hold are computed by whoever keeps it (table late_windows)"
            }
        };
        let until = last.unwrap_or_default();
        terminal::say(format_args!(
            "{windows} windows that begin from {} to before {until} {what}",
            first.unwrap_or_default()
        ));
    }
    Ok(Outcome::Right)
}

fn named<'a>(rollups: &'a [Definition], name: &str) -> Result<&'a Definition, Error> {
    rollups.iter().find(|of| of.name == name).ok_or_else(|| {
        let names: Vec<&str> = rollups.iter().map(|of| of.name.as_str()).collect();
        let known = names.join(", ");
        format!("no rollup is named {name} in this configuration; there are: {known}. Is --config the node's?").into()
    })
}

fn in_json(definition: &Definition, plan: &Plan) -> Value {
    let columns = |schema: &arrow_schema::Schema| {
        let field =
            |field: &arrow_schema::FieldRef| json!({ "name": field.name(), "type": field.data_type().to_string() });
        schema.fields().iter().map(field).collect::<Vec<_>>()
    };
    json!({
        "rollup": definition,
        "reads": plan.columns().collect::<Vec<_>>(),
        "columns": columns(plan.output()),
        "days": verdict(days::can_be_kept(plan).err().as_ref()),
        "plan": plan.shown(),
    })
}

fn in_words(definition: &Definition, plan: &Plan) -> String {
    let length = |us: i64| humantime::format_duration(Duration::from_micros(us.unsigned_abs()));
    let (size, slide) = (plan.windows.length_us(), plan.windows.slide_us());
    let windows = match size == slide {
        true => format!("windows of {}", length(size)),
        false => format!("windows of {}, one each {}", length(size), length(slide)),
    };
    let columns: Vec<String> =
        plan.output().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    format!(
        "{}: {windows}, open for {} after their end\n  sql      {}\n  reads    {}\n  columns  {}\n  days     {}\n  plan\n{}",
        definition.name,
        humantime::format_duration(definition.allowed_lateness),
        definition.sql.split_whitespace().collect::<Vec<_>>().join(" "),
        plan.columns().collect::<Vec<_>>().join(", "),
        columns.join(", "),
        days::can_be_kept(plan).err().map_or_else(|| "kept".to_owned(), |refused| format!("not kept: {refused}")),
        plan.shown().lines().map(|line| format!("    {line}\n")).collect::<String>().trim_end(),
    )
}
