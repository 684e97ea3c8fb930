//! Which files to merge: size-tiered within one partition. Pure.
//!
//! A file's size class is the logarithm of its bytes to the base 8. When a partition has `merge_files_min` files of
//! one class they become one file, which is of the next class. So a byte is rewritten once a class, about
//! log8(merge_bytes_max / bytes of a flush's file) times, and at most 7 files a class stay:
//!
//! ```text
//!   class 0   ▪▪▪▪▪▪▪▪ ─▶ ▬          8 files of 40 KiB become one of 320 KiB
//!   class 2   ▬▬▬▬▬▬▬▬ ─▶ ████       8 of those one of 2.5 MiB, and so on to merge_bytes_max
//! ```
//!
//! Files that compaction has sorted are left alone: their rows are not in the log's order any more.
//!
//! A partition that has had no new file for `quiet_ms` is merged across the classes, so that a date that is over
//! ends as few large files.
use super::Options;
use crate::table::{ActiveFile, Layout};
use std::collections::BTreeMap;

/// Files below this are of class 0, bytes: their footers cost more than their rows.
const SMALL_BYTES: u64 = 64 << 10;
/// Ratio of the classes.
const FACTOR: u64 = 8;
/// Files of one merge at most: their footers are in memory at the same time.
const FILES_MAX: usize = 128;
/// Groups of one pass, which is one commit, at most.
const GROUPS_MAX: usize = 64;

/// Groups of files to merge, each within one partition; those with the smallest files come first, since they take
/// the most files away for the fewest bytes. A group's bytes are at most `merge_bytes_max`.
pub fn plan(files: &[ActiveFile], options: &Options, now_ms: i64) -> Vec<Vec<ActiveFile>> {
    let mut partitions: BTreeMap<_, Vec<&ActiveFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.layout() == Layout::Log) {
        partitions.entry(&file.partition_values).or_default().push(file);
    }
    let mut groups = Vec::new();
    for mut files in partitions.into_values() {
        let newest = files.iter().map(|file| file.modification_time).max().unwrap_or(i64::MAX);
        let quiet = now_ms.saturating_sub(newest) >= options.quiet_ms;
        files.retain(|file| file.bytes <= options.merge_bytes_max / 2);
        files.sort_by(|a, b| (a.modification_time, &a.path).cmp(&(b.modification_time, &b.path)));
        if quiet {
            gather(files, 2, options, &mut groups);
            continue;
        }
        let mut classes: BTreeMap<u32, Vec<&ActiveFile>> = BTreeMap::new();
        for file in files {
            classes.entry(class(file.bytes)).or_default().push(file);
        }
        for files in classes.into_values() {
            gather(files, options.merge_files_min.max(2), options, &mut groups);
        }
    }
    groups.sort_by_key(|group: &Vec<ActiveFile>| bytes(group) / group.len() as u64);
    groups
}

/// The first groups of a plan, as many as one pass merges: of twice `merge_bytes_max`, so that it ends soon. Also
/// whether some are left.
pub fn one_pass(mut planned: Vec<Vec<ActiveFile>>, options: &Options) -> (Vec<Vec<ActiveFile>>, bool) {
    let mut merged_bytes = 0;
    let fits = planned.iter().take(GROUPS_MAX).take_while(|group| {
        merged_bytes += bytes(group);
        merged_bytes <= options.merge_bytes_max.saturating_mul(2)
    });
    let count = fits.count();
    let more = count < planned.len();
    planned.truncate(count);
    (planned, more)
}

/// Cuts `files` into groups of at most `merge_bytes_max` and keeps those worth a merge: with `files_min` files, or
/// large enough to be left alone afterwards.
fn gather(files: Vec<&ActiveFile>, files_min: usize, options: &Options, groups: &mut Vec<Vec<ActiveFile>>) {
    let mut keep = |group: Vec<ActiveFile>, bytes: u64| {
        let final_size = bytes > options.merge_bytes_max / 2;
        if group.len() >= files_min || group.len() >= 2 && final_size {
            groups.push(group);
        }
    };
    let (mut group, mut bytes) = (Vec::new(), 0);
    for file in files {
        if group.len() >= FILES_MAX || bytes + file.bytes > options.merge_bytes_max {
            keep(std::mem::take(&mut group), bytes);
            bytes = 0;
        }
        bytes += file.bytes;
        group.push(file.clone());
    }
    keep(group, bytes);
}

fn class(bytes: u64) -> u32 {
    (bytes / SMALL_BYTES).checked_ilog(FACTOR).map_or(0, |class| class + 1)
}

fn bytes(group: &[ActiveFile]) -> u64 {
    group.iter().map(|file| file.bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    fn file(date: &str, number: usize, bytes: u64) -> ActiveFile {
        ActiveFile {
            path: format!("event_date={date}/part-{number:05}.parquet"),
            partition_values: BTreeMap::from([("event_date".to_owned(), Some(date.to_owned()))]),
            bytes,
            rows: Some(1),
            modification_time: number as i64,
        }
    }

    fn files(date: &str, count: usize, bytes: u64) -> Vec<ActiveFile> {
        (0..count).map(|number| file(date, number, bytes)).collect()
    }

    #[test]
    fn eight_files_of_one_class_are_merged_and_seven_are_not() {
        let options = Options::default();
        assert_eq!(plan(&files("2026-11-22", 7, 40 * KIB), &options, 0), Vec::<Vec<ActiveFile>>::new());
        let planned = plan(&files("2026-11-22", 8, 40 * KIB), &options, 0);
        assert_eq!(planned.iter().map(Vec::len).collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn files_of_different_dates_or_classes_are_not_merged_together() {
        let options = Options::default();
        let mut mixed = files("2026-11-21", 5, 40 * KIB);
        mixed.extend(files("2026-11-22", 5, 40 * KIB));
        mixed.extend((5..10).map(|number| file("2026-11-22", number, 20 * MIB)));
        assert!(plan(&mixed, &options, 0).iter().all(|group| group.iter().all(|file| file.bytes == 20 * MIB)));
    }

    #[test]
    fn a_large_file_is_left_alone_and_no_merge_is_larger_than_the_bound() {
        let options = Options::default();
        assert!(plan(&files("2026-11-22", 20, 65 * MIB), &options, 0).is_empty());
        for group in plan(&files("2026-11-22", 20, 30 * MIB), &options, 0) {
            assert_eq!(group.len(), 4, "four of 30 MiB reach the size that is left alone");
        }
    }

    #[test]
    fn a_sorted_file_is_never_merged_in_the_log_s_order() {
        let options = Options::default();
        let mut sorted = files("2026-11-22", 20, 40 * KIB);
        sorted.iter_mut().for_each(|file| file.path = file.path.replace("part-", "sorted-"));
        assert!(plan(&sorted, &options, options.quiet_ms + 50).is_empty());
    }

    #[test]
    fn a_quiet_date_is_merged_across_classes() {
        let options = Options::default();
        let mut mixed = files("2026-11-22", 3, 40 * KIB);
        mixed.extend((3..6).map(|number| file("2026-11-22", number, 9 * MIB)));
        assert!(plan(&mixed, &options, options.quiet_ms).is_empty(), "the newest file is younger than that");
        let planned = plan(&mixed, &options, options.quiet_ms + 5);
        assert_eq!(planned.iter().map(Vec::len).collect::<Vec<_>>(), [6]);
    }

    proptest! {
        #[test]
        fn a_plan_names_each_file_at_most_once_and_keeps_to_its_bounds(
            sizes in prop::collection::vec((0u8..4, 1u64..200 * MIB), 0..200),
            now_ms in 0i64..100_000_000,
        ) {
            let options = Options::default();
            let dates = ["2026-11-19", "2026-11-20", "2026-11-21", "2026-11-22"];
            let files: Vec<_> = sizes.iter().enumerate()
                .map(|(number, (date, bytes))| file(dates[usize::from(*date)], number, *bytes)).collect();
            let mut seen = HashSet::new();
            for group in plan(&files, &options, now_ms) {
                prop_assert!(group.len() >= 2);
                prop_assert!(bytes(&group) <= options.merge_bytes_max);
                prop_assert!(group.iter().all(|file| file.partition_values == group[0].partition_values));
                prop_assert!(group.iter().all(|file| seen.insert(file.path.clone())));
            }
        }
    }
}
