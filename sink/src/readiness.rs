//! Whether this role is ready, told to the node whenever the answer changes.
use crate::{Report, STARTING};
use std::collections::BTreeMap;

/// Everything that makes a sink unready.
pub(crate) struct Readiness {
    report: Report,
    told: Option<Result<(), String>>,
    starting: bool,
    trouble: Option<String>,
    stopped: BTreeMap<u32, String>,
}

impl Readiness {
    /// Unready until [`Readiness::started`].
    pub(crate) fn new(report: Report) -> Self {
        let mut readiness = Readiness { report, told: None, starting: true, trouble: None, stopped: BTreeMap::new() };
        readiness.tell();
        readiness
    }

    /// The tables are open and partitions were given.
    pub(crate) fn started(&mut self) {
        self.starting = false;
        self.tell();
    }

    /// The lake or the log does not answer.
    pub(crate) fn trouble(&mut self, words: String) {
        self.trouble = Some(words);
        self.tell();
    }

    /// It answers again.
    pub(crate) fn recovered(&mut self) {
        if self.trouble.take().is_some() {
            self.tell();
        }
    }

    /// A partition stopped, and why.
    pub(crate) fn stop(&mut self, partition: u32, words: String) {
        self.stopped.insert(partition, words);
        self.tell();
    }

    /// A partition goes on, or is no longer this sink's.
    pub(crate) fn forget(&mut self, partition: u32) {
        if self.stopped.remove(&partition).is_some() {
            self.tell();
        }
    }

    fn answer(&self) -> Result<(), String> {
        if let Some(words) = &self.trouble {
            return Err(words.clone());
        }
        if !self.stopped.is_empty() {
            let words: Vec<String> = self
                .stopped
                .iter()
                .map(|(partition, words)| format!("partition {partition} stopped: {words}"))
                .collect();
            return Err(words.join("; "));
        }
        if self.starting { Err(STARTING.to_owned()) } else { Ok(()) }
    }

    fn tell(&mut self) {
        let answer = self.answer();
        if self.told.as_ref() != Some(&answer) {
            (self.report)(answer.clone());
            self.told = Some(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_stopped_partition_stays_told_through_other_trouble() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let seen = told.clone();
        let mut readiness = Readiness::new(Arc::new(move |answer| seen.lock().unwrap().push(answer)));
        readiness.started();
        readiness.stop(3, "cut off".to_owned());
        readiness.trouble("no store".to_owned());
        readiness.recovered();
        readiness.recovered();
        readiness.forget(3);
        let words = |text: &str| Err(text.to_owned());
        let stopped = words("partition 3 stopped: cut off");
        let expected = [words(STARTING), Ok(()), stopped.clone(), words("no store"), stopped, Ok(())];
        assert_eq!(*told.lock().unwrap(), expected);
    }
}
