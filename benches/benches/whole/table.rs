//! The table: for each step its limit and ours, in pairs.
use std::fmt;

/// One step.
pub struct Row {
    pub step: String,
    pub limit: String,
    /// The unit of both, less being better: CPU-seconds a million events, milliseconds.
    pub unit: &'static str,
    /// The limit and ours, of one run each.
    pub pairs: Vec<(f64, f64)>,
    /// The least ratio of limit to ours that is wanted.
    pub goal: Option<f64>,
}

/// A figure without a limit that is measured: a bound that was set.
pub struct Fact {
    pub what: String,
    pub unit: &'static str,
    pub values: Vec<f64>,
    /// It should be at most this; `None`: it is only told.
    pub at_most: Option<f64>,
}

pub struct Table {
    runs: u32,
    rows: Vec<Row>,
    facts: Vec<Fact>,
}

impl Table {
    pub fn new(runs: u32) -> Table {
        Table { runs, rows: Vec::new(), facts: Vec::new() }
    }

    pub fn row(&mut self, row: Row) {
        eprintln!("    {}: {:?}", row.step, row.pairs);
        self.rows.push(row);
    }

    pub fn fact(&mut self, fact: Fact) {
        eprintln!("    {}: {:?} {}", fact.what, fact.values, fact.unit);
        self.facts.push(fact);
    }
}

/// Median, least and most.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1])
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Medians of {} runs, in brackets the least and the most.\n", self.runs)?;
        writeln!(f, "| step | its limit | unit | limit | ours | limit / ours | goal |")?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for Row { step, limit, unit, pairs, goal } in &self.rows {
            let (of_limit, _, _) = spread(pairs.iter().map(|pair| pair.0));
            let (ours, least, most) = spread(pairs.iter().map(|pair| pair.1));
            let (ratio, lowest, highest) = spread(pairs.iter().map(|pair| pair.0 / pair.1));
            let goal = goal.map_or(String::new(), |goal| format!("{goal:.2}: {}", met(ratio >= goal)));
            writeln!(
                f,
                "| {step} | {limit} | {unit} | {of_limit:.2} | {ours:.2} ({least:.2} to {most:.2}) | {ratio:.2} ({lowest:.2} to {highest:.2}) | {goal} |"
            )?;
        }
        writeln!(f, "\n| figure | unit | value | at most |")?;
        writeln!(f, "|---|---|---|---|")?;
        for Fact { what, unit, values, at_most } in &self.facts {
            let (value, least, most) = spread(values.iter().copied());
            let at_most = at_most.map_or(String::new(), |bound| format!("{bound}: {}", met(value <= bound)));
            writeln!(f, "| {what} | {unit} | {value:.2} ({least:.2} to {most:.2}) | {at_most} |")?;
        }
        Ok(())
    }
}
