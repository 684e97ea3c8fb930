//! The commit of a chunk: the rows that its records had go, those that were staged come.
use super::accounts::{Exchanged, removed};
use super::plan::{rows_of, touched};
use super::stage::{Chunk, first_kept};
use super::{Error, Kind, Replay};
use crate::compaction::removed_totals;
use crate::content::{Content, each_record};
use crate::copies::{self, Copies, Search};
use crate::limits::MARKS_WAIT_MS;
use crate::ranges::Ranges;
use crate::rewrite::{Gone, less};
use crate::windows::next_rewrite;
use chrono::NaiveDate;
use lake::table::{ActiveFile, Commit, DataFile, Outcome, Table, Txn};
use lake::tables::{EVENT_DATE, RECEIVED_DATE, REPLAY};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

/// What a swap did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Swapped {
    pub(super) rows_before: u64,
    pub(super) rows_after: u64,
    pub(super) copies: u64,
    pub(super) seconds_changed: u64,
}

/// appId of a partition's position.
pub(super) fn position_app(partition: u32) -> String {
    format!("{REPLAY}/{partition}")
}

/// Of each partition from where to where, as `txn`s.
fn moved(chunk: &Chunk) -> impl Iterator<Item = Txn> {
    chunk.moves.iter().map(|(partition, range)| Txn {
        app: position_app(*partition),
        expected: Some(range.start.cast_signed()),
        new: range.end.cast_signed(),
    })
}

/// A commit in the making: which rows go with it and which come.
#[derive(Debug, Default)]
struct Exchange {
    commit: Commit,
    before: Content,
    after: Content,
}

impl Exchange {
    /// Where the same rows come that go, on the same dates, the table's files stay as they are, sorted or not.
    async fn spare_what_is_the_same(&mut self, table: &Table) {
        let mut of_dates = BTreeMap::<_, i64>::new();
        for file in &self.commit.adds {
            *of_dates.entry(&file.partition_values).or_default() += file.rows.cast_signed();
        }
        for file in &self.commit.removes {
            *of_dates.entry(&file.partition_values).or_default() -= file.rows.unwrap_or(0).cast_signed();
        }
        if self.before.is_as(&self.after) && of_dates.into_values().all(|rows| rows == 0) {
            self.commit.removes.clear();
            table.discard(&std::mem::take(&mut self.commit.adds)).await;
        }
    }

    fn rows(&self) -> Exchanged<'_> {
        Exchanged { before: &self.before, after: &self.after }
    }
}

impl Replay<'_> {
    /// Swaps the rows of `events`; the chunk's files of it are the table's then, or deleted.
    pub(super) async fn swap_events(
        &mut self,
        chunk: &mut Chunk,
        records: &Ranges,
        kind: Kind,
    ) -> Result<Swapped, Error> {
        let mut exchange = Exchange { after: std::mem::take(&mut chunk.content), ..Exchange::default() };
        let staged = std::mem::take(&mut chunk.events);
        let swapped = self.try_swap_events(&mut exchange, staged.clone(), chunk, records, kind).await;
        chunk.exchanged =
            swapped.is_ok().then(|| (std::mem::take(&mut exchange.before), std::mem::take(&mut exchange.after)));
        if swapped.is_err() && !may_be_committed(&swapped) {
            let added = std::mem::take(&mut exchange.commit.adds);
            let is_added = |file: &&DataFile| added.iter().any(|added| added.path == file.path);
            let rest: Vec<DataFile> = staged.iter().filter(|file| !is_added(file)).cloned().collect();
            self.events.discard(&[added.clone(), rest].concat()).await;
        }
        swapped
    }

    async fn try_swap_events(
        &mut self,
        exchange: &mut Exchange,
        staged: Vec<DataFile>,
        chunk: &Chunk,
        records: &Ranges,
        kind: Kind,
    ) -> Result<Swapped, Error> {
        self.events.reload().await?;
        let at_ms = self.now_us() / 1000;
        let new: Vec<ActiveFile> = staged.iter().map(|file| file.as_active(at_ms)).collect();
        let mut copies = Copies::default();
        self.take_out(exchange, &copies, records).await?;
        // A row that comes instead of itself brings no copy.
        let seconds = exchange.before.with_other_rows(&exchange.after);
        if !seconds.is_empty() {
            copies = self.copies_of(&new, exchange.after.rows(), records, &seconds).await?;
            let is_new = |path: &String| new.iter().any(|file| file.path == *path);
            if !copies.rows.keys().all(is_new) {
                self.events.discard(&std::mem::take(&mut exchange.commit.adds)).await;
                *exchange = Exchange { after: std::mem::take(&mut exchange.after), ..Exchange::default() };
                self.take_out(exchange, &copies, records).await?;
            }
        }
        put_in(&self.events, exchange, staged, &new, &copies).await?;
        let exchanged = |path: &String| {
            exchange
                .commit
                .removes
                .iter()
                .map(|file| &file.path)
                .chain(new.iter().map(|file| &file.path))
                .any(|of| of == path)
        };
        // A file that another program has rewritten meanwhile.
        if !copies.rows.keys().all(exchanged) {
            return Err(Error::Overtaken);
        }
        let changed = exchange.before.differing(&exchange.after);
        if !changed.is_empty() {
            let (counted, awaits) = next_rewrite(&self.events).await?;
            exchange.commit.txns.push(counted);
            self.mark(&changed, awaits).await?;
        }
        // A rebuild is asked for the files.
        if kind == Kind::Replay {
            exchange.spare_what_is_the_same(&self.events).await;
        }
        let letters = self.letters_of(records).await?;
        let letters = Exchanged { before: &letters, after: &chunk.letters };
        let removed = removed(exchange.rows(), Some(letters));
        let swapped = Swapped {
            rows_before: exchange.before.rows(),
            rows_after: exchange.after.rows(),
            copies: copies.count(),
            seconds_changed: changed.len() as u64,
        };
        let (now, events) = (self.now_us(), &mut self.events);
        let fence = self.hold.events.fence(events, now).await?;
        committed(events, exchange, &removed, fence, chunk).await?;
        Ok(swapped)
    }

    /// Copies of new rows in these seconds, which are not in the table yet.
    async fn copies_of(
        &mut self,
        new: &[ActiveFile],
        rows: u64,
        records: &Ranges,
        seconds: &HashSet<i64>,
    ) -> Result<Copies, Error> {
        let near = touched(&self.events, &records.widened(self.dedup_rows()?)).await?;
        let beside = beside(&self.events.files().await?, new, &near);
        let search = Search { gone: records.clone(), seconds: Some(seconds) };
        let copies = copies::find(&self.events, new, &beside, &search, &self.copies).await?;
        self.hold.keep(&mut self.events, &mut self.dead_letters).await?;
        if copies.is_cut {
            return Err(Error::Refused(format!(
                "a chunk of {rows} rows has more than {} copies elsewhere: nothing of it was changed. Cancel the job (`playhead jobs \
                 --cancel`), run `playhead compact`, then replay in smaller chunks (--chunk-rows)",
                copies.count()
            )));
        }
        Ok(copies)
    }

    /// The same for `dead_letters`, which have no copies and no windows.
    pub(super) async fn swap_dead_letters(
        &mut self,
        chunk: &mut Chunk,
        records: &Ranges,
        kind: Kind,
    ) -> Result<Swapped, Error> {
        let mut exchange = Exchange { after: std::mem::take(&mut chunk.letters), ..Exchange::default() };
        let table = &mut self.dead_letters;
        let swapped = async {
            exchange.commit.adds = std::mem::take(&mut chunk.dead_letters);
            let gone = Gone { records: records.clone(), ..Gone::default() };
            let first = first_kept(table).await?;
            for file in touched(table, records).await? {
                if !has_ended(&file, RECEIVED_DATE, first) && rows_of(table, &file, records).await? > 0 {
                    replace(table, &file, &gone, &mut exchange).await?;
                }
            }
            if kind == Kind::Replay {
                exchange.spare_what_is_the_same(table).await;
            }
            let (rows_before, rows_after) = (exchange.before.rows(), exchange.after.rows());
            let fence = self.hold.dead_letters.fence(table, self.clock.now()).await?;
            let rows = chunk.exchanged.as_ref().map(|(before, after)| Exchanged { before, after });
            let removed = removed(exchange.rows(), rows);
            committed(table, &mut exchange, &removed, fence, chunk).await?;
            Ok(Swapped { rows_before, rows_after, ..Swapped::default() })
        }
        .await;
        if swapped.is_err() && !may_be_committed(&swapped) {
            self.dead_letters.discard(&exchange.commit.adds).await;
        }
        swapped
    }

    /// How many dead letters these records have now.
    async fn letters_of(&self, records: &Ranges) -> Result<Content, Error> {
        let mut letters = Content::default();
        for file in touched(&self.dead_letters, records).await? {
            let mut add = |record| {
                if records.contains_record(record) {
                    letters.count(record, 1);
                }
            };
            each_record(&self.dead_letters, &file.path, &mut add).await?;
        }
        Ok(letters)
    }

    /// The files that rows go from, written anew without them: the records' own rows, and copies of what comes.
    async fn take_out(&mut self, exchange: &mut Exchange, copies: &Copies, records: &Ranges) -> Result<(), Error> {
        let possible: BTreeSet<String> =
            touched(&self.events, records).await?.into_iter().map(|file| file.path).collect();
        let gone = Gone { rows: copies.rows.clone(), records: records.clone() };
        let copies_alone = Gone { rows: copies.rows.clone(), ..Gone::default() };
        let first = first_kept(&self.events).await?;
        for file in self.events.files().await? {
            let has_copies = copies.rows.contains_key(&file.path);
            let has_ended = has_ended(&file, EVENT_DATE, first);
            let has_rows =
                !has_ended && possible.contains(&file.path) && rows_of(&self.events, &file, records).await? > 0;
            if has_copies || has_rows {
                replace(&self.events, &file, if has_ended { &copies_alone } else { &gone }, exchange).await?;
            }
            self.hold.keep(&mut self.events, &mut self.dead_letters).await?;
        }
        Ok(())
    }

    /// Marks the windows of these seconds; waits a while for room.
    async fn mark(&mut self, seconds_us: &[i64], awaits: i64) -> Result<(), Error> {
        for tried in 1.. {
            if self.windows.mark(seconds_us, awaits).await? {
                return Ok(());
            }
            if tried >= self.marks_tries {
                break;
            }
            self.hold.keep(&mut self.events, &mut self.dead_letters).await?;
            tokio::time::sleep(Duration::from_millis(MARKS_WAIT_MS)).await;
        }
        Err(Error::NoRoom(seconds_us.len()))
    }
}

/// Where a copy may lie: files of the dates that the new ones are of, and of the dates beside; and those with rows `near`, which the
/// dedup window had compared, whatever their dates.
fn beside(files: &[ActiveFile], new: &[ActiveFile], near: &[ActiveFile]) -> Vec<ActiveFile> {
    let date =
        |file: &ActiveFile| -> Option<NaiveDate> { file.partition_values.get(EVENT_DATE)?.as_deref()?.parse().ok() };
    let dates: BTreeSet<NaiveDate> = new.iter().filter_map(date).collect();
    let is_near = |file: &&ActiveFile| match date(file) {
        Some(of_file) => dates.iter().any(|date| (of_file - *date).num_days().abs() <= 1),
        None => true,
    };
    let paths: BTreeSet<&str> = near.iter().map(|file| file.path.as_str()).collect();
    files.iter().filter(|file| paths.contains(file.path.as_str()) || is_near(file)).cloned().collect()
}

/// A file of a date that retention has ended is left alone: it goes with the next pass, and its rows would not come back.
fn has_ended(file: &ActiveFile, column: &str, first: Option<NaiveDate>) -> bool {
    let date = file.partition_values.get(column).and_then(|date| date.as_deref()?.parse::<NaiveDate>().ok());
    date.zip(first).is_some_and(|(date, first)| date < first)
}

/// One file of the table, less what goes of it.
async fn replace(table: &Table, file: &ActiveFile, gone: &Gone, exchange: &mut Exchange) -> Result<(), Error> {
    let (written, left_out) = less(table, file, gone).await?;
    let before = file.rows.unwrap_or(written.tally.rows + left_out.rows());
    exchange.commit.adds.extend(written.files);
    exchange.commit.removes.push(file.clone());
    if before != written.tally.rows + left_out.rows() {
        return Err(Error::Broken(format!(
            "{} has {before} rows, {} would stay and {} go",
            file.path,
            written.tally.rows,
            left_out.rows()
        )));
    }
    exchange.before.join(&left_out);
    Ok(())
}

/// The staged files; of those that have copies of what stands lower down, the rest.
async fn put_in(
    table: &Table,
    exchange: &mut Exchange,
    staged: Vec<DataFile>,
    new: &[ActiveFile],
    copies: &Copies,
) -> Result<(), Error> {
    let gone = Gone { rows: copies.rows.clone(), ..Gone::default() };
    for (file, as_active) in staged.into_iter().zip(new) {
        if !copies.rows.contains_key(&file.path) {
            exchange.commit.adds.push(file);
            continue;
        }
        let (written, left_out) = less(table, as_active, &gone).await?;
        exchange.commit.adds.extend(written.files);
        exchange.after.leave(&left_out);
        table.discard(std::slice::from_ref(&file)).await;
    }
    Ok(())
}

async fn committed(
    table: &mut Table,
    exchange: &mut Exchange,
    removed: &BTreeMap<i32, i64>,
    fence: Txn,
    chunk: &Chunk,
) -> Result<(), Error> {
    let commit = &mut exchange.commit;
    commit.data_change = true;
    commit.txns.push(fence);
    commit.txns.extend(moved(chunk));
    commit.txns.extend(removed_totals(table, removed).await?);
    let rows = (exchange.before.rows(), exchange.after.rows());
    commit.info.insert("playhead.replay".to_owned(), json!({ "rows_before": rows.0, "rows_after": rows.1 }));
    match table.commit(commit).await? {
        Outcome::Committed { version } => {
            tracing::info!(
                table = table.name(),
                version,
                rows_before = rows.0,
                rows_after = rows.1,
                "replayed a chunk"
            );
            Ok(())
        }
        Outcome::Superseded => Err(Error::Overtaken),
    }
}

/// A store that failed before its answer was known: what was to be added may be the table's.
fn may_be_committed<T>(swapped: &Result<T, Error>) -> bool {
    matches!(swapped, Err(Error::Lake(lake::table::Error::Unavailable(_))))
}
