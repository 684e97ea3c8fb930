//! Tests of [`super`].
use super::*;
use bytes::Bytes;
use log::Record;

fn entry(offset: u64, text: &'static str) -> Entry {
    let record = Record { headers: Vec::new(), payload: Bytes::from_static(text.as_bytes()) };
    Entry { partition: 0, offset, timestamp: 0, record }
}

fn partition(last: Option<(u64, &'static str)>, next: u64) -> Partition {
    let committed = last.map(|(last, text)| Committed {
        last,
        fingerprint: entry(last, text).record.fingerprint(),
        dedup: 0,
        rows: 10,
        duplicates: 1,
        dead_letters: 0,
    });
    Partition::new(lake::tables::txn_names("c", "t", 0), committed, None, Window::new(10), next, true)
}

fn with_gaps(last: Option<(u64, &'static str)>, next: u64) -> Partition {
    Partition { gapless: false, ..partition(last, next) }
}

#[test]
fn records_up_to_the_position_feed_the_window_and_the_next_is_new() {
    let mut partition = partition(Some((2, "c")), 1);
    assert_eq!(partition.place(&entry(1, "b")), Place::Feed);
    assert_eq!(partition.place(&entry(2, "c")), Place::FeedLast);
    assert_eq!(partition.place(&entry(3, "d")), Place::Keep);
}

#[test]
fn another_record_at_the_position_stops() {
    let mut partition = partition(Some((2, "c")), 2);
    assert!(matches!(partition.place(&entry(2, "x")), Place::Stop(_)));
}

#[test]
fn another_record_where_dead_letters_were_committed_stops() {
    let mut partition = partition(Some((2, "c")), 3);
    let fingerprint = entry(3, "d").record.fingerprint();
    partition.dead_committed = Some(DeadCommitted { last: 3, fingerprint, rows: 1 });
    assert!(!partition.wants_dead_letters_of(3) && partition.wants_dead_letters_of(4));
    assert!(matches!(partition.place(&entry(3, "x")), Place::Stop(_)));
}

#[test]
fn a_missing_record_stops_and_nothing_of_it_is_read_any_more() {
    let mut partition = partition(Some((2, "c")), 3);
    assert_eq!(partition.place(&entry(3, "d")), Place::Keep);
    assert!(matches!(partition.place(&entry(5, "f")), Place::Stop(_)));
    partition.stop(5);
    assert_eq!(partition.place(&entry(6, "g")), Place::Ignore);
    assert!(partition.is_drained());
}

#[test]
fn totals_run_on_from_what_the_table_says() {
    let mut partition = partition(Some((2, "c")), 3);
    assert_eq!(partition.next_committed(), None);
    let last = entry(4, "e");
    partition.pending = Pending { last: Some(last.clone()), rows: 5, duplicates: 2, ..Pending::default() };
    let next = partition.next_committed().unwrap();
    let expected = Committed {
        last: 4,
        fingerprint: last.record.fingerprint(),
        dedup: 4,
        rows: 15,
        duplicates: 3,
        dead_letters: 0,
    };
    assert_eq!(next, expected);
}

#[test]
fn where_the_log_has_gaps_offsets_may_be_passed_over_but_never_come_back() {
    let mut partition = with_gaps(Some((2, "c")), 3);
    assert_eq!(partition.place(&entry(5, "f")), Place::Keep);
    assert_eq!(partition.caught_up(9), None);
    assert_eq!(partition.settled_to(), 9);
    assert!(matches!(partition.place(&entry(7, "h")), Place::Stop(_)));
}

#[test]
fn markers_at_the_end_are_no_records_to_wait_for() {
    for (mut partition, drained) in [(with_gaps(None, 0), true), (partition(None, 0), false)] {
        partition.drain_to = Some(3);
        partition.place(&entry(0, "a"));
        assert!(!partition.is_drained());
        assert_eq!(partition.caught_up(3), None);
        assert_eq!(partition.is_drained(), drained, "without gaps an end is no record either, but one is missing");
    }
}

#[test]
fn a_record_that_the_tables_know_is_never_passed_over() {
    let mut partition = with_gaps(Some((2, "c")), 1);
    assert!(matches!(partition.place(&entry(3, "d")), Place::Stop(_)), "the position");
    let mut partition = with_gaps(Some((2, "c")), 1);
    assert!(partition.caught_up(3).is_some(), "the position, at the end");
    let mut partition = with_gaps(Some((2, "c")), 3);
    partition.dead_committed = Some(DeadCommitted { last: 4, fingerprint: 1, rows: 1 });
    assert!(matches!(partition.place(&entry(5, "f")), Place::Stop(_)), "the last dead letter");
}

#[test]
fn the_oldest_record_that_is_not_in_the_lake_is_known_until_all_are() {
    let mut partition = partition(None, 0);
    for (offset, timestamp) in [(0, 10), (1, 20)] {
        let entry = Entry { timestamp, ..entry(offset, "a") };
        partition.place(&entry);
        partition.took(&entry, Instant::now());
    }
    assert_eq!((partition.oldest, partition.lag_records()), (Some(10), 2));
    partition.known.see(5);
    partition.settle(partition.next_committed().unwrap(), None);
    assert_eq!((partition.oldest, partition.lag_records()), (Some(20), 3), "there are more, no older than the last");
    for offset in 2..5 {
        partition.place(&entry(offset, "a"));
    }
    partition.caught_up(5);
    assert_eq!((partition.oldest, partition.lag_records()), (None, 0));
    partition.stop(90);
    assert_eq!(partition.oldest, Some(90));
}
