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
    aside: BTreeMap<u32, String>,
}

impl Readiness {
    /// Unready until [`Readiness::started`].
    pub(crate) fn new(report: Report) -> Self {
        let (stopped, aside) = (BTreeMap::new(), BTreeMap::new());
        let mut readiness = Readiness { report, told: None, starting: true, trouble: None, stopped, aside };
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
        self.aside.remove(&partition);
        self.stopped.insert(partition, words);
        self.tell();
    }

    /// The log does not answer for a partition, and why; the others are read.
    pub(crate) fn put_aside(&mut self, partition: u32, words: String) {
        // It was told as trouble of the whole log while it was waited for.
        self.trouble = None;
        self.stopped.remove(&partition);
        self.aside.insert(partition, words);
        self.tell();
    }

    /// A partition goes on, or is no longer this sink's.
    pub(crate) fn forget(&mut self, partition: u32) {
        let stopped = self.stopped.remove(&partition).is_some();
        if self.aside.remove(&partition).is_some() || stopped {
            self.tell();
        }
    }

    fn answer(&self) -> Result<(), String> {
        if let Some(words) = &self.trouble {
            return Err(words.clone());
        }
        let stopped = self.stopped.iter().map(|(partition, words)| format!("partition {partition} stopped: {words}"));
        let words: Vec<String> = stopped.chain(aside(&self.aside)).collect();
        if !words.is_empty() {
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

/// All of them and one reason, since there may be many, and for one reason as a rule.
fn aside(partitions: &BTreeMap<u32, String>) -> Option<String> {
    let (_, words) = partitions.first_key_value()?;
    let numbers: Vec<String> = partitions.keys().map(u32::to_string).collect();
    let noun = if numbers.len() == 1 { "partition" } else { "partitions" };
    Some(format!("{noun} {}: log can't be read now: {words}", numbers.join(", ")))
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

    #[test]
    fn partitions_that_are_put_aside_are_named_beside_those_that_have_stopped() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let seen = told.clone();
        let mut readiness = Readiness::new(Arc::new(move |answer| seen.lock().unwrap().push(answer)));
        readiness.started();
        readiness.put_aside(2, "no leader".to_owned());
        readiness.put_aside(4, "not asked".to_owned());
        readiness.stop(4, "cut off".to_owned());
        let both = Err("partitions 2, 4: log can't be read now: no leader".to_owned());
        let one_stopped = Err("partition 4 stopped: cut off; partition 2: log can't be read now: no leader".to_owned());
        assert_eq!(told.lock().unwrap()[3..], [both, one_stopped]);
        [2, 4].into_iter().for_each(|partition| readiness.forget(partition));
        assert_eq!(told.lock().unwrap().last(), Some(&Ok(())));
    }
}
