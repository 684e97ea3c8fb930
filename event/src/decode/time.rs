//! Times as clients write them, the skew of their clocks, and the bounds around `received_at`.
use super::TimeBounds;
use super::field::{is_number, unquote};
use super::problem::excerpt;
use crate::clock::Micros;
use chrono::{DateTime, SecondsFormat};

/// 0001-01-01T00:00:00Z: what RFC 3339's four digits and every reader of the tables can say.
const EARLIEST: Micros = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z
const LATEST: Micros = 253_402_300_799_999_999;

/// A time from JSON text: RFC 3339 with an offset, or epoch milliseconds, with a fraction or not. A leap second is
/// the first second of the next minute, as in POSIX. Finer than microseconds is cut (text) or rounded (numbers).
pub(super) fn read(raw: &str) -> Result<Micros, String> {
    let micros = if raw.starts_with('"') {
        DateTime::parse_from_rfc3339(&unquote(raw)?).ok().map(|time| time.timestamp_micros())
    } else if is_number(raw) {
        epoch_ms(raw)
    } else {
        None
    };
    let expected = "expected an RFC 3339 time with an offset, or epoch milliseconds, of the years 1 to 9999";
    let in_range = micros.filter(|micros| (EARLIEST..=LATEST).contains(micros));
    in_range.ok_or_else(|| format!("{expected}, got {}", excerpt(raw)))
}

fn epoch_ms(raw: &str) -> Option<Micros> {
    if let Ok(ms) = raw.parse::<i64>() {
        return ms.checked_mul(1_000);
    }
    // A number past i64 saturates, which is past LATEST too.
    raw.parse::<f64>().ok().map(|ms| (ms * 1_000.0).round() as i64)
}

/// Where an event is in time.
#[derive(Debug, PartialEq)]
pub(super) struct Placed {
    /// The client's time with its skew corrected.
    pub event_time: Micros,
    /// True: that is another time than the client's.
    pub corrected: bool,
    /// Why the event is too old or too new.
    pub problem: Option<String>,
}

/// Corrects `raw` by received − sent where that is more than latency explains, and looks at the bounds.
pub(super) fn place(raw: Micros, sent_at: Option<Micros>, received_at: Micros, bounds: TimeBounds) -> Placed {
    let skew = sent_at.map_or(0, |sent_at| received_at.saturating_sub(sent_at));
    let corrected = skew.saturating_abs() > bounds.skew_min;
    let event_time = if corrected { raw.saturating_add(skew) } else { raw };
    let problem = out_of_bounds(event_time, received_at, bounds).map(|problem| {
        let by_skew =
            if corrected { format!(", with a clock skew of {} corrected", span(skew)) } else { String::new() };
        format!("{problem}{by_skew}")
    });
    Placed { event_time, corrected, problem }
}

/// Seconds since 1970 up to the year 2286, read as milliseconds, in microseconds.
const SECONDS_TAKEN_FOR_MS: Micros = 10_000_000_000 * 1_000;

fn out_of_bounds(event_time: Micros, received_at: Micros, bounds: TimeBounds) -> Option<String> {
    let (past, future) = (received_at.saturating_sub(event_time), event_time.saturating_sub(received_at));
    if past > bounds.past_max {
        // A time of today in seconds, read as milliseconds, lies in the first month of 1970.
        let hint = if (0..SECONDS_TAKEN_FOR_MS).contains(&event_time) { " (seconds? send milliseconds)" } else { "" };
        let (old, most) = (span(past), span(bounds.past_max));
        Some(format!("{} is {old} old, at most {most} is accepted{hint}", text(event_time)))
    } else if future > bounds.future_max {
        let (ahead, most) = (span(future), span(bounds.future_max));
        Some(format!("{} is {ahead} ahead of the server's clock, at most {most} is accepted", text(event_time)))
    } else {
        None
    }
}

fn text(micros: Micros) -> String {
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => format!("{micros} us"),
    }
}

/// A duration in the largest unit of which it has two.
fn span(micros: Micros) -> String {
    let seconds = micros / 1_000_000;
    match seconds.unsigned_abs() {
        0..=1 => format!("{} ms", micros / 1_000),
        2..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;
    const NOW: Micros = 1_795_298_871_000_000;
    const BOUNDS: TimeBounds =
        TimeBounds { past_max: 30 * 86_400 * SECOND, future_max: 3_600 * SECOND, skew_min: 5 * SECOND };

    #[test]
    fn text_and_numbers_name_the_same_instant() {
        let expected = Ok(1_795_298_871_914_000);
        assert_eq!(read("1795298871914"), expected);
        assert_eq!(read("1795298871914.0"), expected);
        assert_eq!(read("1.795298871914e12"), expected);
        assert_eq!(read("\"2026-11-21T22:07:51.914Z\""), expected);
        assert_eq!(read("\"2026-11-22T03:37:51.914+05:30\""), expected);
        assert_eq!(read("1795298871914.25"), Ok(1_795_298_871_914_250));
        assert_eq!(read("\"1970-01-01T00:00:00.0000019Z\""), Ok(1));
    }

    #[test]
    fn a_leap_second_is_the_next_minute() {
        assert_eq!(read("\"2016-12-31T23:59:60Z\""), read("\"2017-01-01T00:00:00Z\""));
    }

    #[test]
    fn the_first_and_the_last_year_are_read() {
        assert_eq!(read("\"0001-01-01T00:00:00Z\""), Ok(EARLIEST));
        assert_eq!(read("\"9999-12-31T23:59:59.999999Z\""), Ok(LATEST));
        assert_eq!(read("-62135596800000"), Ok(EARLIEST));
        for outside in ["\"0001-01-01T00:00:00+00:01\"", "\"9999-12-31T23:59:59-00:01\"", "\"0000-06-01T00:00:00Z\""] {
            assert!(read(outside).unwrap_err().contains("years 1 to 9999"), "{outside}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let bad = ["9223372036854775807", "-9223372036854775808", "1e30", "-1e400", "true", "[1]", "{}", "\"\""];
        let text = ["\"2026-11-22\"", "\"2026-11-22T03:37:51\"", "\"1795298871914\"", "\"2026-02-30T00:00:00Z\""];
        for raw in bad.into_iter().chain(text) {
            assert!(read(raw).unwrap_err().starts_with("expected an RFC 3339 time"), "{raw}");
        }
    }

    #[test]
    fn latency_is_not_skew() {
        let near = place(NOW, Some(NOW - 5 * SECOND), NOW, BOUNDS);
        assert_eq!(near, Placed { event_time: NOW, corrected: false, problem: None });
        let none = place(NOW, None, NOW, BOUNDS);
        assert_eq!(none, Placed { event_time: NOW, corrected: false, problem: None });
    }

    #[test]
    fn a_clock_that_is_wrong_either_way_is_corrected() {
        for skew in [-86_400 * SECOND, -6 * SECOND, 6 * SECOND, 400 * 86_400 * SECOND] {
            let placed = place(NOW - skew - SECOND, Some(NOW - skew), NOW, BOUNDS);
            assert_eq!(placed, Placed { event_time: NOW - SECOND, corrected: true, problem: None });
        }
    }

    #[test]
    fn seconds_are_told_to_be_no_milliseconds() {
        let seconds = read("1795298871").unwrap();
        assert!(place(seconds, None, NOW, BOUNDS).problem.unwrap().contains("send milliseconds"));
    }

    #[test]
    fn the_bounds_hold_for_the_corrected_time() {
        assert_eq!(place(NOW - BOUNDS.past_max, None, NOW, BOUNDS).problem, None);
        assert_eq!(place(NOW + BOUNDS.future_max, None, NOW, BOUNDS).problem, None);
        assert!(place(NOW - BOUNDS.past_max - 1, None, NOW, BOUNDS).problem.unwrap().contains("30 days old"));
        assert!(place(NOW + BOUNDS.future_max + 1, None, NOW, BOUNDS).problem.unwrap().contains("60 min ahead"));
        let sent_in_year_one = place(NOW, Some(EARLIEST), NOW, BOUNDS).problem.unwrap();
        assert!(sent_in_year_one.contains("clock skew of"), "{sent_in_year_one}");
    }

    #[test]
    fn arithmetic_saturates() {
        let extremes = [i64::MIN, EARLIEST, 0, NOW, LATEST, i64::MAX];
        for raw in extremes {
            for sent_at in extremes {
                for received_at in extremes {
                    let _ = place(raw, Some(sent_at), received_at, BOUNDS);
                }
            }
        }
    }
}
