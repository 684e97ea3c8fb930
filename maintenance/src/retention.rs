//! Retention by date: whole dates of a table end when they are old enough. Their files are removed in one commit and stay in the
//! store for as long as any replaced file does: until then an older version of the table brings them back.
use crate::compaction::removed_totals;
use crate::content::each_record;
use crate::telemetry;
use async_trait::async_trait;
use chrono::{DateTime, Days, NaiveDate};
use lake::table::{ActiveFile, Commit, Error, Outcome, Table, Txn};
use lake::tables::EXPIRED;
use lake::upkeep::Job;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// Settings `[retention]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Days of events that are kept, today's not counted, by `event_date`; 0: all.
    pub events_days: u32,
    /// The same of dead letters, by `received_date`.
    pub dead_letters_days: u32,
}

/// Files that one commit removes: their rows are counted first, and that is to end within the lease.
const FILES_MAX: usize = 128;

/// The retention of one table.
#[derive(Debug)]
pub struct Retention {
    column: &'static str,
    days: u32,
}

impl Retention {
    /// Of the table whose partition column is `column`; so many `days` are kept, 0: all.
    pub fn new(column: &'static str, days: u32) -> Retention {
        Retention { column, days }
    }

    /// The first date that is kept; `None`: all are. The days count from today, or from the table's newest date where that is
    /// earlier: a clock that jumps ahead ends nothing by itself.
    fn first_kept(&self, files: &[ActiveFile], now_ms: i64) -> Option<NaiveDate> {
        let newest = files.iter().filter_map(|file| self.date(file)).max()?;
        let today = DateTime::from_timestamp_millis(now_ms)?.date_naive().min(newest);
        today.checked_sub_days(Days::new(self.days.into())).filter(|_| self.days > 0)
    }

    fn date(&self, file: &ActiveFile) -> Option<NaiveDate> {
        file.partition_values.get(self.column)?.as_deref()?.parse().ok()
    }
}

#[async_trait]
impl Job for Retention {
    /// What it can't get over is said, and tried again with the next pass: nothing else of the table's upkeep waits for it.
    async fn pass(&mut self, table: &mut Table, fence: &Txn, now_ms: i64) -> Result<bool, Error> {
        match self.step(table, fence, now_ms).await {
            Err(error @ (Error::Broken { .. } | Error::Incompatible { .. })) => {
                telemetry::failed();
                tracing::error!(
                    table = table.name(),
                    %error,
                    "dates that are over can't end; nothing was changed. Restore the file that it names, or remove it from the table \
                     with an engine that writes Delta"
                );
                Ok(false)
            }
            done => done,
        }
    }
}

impl Retention {
    async fn step(&mut self, table: &mut Table, fence: &Txn, now_ms: i64) -> Result<bool, Error> {
        let files = table.files().await?;
        let Some(first) = self.first_kept(&files, now_ms) else { return Ok(false) };
        let mut ended: Vec<ActiveFile> =
            files.into_iter().filter(|file| self.date(file).is_some_and(|date| date < first)).collect();
        let is_more = ended.len() > FILES_MAX;
        ended.truncate(FILES_MAX);
        if ended.is_empty() {
            return Ok(false);
        }
        let held = table.txn(EXPIRED).await?;
        let days = i64::from(first.to_epoch_days());
        let mut commit = Commit { data_change: true, txns: vec![fence.clone()], ..Commit::default() };
        // Never back: with more days than before, what has ended stays ended.
        commit.txns.push(Txn {
            app: EXPIRED.to_owned(),
            expected: held,
            new: held.map_or(days, |held| held.max(days)),
        });
        let removed = rows_by_partition(table, &ended).await?;
        let rows: i64 = removed.values().sum();
        commit.txns.extend(removed_totals(table, &removed).await?);
        commit.info.insert("playhead.retention".to_owned(), json!({ "before": first.to_string(), "rows": rows }));
        let count = ended.len();
        commit.removes = ended;
        match table.commit(&commit).await? {
            Outcome::Committed { version } => {
                telemetry::expired(rows.unsigned_abs());
                tracing::info!(table = table.name(), version, before = %first, files = count, rows, "retention: dates ended");
                Ok(is_more)
            }
            Outcome::Superseded => Ok(true),
        }
    }
}

async fn rows_by_partition(table: &Table, files: &[ActiveFile]) -> Result<BTreeMap<i32, i64>, Error> {
    let mut rows = BTreeMap::new();
    for file in files {
        each_record(table, &file.path, |(partition, _)| *rows.entry(partition).or_default() += 1).await?;
    }
    Ok(rows)
}
