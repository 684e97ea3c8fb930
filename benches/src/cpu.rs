//! CPU time of single threads.
//!
//! In `demo` the server shares the process, so the process's figure (getrusage) would charge its work to the generator.
//! The generator runs on threads of its own, and each reads its own clock when it is done.
use std::fs;

/// Clock ticks a second in `/proc/*/stat`: USER_HZ, 100 on every Linux that Rust runs on (proc(5), time(7)).
const TICKS_PER_S: f64 = 100.0;

/// CPU seconds that the calling thread has used since it began, user and system together.
///
/// From the scheduler's nanoseconds (`/proc/thread-self/schedstat`), or, in kernels without these, from
/// `/proc/thread-self/stat` by hundredths. NaN where there is neither: not a Linux.
pub fn this_thread_seconds() -> f64 {
    let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/{file}")).ok();
    read("schedstat")
        .and_then(|text| of_schedstat(&text))
        .or_else(|| read("stat").and_then(|text| of_stat(&text)))
        .unwrap_or(f64::NAN)
}

/// `RUNNING_NS WAITING_NS SLICES`
fn of_schedstat(text: &str) -> Option<f64> {
    let running_ns: u64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    (running_ns > 0).then_some(running_ns as f64 / 1e9)
}

/// Fields 14 and 15, counted behind the command's name, which may hold spaces and parentheses.
fn of_stat(text: &str) -> Option<f64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 165 0 0 0 250 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(of_stat(stat), Some(3.0));
        assert_eq!(of_stat("nonsense"), None);
    }

    #[test]
    fn scheduler_statistics_that_are_off_are_not_taken_for_zero() {
        assert_eq!(of_schedstat("1500000000 20 3\n"), Some(1.5));
        assert_eq!(of_schedstat("0 0 0\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn work_on_another_thread_is_not_charged_to_this_one() {
        fn work() -> u64 {
            (0..30_000_000u64).fold(0, |sum, number| std::hint::black_box(sum ^ number))
        }
        let before = this_thread_seconds();
        let other = std::thread::spawn(|| {
            work();
            this_thread_seconds()
        });
        let other = other.join().unwrap();
        let idle = this_thread_seconds() - before;
        assert!(other > idle, "the thread that worked shows {other} s, the one that waited {idle} s");
    }
}
