use super::*;

fn at(offset: u64, end: u64) -> (Places, Instant) {
    let (mut places, now) = (Places::default(), Instant::now());
    places.seek(0, offset, end, now);
    (places, now)
}

fn verify(places: &mut Places, bounds: Range<u64>, now: Instant) -> Verdict {
    let asked = places.to_ask(now);
    places.verify(asked[0], &bounds, now)
}

#[test]
fn records_from_before_a_seek_are_dropped() {
    let (mut places, now) = at(5, 9);
    assert!(!places.record(0, 4, now) && !places.record(1, 5, now), "below, and of a partition that was not sought");
    assert!(places.record(0, 5, now) && !places.record(0, 5, now), "once");
    assert!(places.record(0, 8, now), "offsets between them were taken by no record");
    places.remove(0);
    assert!(!places.record(0, 9, now));
}

#[test]
fn an_end_is_said_once_each_time_it_is_reached() {
    let (mut places, now) = at(4, 4);
    assert_eq!((places.end(0, None, now), places.end(0, None, now)), (Some(4), None));
    assert!(places.record(0, 4, now));
    assert_eq!((places.end(0, None, now), places.end(0, None, now)), (Some(5), None));
    assert_eq!(places.end(1, None, now), None);
}

#[test]
fn an_end_behind_markers_is_said_as_far_as_the_fetch_went() {
    let (mut places, now) = at(4, 7);
    assert!(places.record(0, 5, now) && places.wants_position(0));
    assert_eq!(places.end(0, Some(7), now), Some(7), "6 is a marker");
}

#[test]
fn an_end_that_others_saw_is_never_said_where_the_fetch_did_not_go() {
    // The leader said 9; one that was elected since says 6, and hands out the rest later.
    let (mut places, now) = at(4, 9);
    assert!(places.record(0, 4, now) && places.record(0, 5, now));
    assert_eq!(places.end(0, Some(6), now), Some(6));
    assert_eq!(verify(&mut places, 0..9, now + BEHIND_QUIET), Verdict::Fetch { offset: 6 });
    assert_eq!(places.end(0, None, now), None, "nor after another fetch that ends there");
    assert!((6..9).all(|offset| places.record(0, offset, now)));
    assert_eq!(places.end(0, None, now), Some(9));
}

#[test]
fn a_higher_end_is_said_only_by_a_fetch_that_reaches_it() {
    let (mut places, now) = at(0, 0);
    assert_eq!(places.end(0, None, now), Some(0));
    places.saw_end(0, 3, now);
    assert_eq!(places.end(0, Some(0), now), None);
    assert_eq!(places.to_ask(now), [], "it may bring what was seen");
    let quiet = now + BEHIND_QUIET;
    assert_eq!(verify(&mut places, 0..3, quiet), Verdict::Fetch { offset: 0 });
    assert_eq!(places.to_ask(quiet + BEHIND_QUIET), [], "a fetch needs its time");
    assert!(places.wants_position(0));
    assert_eq!(places.end(0, Some(3), quiet), Some(3));
    assert_eq!(verify(&mut places, 0..3, quiet + QUIET), Verdict::Leave);
}

#[test]
fn a_higher_end_that_records_reach_needs_no_fetch() {
    let (mut places, now) = at(0, 0);
    places.end(0, None, now);
    places.saw_end(0, 1, now);
    assert!(places.record(0, 0, now));
    assert_eq!(places.end(0, None, now), Some(1));
    assert_eq!(places.to_ask(now + BEHIND_QUIET), []);
}

#[test]
fn a_place_that_is_behind_is_looked_at_whatever_comes_of_others() {
    let (mut places, now) = at(0, 0);
    places.seek(1, 0, 0, now);
    places.end(0, None, now);
    places.saw_end(0, 1, now);
    let later = now + BEHIND_QUIET;
    assert!(places.record(1, 0, later));
    assert_eq!(places.look_at(), Some(later));
    assert_eq!(places.to_ask(later).iter().map(|asked| asked.partition).collect::<Vec<_>>(), [0]);
}

#[test]
fn a_place_in_doubt_hands_out_nothing_until_it_is_fetched_anew() {
    let (mut places, now) = at(2, 9);
    places.doubt_all(false, now);
    assert!(!places.record(0, 3, now), "what lies between may have been skipped");
    assert_eq!(places.end(0, None, now), None);
    assert_eq!(verify(&mut places, 0..9, now), Verdict::Fetch { offset: 2 });
    assert!(places.record(0, 2, now));
}

#[test]
fn a_place_outside_of_the_log_stays_in_doubt_and_never_jumps() {
    for bounds in [3..9, 0..1] {
        let (mut places, mut now) = at(2, 9);
        places.doubt_all(false, now);
        for _ in 0..2 {
            assert_eq!(verify(&mut places, bounds.clone(), now), Verdict::OutOfRange { offset: 2 });
            assert!(!places.record(0, 4, now));
            assert_eq!(places.to_ask(now), [], "nobody is kept busy by it");
            now += DOUBT_PAUSE;
        }
        places.seek(0, 3, 9, now);
        assert!(places.record(0, 3, now));
    }
}

#[test]
fn a_broken_batch_is_counted_where_a_place_stands_whatever_comes_of_others() {
    let (mut places, mut now) = at(2, 9);
    places.seek(1, 0, 99, now);
    places.seek(2, 5, 5, now);
    for (round, offset) in (1..=3).zip(0..) {
        assert!(places.record(1, offset, now), "it is busy");
        places.end(2, None, now);
        assert_eq!(places.doubt_all(true, now), round);
        assert_eq!(places.doubt_all(true, now), 0, "more of the same fetch");
        assert_eq!(places.to_ask(now), [], "nobody is kept busy by it");
        now += DOUBT_PAUSE;
        for asked in places.to_ask(now) {
            assert!(matches!(places.verify(asked, &(0..99), now), Verdict::Fetch { .. }));
        }
    }
    // What came whole at last was a network's fault.
    assert!(places.record(0, 2, now) && places.record(1, 3, now));
    places.end(2, None, now);
    assert_eq!(places.doubt_all(true, now), 1);
}

#[test]
fn a_place_that_stands_still_in_doubt_is_not_fetched_anew_at_once() {
    let (mut places, now) = at(2, 9);
    assert_eq!(places.doubt_all(false, now), 0);
    assert_eq!(verify(&mut places, 0..9, now), Verdict::Fetch { offset: 2 });
    places.doubt_all(false, now);
    assert_eq!(places.look_at(), Some(now + DOUBT_PAUSE));
}

#[test]
fn an_end_that_records_have_passed_since_it_was_asked_for_is_old() {
    let (mut places, now) = at(2, 2);
    let asked = places.to_ask(now + QUIET);
    assert!(places.record(0, 2, now));
    assert_eq!(places.verify(asked[0], &(0..2), now), Verdict::Leave);
    assert!(places.record(0, 3, now), "it is not in doubt");
    places.doubt_all(false, now);
    assert_eq!(places.verify(asked[0], &(0..2), now), Verdict::Leave);
    assert_eq!(places.look_at(), Some(now + DOUBT_PAUSE), "it is asked again");
}

#[test]
fn an_answer_about_a_former_seek_is_of_no_use() {
    let (mut places, now) = at(2, 9);
    let asked = places.to_ask(now + QUIET);
    places.seek(0, 5, 9, now);
    assert_eq!(places.verify(asked[0], &(6..9), now), Verdict::Leave);
    assert!(places.record(0, 5, now));
}

#[test]
fn a_fetch_that_stands_still_is_begun_anew() {
    let (mut places, now) = at(2, 9);
    assert_eq!(places.to_ask(now), []);
    assert_eq!(verify(&mut places, 0..9, now + QUIET), Verdict::Fetch { offset: 2 }, "no record, no end");
    let (mut places, now) = at(2, 2);
    assert_eq!(verify(&mut places, 0..2, now + QUIET), Verdict::Leave, "there is nothing");
}

#[test]
fn brokers_that_do_not_answer_are_asked_again_after_a_while() {
    let (mut places, now) = at(2, 2);
    let later = now + QUIET;
    let asked = places.to_ask(later);
    places.unanswered(asked[0], later);
    assert_eq!(places.look_at(), Some(later + QUIET));
    places.doubt_all(false, later);
    assert_eq!(places.look_at(), Some(later));
    places.unanswered(asked[0], later);
    assert_eq!(places.look_at(), Some(later + DOUBT_PAUSE), "sooner when a position is in doubt");
}

#[test]
fn a_fetch_of_which_nothing_comes_is_given_more_time_and_then_another_client() {
    let (mut places, mut now) = at(2, 9);
    places.seek(1, 4, 4, now);
    for wait in [QUIET, QUIET, QUIET * 2] {
        assert!(!places.is_in_vain(0));
        now += wait;
        assert_eq!(verify(&mut places, 0..9, now), Verdict::Fetch { offset: 2 });
    }
    assert!(places.is_in_vain(0) && !places.is_in_vain(1));
    assert_eq!(places.begin_anew(now), [(0, 2), (1, 4)]);
    assert!(places.record(0, 2, now) && !places.is_in_vain(0));
}

#[test]
fn a_fetch_that_reaches_its_end_or_meets_an_error_was_not_in_vain() {
    for meets_error in [false, true] {
        let (mut places, mut now) = at(2, 9);
        for _ in 0..5 {
            now += QUIET;
            assert_eq!(verify(&mut places, 0..9, now), Verdict::Fetch { offset: 2 });
            if meets_error {
                places.doubt_all(true, now);
            } else {
                places.end(0, None, now);
            }
        }
        assert!(!places.is_in_vain(0));
    }
}
