//! Which files of which date are compacted next. Pure.
//!
//! A date is due when a file of it has lain unsorted for `after_ms`, or when `bytes_min` lie unsorted: so a copy goes at the
//! latest `after_ms` after its file was written, and a date of much traffic is sorted as it comes. A date that is due gives all
//! its unsorted files, and those sorted ones that are small: late events for it come in drops, and each drop would stay a
//! file. Of a file that is half as large as they get no byte is written again.
use super::Config;
use crate::limits::{INPUT_BYTES_MAX, INPUT_FILES_MAX};
use chrono::NaiveDate;
use lake::table::{ActiveFile, Layout};
use lake::tables::EVENT_DATE;
use serde::Serialize;
use std::collections::BTreeMap;

/// Which dates are compacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Those that are due by their age or their bytes.
    Due,
    /// This one, or all, as far as something lies unsorted in it.
    Asked(Option<NaiveDate>),
}

/// One compaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Of the date; none is a date that isn't known.
    pub values: BTreeMap<String, Option<String>>,
    /// To be sorted together.
    pub sorted_anew: Vec<ActiveFile>,
    /// Where copies of their rows may be: the date's other files, and those of the dates beside.
    pub beside: Vec<ActiveFile>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The next.
    pub task: Option<Task>,
    /// Bytes that lie unsorted, in all dates.
    pub unsorted_bytes: u64,
}

/// What lies unsorted of a date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unsorted {
    /// `None`: the date isn't known.
    pub date: Option<String>,
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// The dates of which something lies unsorted, oldest first.
pub fn unsorted(files: &[ActiveFile], scope: &Scope) -> Vec<Unsorted> {
    let mut dates: BTreeMap<Option<String>, Unsorted> = BTreeMap::new();
    let is_asked = |file: &&ActiveFile| match scope {
        Scope::Asked(Some(asked)) => date(&file.partition_values) == Some(*asked),
        Scope::Asked(None) | Scope::Due => true,
    };
    for file in files.iter().filter(|file| is_unsorted(file)).filter(is_asked) {
        let date = file.partition_values.get(EVENT_DATE).cloned().flatten();
        let of = dates.entry(date.clone()).or_insert(Unsorted { date, files: 0, bytes: 0 });
        of.files += 1;
        of.bytes += file.bytes;
    }
    dates.into_values().collect()
}

type Values = BTreeMap<String, Option<String>>;

/// The oldest date that is to be compacted.
pub fn plan(files: &[ActiveFile], config: &Config, scope: &Scope, now_ms: i64) -> Plan {
    let mut dates: BTreeMap<&Values, Vec<&ActiveFile>> = BTreeMap::new();
    for file in files {
        dates.entry(&file.partition_values).or_default().push(file);
    }
    let unsorted_bytes = files.iter().filter(|file| is_unsorted(file)).map(|file| file.bytes).sum();
    let due = dates.iter().find(|(values, files)| is_due(values, files, config, scope, now_ms));
    let Some((values, of_date)) = due else { return Plan { unsorted_bytes, ..Plan::default() } };
    let sorted_anew = chosen(of_date, config);
    let is_beside = |file: &&ActiveFile| {
        are_neighbours(date(values), date(&file.partition_values)) && !sorted_anew.iter().any(|of| of.path == file.path)
    };
    let beside = files.iter().filter(is_beside).cloned().collect();
    Plan { task: Some(Task { values: (*values).clone(), sorted_anew, beside }), unsorted_bytes }
}

fn is_unsorted(file: &ActiveFile) -> bool {
    file.layout() == Layout::Log
}

fn is_due(values: &Values, files: &[&ActiveFile], config: &Config, scope: &Scope, now_ms: i64) -> bool {
    let mut unsorted = files.iter().filter(|file| is_unsorted(file)).peekable();
    if unsorted.peek().is_none() {
        return false;
    }
    match scope {
        Scope::Asked(None) => true,
        Scope::Asked(Some(asked)) => date(values) == Some(*asked),
        Scope::Due => {
            let (mut oldest_ms, mut bytes) = (i64::MAX, 0);
            for file in unsorted {
                oldest_ms = oldest_ms.min(file.modification_time);
                bytes += file.bytes;
            }
            let age_ms = u64::try_from(now_ms.saturating_sub(oldest_ms)).unwrap_or(0);
            age_ms >= config.after_ms || bytes >= config.bytes_min
        }
    }
}

/// The unsorted files, oldest first, then small sorted ones, within the bounds.
fn chosen(files: &[&ActiveFile], config: &Config) -> Vec<ActiveFile> {
    let small = |file: &ActiveFile| file.bytes < config.file_bytes / 2;
    let mut candidates: Vec<&ActiveFile> =
        files.iter().copied().filter(|file| is_unsorted(file) || small(file)).collect();
    candidates.sort_by_key(|file| (!is_unsorted(file), file.modification_time, &file.path));
    let (mut chosen, mut bytes) = (Vec::new(), 0);
    for file in &candidates {
        let fits = bytes + file.bytes <= INPUT_BYTES_MAX && chosen.len() < INPUT_FILES_MAX;
        // One that is larger than the bound alone is sorted alone.
        if !fits && !chosen.is_empty() {
            break;
        }
        bytes += file.bytes;
        chosen.push((*file).clone());
    }
    chosen
}

fn date(values: &Values) -> Option<NaiveDate> {
    values.get(EVENT_DATE)?.as_deref()?.parse().ok()
}

/// The same event may lie on the next date: its corrected time follows when it was sent.
fn are_neighbours(one: Option<NaiveDate>, other: Option<NaiveDate>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).num_days().abs() <= 1,
        (one, other) => one == other,
    }
}
