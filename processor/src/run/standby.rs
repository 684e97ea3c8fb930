//! Standing by: while another processor commits, this one reads nothing. No lease: the other's commits are the sign of its
//! life, and where both go on, the tables let one through.
use super::Processor;
use crate::Error;
use crate::kept::Standing;
use tokio::time::{Instant, sleep};

/// What was seen of the other processor.
pub(super) struct Standby {
    /// The rollup in which it was first, and what its table said last.
    rollup: usize,
    seen: Standing,
    /// When that was new.
    since: Instant,
}

impl Processor {
    /// Another processor has committed a rollup.
    pub(super) fn begin_standby(&mut self, rollup: usize) {
        tracing::info!(rollup = self.rollups[rollup].name, "another processor keeps the rollups: this one stands by");
        let seen = self.rollups[rollup].output.standing().clone();
        self.standby = Some(Standby { rollup, seen, since: Instant::now() });
        // What is held here is the other's: it is read again when it is this one's turn.
        self.rollups.iter_mut().for_each(|rollup| rollup.begin_anew(self.groups, i64::MIN));
        (self.report)(Ok(()));
    }

    /// Looks whether the other still commits; this one goes on from the tables when it has not for long.
    pub(super) async fn stand_by(&mut self) -> Result<(), Error> {
        sleep(self.timing.tick).await;
        let partitions = self.log.writer().partitions();
        let Some(rollup) = self.standby.as_ref().map(|standby| standby.rollup) else { return Ok(()) };
        let standing = self.rollups[rollup].output.reload(partitions).await?;
        let Some(standby) = &mut self.standby else { return Ok(()) };
        if standing != standby.seen {
            (standby.seen, standby.since) = (standing, Instant::now());
        } else if standby.since.elapsed() >= self.timing.take_over {
            tracing::info!("no other processor commits: this one takes over");
            (self.standby, self.resume_due) = (None, true);
        }
        Ok(())
    }
}
