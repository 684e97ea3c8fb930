//! The UTC date of a time, as Delta writes it in a partition value. Pure.
use crate::clock::Micros;
use chrono::NaiveDate;

const DAY: Micros = 86_400_000_000;
/// Days from 0001-01-01 (day 1 of the common era) to 1970-01-01.
const EPOCH_FROM_CE: i64 = 719_163;

/// A UTC date of the years 0001 to 9999: what every reader of ISO dates can read. An event without one is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(NaiveDate);

impl Date {
    /// The date of a time; `None` outside of the years 0001 to 9999.
    pub fn of(time: Micros) -> Option<Date> {
        let from_ce = i32::try_from(time.div_euclid(DAY) + EPOCH_FROM_CE).ok()?;
        let date = NaiveDate::from_num_days_from_ce_opt(from_ce)?;
        (from_ce >= 1 && date <= NaiveDate::from_ymd_opt(9999, 12, 31)?).then_some(Date(date))
    }

    /// The number of the day that a time lies in; rows with the same number share their date.
    pub fn day(time: Micros) -> i64 {
        time.div_euclid(DAY)
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_utc_and_begins_at_midnight_on_both_sides_of_1970() {
        let text = |time| Date::of(time).map(|date| date.to_string());
        assert_eq!(text(0).as_deref(), Some("1970-01-01"));
        assert_eq!(text(-1).as_deref(), Some("1969-12-31"));
        assert_eq!(text(DAY - 1).as_deref(), Some("1970-01-01"));
        assert_eq!(text(1_795_298_871_914_000).as_deref(), Some("2026-11-21"));
    }

    #[test]
    fn a_time_outside_of_the_years_1_to_9999_has_no_date() {
        let first = -(EPOCH_FROM_CE - 1) * DAY;
        assert_eq!(Date::of(first).map(|date| date.to_string()).as_deref(), Some("0001-01-01"));
        assert_eq!(Date::of(first - 1), None);
        assert_eq!(Date::of(2_932_897 * DAY - 1).map(|date| date.to_string()).as_deref(), Some("9999-12-31"));
        assert_eq!(Date::of(2_932_897 * DAY), None);
        assert_eq!(Date::of(Micros::MAX), None);
        assert_eq!(Date::of(Micros::MIN), None);
    }
}
