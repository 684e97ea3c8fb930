//! What the totals of a partition must say after its records' rows were exchanged, so that the audit's sum comes out: what sinks
//! brought, less what was removed, is what is there. Pure.
//!
//! A row that is there now and was not before was either no row to the sink (a dead letter that a mended decoder takes), and is
//! counted as added; or it was one, and somebody took it away: then nothing is to be counted, what was missing is back.
use crate::content::Content;
use std::collections::{BTreeMap, BTreeSet};

/// Rows of some records in one table, before and after.
#[derive(Clone, Copy)]
pub(super) struct Exchanged<'a> {
    pub(super) before: &'a Content,
    pub(super) after: &'a Content,
}

/// What is to be added to the total of removed rows, by partition. `other`: the same records in the other table, which rows that
/// were added here came from. Of more records than are counted one by one, what came is taken for added.
pub(super) fn removed(here: Exchanged<'_>, other: Option<Exchanged<'_>>) -> BTreeMap<i32, i64> {
    let contents = [Some(here), other].into_iter().flatten().flat_map(|of| [of.before, of.after]);
    let mut counts = Vec::new();
    for content in contents {
        match content.records() {
            Some(of) => counts.push(of),
            None => return differences(here),
        }
    }
    let [before, after, others @ ..] = &counts[..] else { return differences(here) };
    let of = |counts: &std::collections::HashMap<(i32, i64), i64>, record| counts.get(record).copied().unwrap_or(0);
    let records: BTreeSet<&(i32, i64)> = before.keys().chain(after.keys()).collect();
    let mut removed = BTreeMap::new();
    for record in records {
        let more = of(after, record) - of(before, record);
        let left = match others {
            [before, after] => of(before, record) - of(after, record),
            _ => i64::MAX,
        };
        // One dead letter may be a whole record, of however many rows.
        let added = if left == 1 { more } else { more.min(left.max(0)) };
        *removed.entry(record.0).or_insert(0) -= if more > 0 { added } else { more };
    }
    removed
}

fn differences(here: Exchanged<'_>) -> BTreeMap<i32, i64> {
    let mut removed = here.before.partitions.clone();
    for (partition, rows) in &here.after.partitions {
        *removed.entry(*partition).or_default() -= rows;
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(records: &[(i64, i64)]) -> Content {
        Content::counted(records.iter().map(|(offset, rows)| ((0, *offset), *rows)))
    }

    fn check(rows: [&[(i64, i64)]; 2], letters: [&[(i64, i64)]; 2], expected: i64) {
        let [rows_before, rows_after] = rows.map(content);
        let [letters_before, letters_after] = letters.map(content);
        let rows = Exchanged { before: &rows_before, after: &rows_after };
        let letters = Exchanged { before: &letters_before, after: &letters_after };
        assert_eq!(removed(rows, Some(letters)).get(&0).copied().unwrap_or(0), expected);
    }

    #[test]
    fn what_is_back_is_not_counted_and_what_a_mended_decoder_takes_is() {
        check([&[(1, 4)], &[(1, 4)]], [&[], &[]], 0);
        check([&[(2, 3)], &[(1, 4), (2, 5)]], [&[], &[]], 0);
        check([&[(1, 1)], &[(1, 4)]], [&[(1, 3)], &[]], -3);
        check([&[], &[(1, 40)]], [&[(1, 1)], &[]], -40);
        check([&[(1, 2), (2, 0)], &[(1, 6), (2, 3)]], [&[(1, 2)], &[]], -2);
        check([&[(1, 4)], &[(1, 2)]], [&[], &[(1, 2)]], 2);
        check([&[(9, 1)], &[]], [&[], &[]], 1);
    }

    #[test]
    fn without_the_other_table_what_came_is_added() {
        let (before, after) = (content(&[(1, 2)]), content(&[(1, 1), (2, 3)]));
        assert_eq!(removed(Exchanged { before: &before, after: &after }, None)[&0], -2);
    }
}
