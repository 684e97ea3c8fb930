//! The dedup window against a model that keeps every key, from every restart point.
use event::dedup::{Key, Window};
use proptest::collection::vec;
use proptest::prelude::*;

/// Records in the order of the log: offset and keys. Few keys, so that they meet again.
fn history() -> impl Strategy<Value = Vec<(u64, Vec<Key>)>> {
    let key = (0..3u64, 0..40u128).prop_map(|(tenant, id)| Key { tenant, id });
    vec((1..4u64, vec(key, 0..9)), 1..60).prop_map(|records| {
        let mut next = 100;
        records
            .into_iter()
            .map(|(step, keys)| {
                next += step;
                (next, keys)
            })
            .collect()
    })
}

fn observe(window: &mut Window, records: &[(u64, Vec<Key>)]) -> Vec<bool> {
    records
        .iter()
        .flat_map(|(offset, keys)| keys.iter().map(|key| (*offset, *key)))
        .map(|(offset, key)| window.observe(offset, key))
        .collect()
}

fn model(records: &[(u64, Vec<Key>)], rows: usize) -> Vec<bool> {
    let keys: Vec<Key> = records.iter().flat_map(|(_, keys)| keys.clone()).collect();
    (0..keys.len()).map(|row| keys[row.saturating_sub(rows)..row].contains(&keys[row])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_row_is_a_duplicate_when_its_key_is_among_the_previous_rows_read(records in history(), rows in 0..50usize) {
        let mut window = Window::new(rows);
        prop_assert_eq!(observe(&mut window, &records), model(&records, rows));
        let read: usize = records.iter().map(|(_, keys)| keys.len()).sum();
        prop_assert_eq!(window.len(), read.min(rows));
    }

    #[test]
    fn a_window_made_anew_from_its_start_offset_gives_the_same_verdicts(records in history(), rows in 0..50usize) {
        let all = model(&records, rows);
        let mut window = Window::new(rows);
        let mut before = 0;
        for restart in 0..records.len() {
            let mut fresh = Window::new(rows);
            if let Some(start) = window.start_offset() {
                let from = records.partition_point(|(offset, _)| *offset < start);
                prop_assert_eq!(records[from].0, start, "the start is a record of the log");
                observe(&mut fresh, &records[from..restart]);
            }
            prop_assert_eq!(fresh.len(), window.len());
            prop_assert_eq!(fresh.start_offset(), window.start_offset());
            prop_assert_eq!(observe(&mut fresh, &records[restart..]), &all[before..]);
            observe(&mut window, &records[restart..=restart]);
            before += records[restart].1.len();
        }
    }
}

fn key(id: u128) -> Key {
    Key::new("default", &id.to_be_bytes())
}

#[test]
fn the_same_id_of_another_tenant_is_another_event() {
    let mut window = Window::new(10);
    assert!(!window.observe(0, Key::new("a", &[7; 16])));
    assert!(!window.observe(0, Key::new("b", &[7; 16])));
    assert!(window.observe(1, Key::new("a", &[7; 16])));
}

#[test]
fn a_duplicate_renews_its_key_though_it_is_not_kept() {
    let mut window = Window::new(2);
    assert!(!window.observe(0, key(1)));
    assert!(!window.observe(1, key(2)));
    assert!(window.observe(2, key(1)));
    assert!(!window.observe(3, key(3)));
    assert!(window.observe(4, key(1)), "row 2 was read, so it counts");
}

#[test]
fn the_start_offset_is_that_of_the_oldest_row_still_held() {
    let mut window = Window::new(3);
    assert_eq!(window.start_offset(), None);
    for (offset, id) in [(5, 1), (5, 2), (8, 3)] {
        window.observe(offset, key(id));
    }
    assert_eq!(window.start_offset(), Some(5));
    window.observe(9, key(4));
    assert_eq!(window.start_offset(), Some(5), "the second row of 5 is still one of the last 3");
    window.observe(9, key(5));
    assert_eq!(window.start_offset(), Some(8));
}

#[test]
fn a_window_over_no_rows_finds_no_duplicates() {
    let mut window = Window::new(0);
    assert!(!window.observe(0, key(1)));
    assert!(!window.observe(1, key(1)));
    assert_eq!((window.len(), window.start_offset()), (0, None));
}

#[test]
#[should_panic(expected = "rows must come in log order")]
fn rows_out_of_order_stop_the_reader() {
    let mut window = Window::new(4);
    window.observe(9, key(1));
    window.observe(8, key(2));
}

#[test]
fn a_large_window_holds_every_one_of_its_rows() {
    let rows = 50_000;
    let mut window = Window::new(rows);
    for id in 0..2 * rows as u128 {
        assert!(!window.observe(id as u64 / 100, key(id)), "{id}");
    }
    assert_eq!(window.len(), rows);
    // Each of these is the oldest key held, just before it would leave.
    for id in rows as u128..2 * rows as u128 {
        assert!(window.observe(1_000, key(id)), "{id}");
    }
}
