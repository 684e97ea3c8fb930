//! The pure steps: what criterion measured in the same run of `scripts/bench`, read from its estimates.
use super::table::{Row, Table};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The least share of its limit that a step is to reach; steps that are not here have none of their own.
const GOALS: [(&str, f64); 4] =
    [("body to batch", 0.6), ("open groups", 0.5), ("open windows", 0.8), ("record to rollups", 0.6)];

pub fn read(_runs: u32, table: &mut Table) {
    let Some(home) = super::setting::<PathBuf>("CRITERION_HOME") else { return };
    for group in folders(&home) {
        let measured: Vec<(String, f64)> = folders(&group).iter().filter_map(|bench| measure(bench)).collect();
        let Some((limit, limit_s)) = measured.iter().find(|(name, _)| name.starts_with("limit")) else { continue };
        for (step, ours_s) in measured.iter().filter(|(name, _)| !name.starts_with("limit")) {
            let group = group.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let goal = GOALS.iter().find(|(name, _)| *name == group).map(|(_, goal)| *goal);
            table.row(Row {
                step: format!("{group}: {step}"),
                limit: limit.trim_start_matches("limit: ").to_owned(),
                unit: "CPU-s a million events",
                pairs: vec![(*limit_s, *ours_s)],
                goal,
            });
        }
    }
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Name and seconds for a million elements; `None`: no folder of a bench.
fn measure(bench: &Path) -> Option<(String, f64)> {
    let json = |file: &str| -> Option<Value> {
        serde_json::from_str(&std::fs::read_to_string(bench.join("new").join(file)).ok()?).ok()
    };
    let (about, estimates) = (json("benchmark.json")?, json("estimates.json")?);
    let elements = about["throughput"]["Elements"].as_f64()?;
    let nanoseconds = estimates["median"]["point_estimate"].as_f64()?;
    Some((about["function_id"].as_str()?.to_owned(), nanoseconds / elements / 1e3))
}
