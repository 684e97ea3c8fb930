//! Asks the log for the records by which it is recognised: the shell around [`crate::identity`].
use super::Sink;
use super::waiting::Unanswered;
use crate::Error;
use crate::identity::{Answer, Found, Seam, unrecognisable};
use crate::partition::Partition;
use crate::position::{Known, lost};
use std::time::Duration;

/// Whether a partition's log is the one that it was.
pub(super) enum Recognised {
    Yes,
    /// No: why, and what is lost.
    No(String),
    /// There is no record left to tell it by: why.
    NoAnchor(String),
    /// The log does not answer.
    Unanswered(Unanswered),
}

impl Sink {
    /// Before a commit: every partition of which something was read must be of the log that it was. Else it stops, and
    /// what is buffered of it is thrown away; the others go on. One of which nothing can be known now is put aside.
    pub(super) async fn recognise_all(&mut self) -> Result<(), Error> {
        let read: Vec<u32> =
            self.partitions.iter().filter(|(_, partition)| partition.is_ahead()).map(|(number, _)| *number).collect();
        let mut unanswered = Duration::ZERO;
        for number in read {
            if self.is_spent(unanswered) {
                self.put_aside_unasked(number);
                continue;
            }
            match self.recognise(number).await? {
                Recognised::Yes => {}
                Recognised::No(words) | Recognised::NoAnchor(words) => self.stop(number, words).await?,
                Recognised::Unanswered(why) => unanswered += self.unanswered(number, why),
            }
        }
        Ok(())
    }

    /// One question, if all is well.
    pub(super) async fn recognise(&mut self, number: u32) -> Result<Recognised, Error> {
        let anchors = self.partitions.get(&number).map(Partition::anchors).unwrap_or_default();
        for anchor in anchors {
            let found = match self.fingerprint(number, anchor.offset).await? {
                Ok(Some(found)) => Found::Record(found),
                Ok(None) => match self.bounds(number).await? {
                    Ok(held) => Found::Nothing { held },
                    Err(unanswered) => return Ok(Recognised::Unanswered(unanswered)),
                },
                Err(unanswered) => return Ok(Recognised::Unanswered(unanswered)),
            };
            match anchor.judge(&found) {
                Answer::Same => {
                    if let Some(partition) = self.partitions.get_mut(&number) {
                        partition.known.prove();
                    }
                    return Ok(Recognised::Yes);
                }
                Answer::Dropped => {}
                Answer::Other => {
                    let lost = self.lost_with_the_former(number).await?;
                    return Ok(Recognised::No(anchor.words(&found, &lost)));
                }
            }
        }
        let next = self.partitions.get(&number).map_or(0, Partition::lake_next);
        let last = self.partitions.get(&number).and_then(|partition| partition.pending.last.as_ref());
        let read = last.map_or(next, |last| last.offset + 1);
        Ok(Recognised::NoAnchor(unrecognisable(next, read)))
    }

    /// What never reached the lake of a log that is another one now: what was read is compared with what stands there,
    /// in a few questions, until the seam is found.
    async fn lost_with_the_former(&mut self, number: u32) -> Result<String, Error> {
        let Some(partition) = self.partitions.get(&number) else { return Ok(lost(0, 0)) };
        let (marks, next, sure) = (partition.marks(), partition.lake_next(), partition.known.sure);
        let mut seam = Seam::new(&marks);
        while let Some(mark) = seam.ask() {
            let Ok(found) = self.fingerprint(number, mark.offset).await? else { break };
            seam.answered(found);
        }
        let end = seam.former_end().unwrap_or(0).max(sure);
        if let Some(partition) = self.partitions.get_mut(&number) {
            partition.known = Known { sure: end, seen: end };
        }
        Ok(lost(next, end))
    }
}
