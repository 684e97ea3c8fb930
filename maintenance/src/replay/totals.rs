//! The audit's totals of a partition that was replayed from its first record on: they say what is there now, whatever others had
//! added or taken away before.
use super::{Error, Job, Replay};
use crate::content::each_record;
use lake::table::{Commit, Outcome, Table, Txn};
use lake::tables::txn_names;
use std::collections::BTreeMap;

impl Replay<'_> {
    /// Sets them, where they differ.
    pub(super) async fn settle_totals(&mut self, job: &Job) -> Result<(), Error> {
        let from_the_first =
            |(partition, range): (&u32, &std::ops::Range<u64>)| (range.start == 0).then_some(*partition);
        let whole: Vec<u32> = job.ranges.iter().filter_map(from_the_first).collect();
        if whole.is_empty() || job.dead_letters_only {
            return Ok(());
        }
        // `events` first: `dead_letters` can only be further on, and is looked at up to the same records.
        self.events.reload().await?;
        self.dead_letters.reload().await?;
        let (mut lasts, mut rows, mut letters) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for partition in whole {
            let names = txn_names(&self.cluster, &self.topic, partition);
            let Some(last) = self.events.txn(&names.offset).await? else { continue };
            let of_events = async |app: &str| self.events.txn(app).await.map(|total| total.unwrap_or(0));
            lasts.insert(partition, last.unsigned_abs());
            rows.insert(names.removed.clone(), (partition, of_events(&names.rows).await?));
            letters.insert(names.removed, (partition, of_events(&names.dead_letters).await?));
        }
        let now = self.now_us();
        let fence = self.hold.events.fence(&mut self.events, now).await?;
        set(&mut self.events, &lasts, &rows, fence).await?;
        let fence = self.hold.dead_letters.fence(&mut self.dead_letters, now).await?;
        set(&mut self.dead_letters, &lasts, &letters, fence).await
    }
}

/// Of each total of removed rows: what sinks brought to its partition, less what is there.
async fn set(
    table: &mut Table,
    lasts: &BTreeMap<u32, u64>,
    brought: &BTreeMap<String, (u32, i64)>,
    fence: Txn,
) -> Result<(), Error> {
    let there = count(table, lasts).await?;
    let mut commit = Commit { txns: vec![fence], ..Commit::default() };
    for (app, (partition, brought)) in brought {
        let (expected, new) = (table.txn(app).await?, brought - there.get(partition).copied().unwrap_or(0));
        if expected.unwrap_or(0) != new {
            tracing::info!(table = table.name(), partition, was = ?expected, new, "total of removed rows set after a whole replay");
            commit.txns.push(Txn { app: app.clone(), expected, new });
        }
    }
    match commit.txns.len() {
        1 => Ok(()),
        _ => match table.commit(&commit).await? {
            Outcome::Committed { .. } => Ok(()),
            Outcome::Superseded => Err(Error::Overtaken),
        },
    }
}

/// Rows of these partitions, up to their last offsets.
async fn count(table: &Table, lasts: &BTreeMap<u32, u64>) -> Result<BTreeMap<u32, i64>, Error> {
    let mut rows = BTreeMap::new();
    for file in table.files().await? {
        let mut add = |(partition, offset): (i32, i64)| {
            let partition = partition.unsigned_abs();
            if lasts.get(&partition).is_some_and(|last| offset.unsigned_abs() <= *last) {
                *rows.entry(partition).or_default() += 1;
            }
        };
        each_record(table, &file.path, &mut add).await?;
    }
    Ok(rows)
}
