//! From a plan to the end of its job.
use super::stage::Chunk;
use super::swap::{Swapped, position_app};
use super::{Error, Job, Kind, Plan, Replay, State};
use crate::content::Content;
use crate::ranges::Ranges;
use crate::windows::settle;
use futures::TryStreamExt as _;
use lake::table::{Commit, Outcome, Table, Txn};
use lake::tables::REPLAY;
use std::collections::BTreeMap;

/// Told after each chunk: offsets done, of how many.
pub type Progress<'a> = &'a (dyn Fn(&Job, u64, u64) + Send + Sync);

/// Chunks that are tried again in a row, since a file was merged or removed beside.
const SUPERSEDED_MAX: u32 = 3;

impl Replay<'_> {
    /// The job that an earlier process left unfinished, or is at, if there is one.
    ///
    /// # Errors
    /// The store.
    pub async fn unfinished(&self) -> Result<Option<Job>, Error> {
        self.jobs.unfinished().await
    }

    /// Begins a job and brings it to its end.
    ///
    /// # Errors
    /// As it says; what was replayed stays.
    pub async fn begin(&mut self, plan: &Plan, progress: Progress<'_>) -> Result<Job, Error> {
        let mut last = 0;
        for table in [&self.events, &self.dead_letters] {
            last = last.max(table.txn(REPLAY).await?.unwrap_or(0).unsigned_abs());
        }
        let job = self.jobs.begin(plan.job.clone(), last).await?;
        self.finish(job, progress).await
    }

    /// Brings a job to its end, from wherever it is.
    ///
    /// # Errors
    /// As [`Replay::begin`].
    pub async fn finish(&mut self, mut job: Job, progress: Progress<'_>) -> Result<Job, Error> {
        job.state = State::Running;
        job.process = self.process.clone();
        let ended = self.drive(&mut job, progress).await;
        self.hold.release(&mut self.events, &mut self.dead_letters).await;
        job.heard_at = self.now_us();
        job.failure = ended.as_ref().err().map(ToString::to_string);
        job.state = if ended.is_ok() { State::Done } else { State::Failed };
        // The job's own error says more than that its object could not be written.
        let told = self.jobs.update(&job).await;
        ended.and(told).map(|()| job)
    }

    async fn drive(&mut self, job: &mut Job, progress: Progress<'_>) -> Result<(), Error> {
        self.hold.tell(job).await?;
        self.hold.keep(&mut self.events, &mut self.dead_letters).await?;
        self.catch_up_former(job).await?;
        let now = self.now_us();
        let fence = self.hold.events.fence(&mut self.events, now).await?;
        settle(&mut self.events, self.windows.as_mut(), &fence).await?;
        // `dead_letters` first: by the positions of `events` it is seen whether both began.
        let fence = self.hold.dead_letters.fence(&mut self.dead_letters, now).await?;
        put_on_record(&mut self.dead_letters, job, fence).await?;
        let fence = self.hold.events.fence(&mut self.events, now).await?;
        put_on_record(&mut self.events, job, fence).await?;
        let wanted = self.wanted(job).await?;
        self.catch_up(job, &wanted).await?;
        let total: u64 = job.ranges.values().map(|range| range.end - range.start).sum();
        let mut superseded = 0;
        loop {
            let positions = positions(&self.events, job).await?;
            let left: u64 = job.ranges.iter().map(|(of, range)| range.end.saturating_sub(positions[of])).sum();
            progress(job, total - left, total);
            if left == 0 {
                return self.settle_totals(job).await;
            }
            self.hold.tell(job).await?;
            let mut chunk = self.stage(job, &wanted, &positions, job.kind == Kind::Rebuild).await?;
            if job.kind == Kind::Rebuild {
                self.verify(&chunk).await?;
            }
            match self.swap(&mut chunk, job, &wanted).await {
                Ok(()) => superseded = 0,
                Err(Error::Overtaken) if superseded < SUPERSEDED_MAX => {
                    // The lease tells which it was: a file that is no more, or another owner.
                    superseded += 1;
                    self.hold.doubt();
                    self.discard(&chunk).await;
                    self.events.reload().await?;
                    self.dead_letters.reload().await?;
                    self.catch_up(job, &wanted).await?;
                }
                Err(error) => {
                    self.discard(&chunk).await;
                    return Err(error);
                }
            }
            let now = self.now_us();
            self.hold.events.pass(&mut self.events, now).await?;
            self.hold.dead_letters.pass(&mut self.dead_letters, now).await?;
        }
    }

    /// What was staged, read back: it is all there, and says what was decoded.
    async fn verify(&mut self, chunk: &Chunk) -> Result<(), Error> {
        for (table, files, decoded) in
            [(&self.events, &chunk.events, &chunk.content), (&self.dead_letters, &chunk.dead_letters, &chunk.letters)]
        {
            let mut held = Content::default();
            for file in files {
                let mut batches = table.read_file(&file.path, None).await?;
                while let Some(batch) = batches.try_next().await? {
                    held.add(&batch).map_err(|error| Error::Broken(error.to_string()))?;
                }
            }
            if (held.rows(), held.sum()) != (decoded.rows(), decoded.sum()) {
                self.discard(chunk).await;
                return Err(Error::Broken(format!(
                    "{}: {} rows were staged, and {} others are in the files",
                    table.name(),
                    decoded.rows(),
                    held.rows()
                )));
            }
        }
        Ok(())
    }

    /// Both tables, `events` first: an event that was a dead letter is in both for a moment, never in neither.
    async fn swap(&mut self, chunk: &mut Chunk, job: &mut Job, wanted: &Ranges) -> Result<(), Error> {
        // What was read must have been this log still.
        self.recognise().await?;
        let records = wanted.within(&chunk.moves);
        let Swapped { rows_before, rows_after, copies, seconds_changed } =
            self.swap_events(chunk, &records, job.kind).await?;
        job.chunks += 1;
        job.rows_before += rows_before;
        job.rows_after += rows_after;
        job.copies += copies;
        job.seconds_changed += seconds_changed;
        self.swap_letters(chunk, job, &records).await
    }

    async fn swap_letters(&mut self, chunk: &mut Chunk, job: &mut Job, records: &Ranges) -> Result<(), Error> {
        let Swapped { rows_before, rows_after, .. } = self.swap_dead_letters(chunk, records, job.kind).await?;
        job.dead_letters_before += rows_before;
        job.dead_letters_after += rows_after;
        Ok(())
    }

    /// A process that was killed between the commits of a chunk has left `dead_letters` behind: they are brought up first.
    async fn catch_up(&mut self, job: &mut Job, wanted: &Ranges) -> Result<(), Error> {
        let (reached, behind) = (positions(&self.events, job).await?, positions(&self.dead_letters, job).await?);
        let moves: BTreeMap<_, _> =
            behind.iter().map(|(partition, from)| (*partition, *from..reached[partition])).collect();
        if moves.values().all(|range| range.is_empty()) {
            return Ok(());
        }
        let records = wanted.within(&moves);
        let part = Job { ranges: moves.clone(), ..job.clone() };
        let mut chunk = self.stage(&part, &records, &behind, true).await?;
        self.events.discard(&std::mem::take(&mut chunk.events)).await;
        for (partition, range) in moves {
            let staged = chunk.moves.entry(partition).or_insert(range.clone());
            if *staged != range {
                return Err(Error::Broken(format!(
                    "partition {partition} was staged as {staged:?} and not as {range:?}"
                )));
            }
        }
        self.swap_letters(&mut chunk, job, &records).await
    }

    /// The same for the job before, if it was cancelled at such a moment.
    async fn catch_up_former(&mut self, job: &Job) -> Result<(), Error> {
        let (of_events, of_letters) = (self.events.txn(REPLAY).await?, self.dead_letters.txn(REPLAY).await?);
        let Some(id) = of_events.filter(|id| *id != job.id.cast_signed() && Some(*id) == of_letters) else {
            return Ok(());
        };
        let former = self.jobs.all().await?.into_iter().find(|former| former.id.cast_signed() == id);
        let Some(mut former) = former else { return Ok(()) };
        let wanted = self.wanted(&former).await?;
        self.catch_up(&mut former, &wanted).await
    }
}

/// Where the job is in a table: the next offset of each of its partitions.
async fn positions(table: &Table, job: &Job) -> Result<BTreeMap<u32, u64>, Error> {
    let mut positions = BTreeMap::new();
    for (partition, range) in &job.ranges {
        let held = table.txn(&position_app(*partition)).await?;
        positions.insert(*partition, held.map_or(range.start, i64::unsigned_abs));
    }
    Ok(positions)
}

/// The job's number and first positions, unless the table has them.
async fn put_on_record(table: &mut Table, job: &Job, fence: Txn) -> Result<(), Error> {
    let held = table.txn(REPLAY).await?;
    if held == Some(job.id.cast_signed()) {
        return Ok(());
    }
    let mut commit = Commit { txns: vec![fence], ..Commit::default() };
    commit.txns.push(Txn { app: REPLAY.to_owned(), expected: held, new: job.id.cast_signed() });
    for (partition, range) in &job.ranges {
        let app = position_app(*partition);
        let expected = table.txn(&app).await?;
        commit.txns.push(Txn { app, expected, new: range.start.cast_signed() });
    }
    match table.commit(&commit).await? {
        Outcome::Committed { .. } => Ok(()),
        Outcome::Superseded => Err(Error::Overtaken),
    }
}
