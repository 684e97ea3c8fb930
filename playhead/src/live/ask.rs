//! What is asked of a rollup: `?top=10&by=viewers&windows=3&content_id=m1`.
use std::collections::BTreeMap;

/// Rows of a window when nothing is said.
const TOP: usize = 100;
/// Rows of a window at most.
pub const TOP_MAX: usize = 1_000;
/// Windows at most: those that are open, and those closed lately.
const WINDOWS_MAX: usize = 100;

/// A question, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Rows of each window.
    pub top: usize,
    /// The measure that they are the largest by; `None`: the first column of numbers.
    pub by: Option<String>,
    /// How many windows, the newest first.
    pub windows: usize,
    /// Columns and the text that they must have.
    pub filters: BTreeMap<String, String>,
}

impl Ask {
    /// From a query's parameters; those that are no names of ours are columns. `Err`: what is wrong.
    pub fn of(mut parameters: BTreeMap<String, String>) -> Result<Ask, String> {
        parameters.remove("token");
        let mut number = |name: &str, default: usize, most: usize| match parameters.remove(name) {
            None => Ok(default),
            Some(text) => match text.parse::<usize>() {
                Ok(number) if (1..=most).contains(&number) => Ok(number),
                _ => Err(format!("{name}={text}: it must be a number from 1 to {most}")),
            },
        };
        let (top, windows) = (number("top", TOP, TOP_MAX)?, number("windows", WINDOWS_MAX, WINDOWS_MAX)?);
        Ok(Ask { top, by: parameters.remove("by"), windows, filters: parameters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &[(&str, &str)]) -> Result<Ask, String> {
        Ask::of(query.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    #[test]
    fn what_is_no_word_of_ours_is_a_column() {
        let ask = of(&[("top", "5"), ("by", "viewers"), ("token", "t"), ("content_id", "m1")]).unwrap();
        assert_eq!((ask.top, ask.by.as_deref(), ask.windows), (5, Some("viewers"), 100));
        assert_eq!(ask.filters, BTreeMap::from([("content_id".to_owned(), "m1".to_owned())]));
        for wrong in ["0", "1001", "many"] {
            assert!(of(&[("top", wrong)]).unwrap_err().contains("1 to 1000"));
        }
    }
}
