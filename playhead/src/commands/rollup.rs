//! `playhead rollup check | explain`
use super::{Context, Error, Outcome};
use crate::cli::RollupAction;
use crate::terminal;
use processor::rollup::{Definition, Plan, Refused};
use serde_json::{Value, json};

/// Runs one of them.
pub async fn run(context: &Context, action: RollupAction) -> Result<Outcome, Error> {
    let rollups = context.config.rollups().rollups;
    match action {
        RollupAction::Check => check(&rollups, context.common.json).await,
        RollupAction::Explain { name } => explain(&rollups, name.as_deref(), context.common.json).await,
    }
}

async fn check(rollups: &[Definition], as_json: bool) -> Result<Outcome, Error> {
    let mut found = Vec::new();
    for rollup in rollups {
        found.push((&rollup.name, Plan::new(rollup).await.err()));
    }
    let ok = found.iter().all(|(_, refused)| refused.is_none());
    if as_json {
        let of = |(name, refused): &(&String, Option<Refused>)| {
            let refused = refused.as_ref();
            json!({
                "name": name,
                "ok": refused.is_none(),
                "reason": refused.map(|refused| &refused.what),
                "instead": refused.map(|refused| &refused.instead),
            })
        };
        terminal::say_json(&json!({ "ok": ok, "rollups": found.iter().map(of).collect::<Vec<_>>() }));
    } else {
        for (name, refused) in &found {
            match refused {
                None => terminal::say(format_args!("{name}: right")),
                Some(refused) => terminal::say(format_args!("{name}: {refused}")),
            }
        }
    }
    Ok(if ok { Outcome::Right } else { Outcome::Wrong })
}

async fn explain(rollups: &[Definition], name: Option<&str>, as_json: bool) -> Result<Outcome, Error> {
    let chosen: Vec<&Definition> = rollups.iter().filter(|of| name.is_none_or(|name| of.name == name)).collect();
    if let (Some(name), true) = (name, chosen.is_empty()) {
        let names: Vec<&str> = rollups.iter().map(|of| of.name.as_str()).collect();
        return Err(format!("no rollup is named {name}; there are: {}", names.join(", ")).into());
    }
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
        "plan": plan.shown(),
    })
}

fn in_words(definition: &Definition, plan: &Plan) -> String {
    let length = |us: i64| humantime::format_duration(std::time::Duration::from_micros(us.unsigned_abs()));
    let (size, slide) = (plan.windows.length_us(), plan.windows.slide_us());
    let windows = match size == slide {
        true => format!("windows of {}", length(size)),
        false => format!("windows of {}, one each {}", length(size), length(slide)),
    };
    let columns: Vec<String> =
        plan.output().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    format!(
        "{}: {windows}, open for {} after their end\n  sql      {}\n  reads    {}\n  columns  {}\n  plan\n{}",
        definition.name,
        humantime::format_duration(definition.allowed_lateness),
        definition.sql.split_whitespace().collect::<Vec<_>>().join(" "),
        plan.columns().collect::<Vec<_>>().join(", "),
        columns.join(", "),
        plan.shown().lines().map(|line| format!("    {line}\n")).collect::<String>().trim_end(),
    )
}
