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
use std::collections::{BTreeMap, HashSet};

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
    let taken: HashSet<&str> = sorted_anew.iter().map(|file| file.path.as_str()).collect();
    let is_beside = |file: &&ActiveFile| {
        are_neighbours(date(values), date(&file.partition_values)) && !taken.contains(file.path.as_str())
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const MIB: u64 = 1 << 20;

    fn file(name: &str, date: &str, bytes: u64, modification_time: i64) -> ActiveFile {
        let partition_values = BTreeMap::from([(EVENT_DATE.to_owned(), Some(date.to_owned()))]);
        let path = format!("event_date={date}/{name}");
        ActiveFile { path, partition_values, bytes, rows: Some(1), modification_time }
    }

    fn planned(files: &[ActiveFile], scope: &Scope, now_ms: i64) -> Option<(Vec<String>, Vec<String>)> {
        let names = |files: &[ActiveFile]| {
            let mut names: Vec<String> =
                files.iter().map(|file| file.path.rsplit('/').next().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        let task = plan(files, &Config::default(), scope, now_ms).task?;
        Some((names(&task.sorted_anew), names(&task.beside)))
    }

    #[test]
    fn a_date_is_due_when_a_file_of_it_has_lain_unsorted_for_long_or_much_lies_unsorted() {
        let few = [file("part-a", "2026-11-20", MIB, 0), file("part-b", "2026-11-20", MIB, 5 * HOUR_MS)];
        assert_eq!(planned(&few, &Scope::Due, 6 * HOUR_MS - 1), None);
        let all = Some((vec!["part-a".to_owned(), "part-b".to_owned()], Vec::new()));
        assert_eq!(planned(&few, &Scope::Due, 6 * HOUR_MS), all, "with its younger ones");
        assert_eq!(planned(&few, &Scope::Asked(None), 0), all);
        assert_eq!(planned(&few, &Scope::Asked("2026-11-21".parse().ok()), 6 * HOUR_MS), None);
        let much = [file("part-a", "2026-11-20", 600 * MIB, 0), file("part-b", "2026-11-20", 500 * MIB, 0)];
        assert_eq!(planned(&much, &Scope::Due, 1).unwrap().0, ["part-a"], "a gigabyte at a time");
        let sorted = [file("sorted-a", "2026-11-20", MIB, 0)];
        assert_eq!(planned(&sorted, &Scope::Asked(None), 100 * HOUR_MS), None);
        assert_eq!(plan(&much, &Config::default(), &Scope::Due, 0).unsorted_bytes, 1_100 * MIB);
    }

    #[test]
    fn small_sorted_files_are_sorted_again_and_copies_are_looked_for_a_day_around() {
        let files = [
            file("part-a", "2026-11-20", MIB, 0),
            file("sorted-small", "2026-11-20", 10 * MIB, 0),
            file("sorted-large", "2026-11-20", 300 * MIB, 0),
            file("sorted-before", "2026-11-19", MIB, 0),
            file("part-after", "2026-11-21", MIB, 6 * HOUR_MS),
            file("sorted-far", "2026-11-22", MIB, 0),
        ];
        let (sorted_anew, beside) = planned(&files, &Scope::Due, 6 * HOUR_MS).unwrap();
        assert_eq!(sorted_anew, ["part-a", "sorted-small"]);
        assert_eq!(beside, ["part-after", "sorted-before", "sorted-large"]);
    }

    #[test]
    fn a_file_that_is_larger_than_the_bound_is_sorted_alone_and_many_are_taken_in_parts() {
        let large = [file("part-a", "2026-11-20", 2 * INPUT_BYTES_MAX, 0), file("part-b", "2026-11-20", MIB, 1)];
        assert_eq!(planned(&large, &Scope::Due, 6 * HOUR_MS).unwrap().0, ["part-a"]);
        let many: Vec<_> =
            (0..200).map(|number| file(&format!("part-{number:03}"), "2026-11-20", MIB, number)).collect();
        let (sorted_anew, beside) = planned(&many, &Scope::Due, 6 * HOUR_MS).unwrap();
        assert_eq!((sorted_anew.len(), beside.len()), (INPUT_FILES_MAX, 200 - INPUT_FILES_MAX));
        assert_eq!(sorted_anew[0], "part-000", "the oldest first");
    }
}
