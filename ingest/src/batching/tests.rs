use super::*;
use std::borrow::Cow;

const ARRIVAL: Arrival<'_> = Arrival { tenant: "default", source: "http", received_at: 0 };

fn event(custom_bytes: usize) -> ViewEvent<'static> {
    ViewEvent {
        event_id: [7; 16],
        event_time: 0,
        session_id: None,
        event_type: Cow::Borrowed("play"),
        fields: Vec::new(),
        custom: vec![(Cow::Borrowed("note"), Cow::Owned("x".repeat(custom_bytes)))],
    }
}

fn batching(linger: Duration) -> Batching {
    Batching::new(3, Bounds { record_bytes_max: 50_000, waiting_max: 2, linger })
}

fn offered(batching: &mut Batching, bytes: usize, tickets: &mut Vec<Ticket>) -> Offer {
    batching.offer(ARRIVAL, &event(bytes), Instant::now(), tickets)
}

#[test]
fn events_fill_one_batch_while_another_is_under_way() {
    let (mut batching, mut tickets) = (batching(Duration::ZERO), Vec::new());
    assert_eq!(offered(&mut batching, 10, &mut tickets), Offer::Taken);
    let Next::Batch(under_way) = batching.next(Instant::now(), Pacing::default()) else {
        panic!("a batch goes at once")
    };
    for _ in 0..5 {
        assert_eq!(offered(&mut batching, 10, &mut tickets), Offer::Taken);
    }
    let Next::Batch(next) = batching.next(Instant::now(), Pacing::default()) else { panic!("the next goes") };
    assert_eq!((under_way.builder.rows(), next.builder.rows()), (1, 5));
    assert_eq!(tickets.iter().map(|ticket| ticket.count).collect::<Vec<_>>(), [1, 5]);
    assert!(matches!(batching.next(Instant::now(), Pacing::default()), Next::Wait));
}

#[test]
fn full_batches_wait_in_order_up_to_a_bound_and_room_comes_back() {
    let (mut batching, mut tickets) = (batching(Duration::ZERO), Vec::new());
    let mut taken = 0;
    while offered(&mut batching, 9_000, &mut tickets) == Offer::Taken {
        taken += 1;
        assert!(taken < 100, "never full");
    }
    assert_eq!(tickets.len(), 3, "two that wait and one that fills");
    assert_eq!(tickets.iter().map(|ticket| ticket.count).sum::<usize>(), taken);
    let Next::Batch(first) = batching.next(Instant::now(), Pacing::default()) else { panic!("a batch waits") };
    assert_eq!(first.builder.rows(), tickets[0].count);
    assert!(first.builder.encoded_bytes_max() <= 50_000);
    assert_eq!(offered(&mut batching, 9_000, &mut tickets), Offer::Taken);
}

#[test]
fn an_event_over_the_limit_of_a_record_is_refused_and_its_neighbours_are_not() {
    let (mut batching, mut tickets) = (batching(Duration::ZERO), Vec::new());
    assert!(matches!(offered(&mut batching, 60_000, &mut tickets), Offer::TooLarge { bytes: 60_000.. }));
    assert_eq!(offered(&mut batching, 10, &mut tickets), Offer::Taken);
    assert!(matches!(offered(&mut batching, 60_000, &mut tickets), Offer::TooLarge { .. }));
    assert_eq!(offered(&mut batching, 10, &mut tickets), Offer::Taken);
    assert_eq!(tickets.iter().map(|ticket| ticket.count).sum::<usize>(), 2);
}

#[test]
fn a_lingering_batch_goes_when_its_time_is_over_or_it_is_full() {
    let (mut batching, mut tickets) = (batching(Duration::from_secs(60)), Vec::new());
    offered(&mut batching, 10, &mut tickets);
    let Next::WaitUntil(due) = batching.next(Instant::now(), Pacing::default()) else { panic!("it lingers") };
    while batching.waiting.is_empty() {
        offered(&mut batching, 9_000, &mut tickets);
    }
    assert!(matches!(batching.next(Instant::now(), Pacing::default()), Next::Batch(_)), "a full one does not wait");
    assert!(matches!(batching.next(due + Duration::from_secs(60), Pacing::default()), Next::Batch(_)));
}

fn offered_some(batching: &mut Batching, events: usize) {
    let mut tickets = Vec::new();
    (0..events).for_each(|_| assert_eq!(offered(batching, 10, &mut tickets), Offer::Taken));
}

/// While the node's batches wait for each other.
const PACED: Pacing = Pacing { interval: Duration::from_secs(5), released_at: None };

/// A partition of which a batch has just gone, and when.
fn gone() -> (Batching, Instant) {
    let mut batching = batching(Duration::ZERO);
    offered_some(&mut batching, 1);
    let now = Instant::now();
    assert!(matches!(batching.next(now, PACED), Next::Batch(_)), "the first has none before it");
    (batching, now)
}

/// Before the interval is over, and after the next batch was opened.
fn soon(last: Instant) -> Instant {
    last + PACED.interval / 2
}

#[test]
fn while_batches_wait_they_keep_their_interval() {
    let (mut batching, last) = gone();
    offered_some(&mut batching, 1);
    let due = last + PACED.interval;
    assert!(matches!(batching.next(soon(last), PACED), Next::WaitUntil(until) if until == due));
    assert!(matches!(batching.next(due, PACED), Next::Batch(_)));
}

#[test]
fn while_none_waits_a_batch_goes_at_once() {
    let (mut batching, last) = gone();
    offered_some(&mut batching, 1);
    assert!(matches!(batching.next(soon(last), Pacing::default()), Next::Batch(_)));
}

#[test]
fn a_batch_with_enough_events_does_not_wait() {
    let (mut batching, last) = gone();
    offered_some(&mut batching, EVENTS_ENOUGH - 1);
    assert!(matches!(batching.next(soon(last), PACED), Next::WaitUntil(_)));
    offered_some(&mut batching, 1);
    assert!(matches!(batching.next(soon(last), PACED), Next::Batch(_)));
}

#[test]
fn a_batch_that_was_open_when_all_were_released_does_not_wait_and_a_later_one_does() {
    let (mut batching, last) = gone();
    offered_some(&mut batching, 1);
    let released = Pacing { released_at: Some(Instant::now()), ..PACED };
    assert!(matches!(batching.next(soon(last), released), Next::Batch(_)));
    let later = Instant::now() + Duration::from_millis(1);
    assert_eq!(batching.offer(ARRIVAL, &event(10), later, &mut Vec::new()), Offer::Taken);
    assert!(matches!(batching.next(soon(last), released), Next::WaitUntil(_)));
}

#[test]
fn the_worker_is_told_of_what_it_does_not_know_and_not_of_each_event() {
    let mut batching = batching(Duration::ZERO);
    assert!(!batching.take_news());
    let mut told_at = Vec::new();
    let mut tickets = Vec::new();
    for event in 1..=EVENTS_ENOUGH + 1 {
        offered(&mut batching, 10, &mut tickets);
        if batching.take_news() {
            told_at.push(event);
        }
    }
    assert_eq!(told_at, [1, EVENTS_ENOUGH], "the first of a batch, and the one that makes it enough");
    while batching.waiting.is_empty() {
        offered(&mut batching, 9_000, &mut tickets);
    }
    assert!(batching.take_news(), "a batch is full");
}

#[test]
fn after_closing_what_is_there_is_handed_out_and_nothing_is_taken() {
    let (mut batching, mut tickets) = (batching(Duration::from_secs(60)), Vec::new());
    offered(&mut batching, 10, &mut tickets);
    batching.close();
    assert_eq!(offered(&mut batching, 10, &mut tickets), Offer::Closed);
    assert!(matches!(batching.next(Instant::now(), Pacing::default()), Next::Batch(_)));
    assert!(matches!(batching.next(Instant::now(), Pacing::default()), Next::Done));
}

#[test]
fn requests_of_abandoned_batches_learn_that_nobody_knows() {
    let (mut batching, mut tickets) = (batching(Duration::ZERO), Vec::new());
    offered(&mut batching, 10, &mut tickets);
    batching.abandon();
    assert!(tickets[0].outcome.has_changed().is_err(), "the channel is closed");
    assert!(tickets[0].outcome.borrow().is_none());
}
