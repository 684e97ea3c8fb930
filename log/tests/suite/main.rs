//! What every log promises, and what the embedded one and Kafka promise beside it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "all of it is tests, but clippy knows only functions marked so"
)]
mod conformance;
mod damage;
mod disk;
mod durability;
mod faults;
mod harness;
mod kafka;
mod kafka_secured;
mod making;
mod model;
mod warnings;

/// One module of tests a kind of log, the same ones for each.
macro_rules! conform {
    ($kind:ident, $harness:ty, [$($promise:ident),* $(,)?]) => {
        mod $kind {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    crate::conformance::$promise::<$harness>().await;
                }
            )*
        }
    };
}

/// What callers may rely on, whatever the log.
macro_rules! promises_of_every_log {
    ($kind:ident, $harness:ty) => {
        conform!(
            $kind,
            $harness,
            [
                offsets_begin_at_zero_and_have_no_gaps,
                concurrent_appends_keep_the_order_of_their_first_poll,
                many_writers_lose_and_repeat_nothing,
                a_reader_gets_its_partitions_first_and_no_record_before_a_seek,
                reading_begins_at_any_offset,
                a_seek_outside_of_the_log_is_refused,
                the_end_is_said_once_and_then_the_reader_waits,
                a_reader_never_sees_past_the_end,
                a_dropped_next_loses_nothing,
                a_record_at_the_limit_is_taken_and_one_over_it_refused,
                headers_and_payload_come_back_as_they_were,
                a_fingerprint_is_that_of_the_record_that_stands_there,
                a_restart_keeps_everything,
                a_release_past_the_end_is_refused,
                closing_answers_what_is_under_way_and_takes_no_more,
            ]
        );
    };
}

/// What a log promises whose records and times are in our own hands. A broker has a clock, a retention and a disk of its
/// own, waits for no reader, and hands out partitions by what it has fetched: for Kafka, what is left of these promises
/// is in `kafka::reading`.
macro_rules! promises_of_our_own_logs {
    ($kind:ident, $harness:ty) => {
        conform!(
            $kind,
            $harness,
            [
                partitions_take_turns,
                an_offset_is_found_by_time,
                timestamps_do_not_follow_a_clock_that_jumps_back,
                retention_never_passes_the_slowest_reader,
                retention_without_readers_goes_by_age,
                a_released_record_stays_until_it_is_old,
                releases_only_go_up_and_survive_a_restart,
                a_bystander_that_retention_passed_is_told,
                a_log_that_lost_all_its_records_keeps_its_offsets_and_its_time,
                a_full_log_refuses_and_recovers_when_readers_release,
                room_is_made_before_the_log_is_full,
            ]
        );
    };
}

promises_of_every_log!(every_log_memory, crate::harness::Memory);
promises_of_every_log!(every_log_embedded, crate::harness::Embedded);
promises_of_every_log!(every_log_kafka, crate::harness::Kafka);
promises_of_our_own_logs!(our_own_logs_memory, crate::harness::Memory);
promises_of_our_own_logs!(our_own_logs_embedded, crate::harness::Embedded);
