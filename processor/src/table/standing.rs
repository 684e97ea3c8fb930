//! Where a table's commits have come to: the `txn` actions of each partition, by name.
use crate::kept::Position;
use crate::positions::Positions;
use lake::table::{Error, Table, Txn};
use lake::tables::{LOG, PARTITIONS};

/// Names of a partition's `txn`s, in the order of [`values`].
const VALUES: [&str; 4] = ["position", "safe", "dedup", "fingerprint"];

/// Of tables whose partitions were not all brought to the same W.
const WATERMARK: &str = "watermark";

/// W of a partition when it was counted first.
const BEGAN: &str = "began";

fn values(position: &Position) -> [i64; 4] {
    [position.next as i64, position.safe as i64, position.dedup as i64, position.fingerprint]
}

/// What the names of a rollup's `txn`s begin with; by itself the name of W.
pub(crate) fn base(log: &str, rollup: &str) -> String {
    format!("processor/{log}/{rollup}")
}

/// The same of a rollup's table.
pub(crate) fn base_of(table: &Table, rollup: &str) -> String {
    base(&table.property(LOG).unwrap_or_default(), rollup)
}

/// Number of the last correction that touched a window which begins on this day (since 1970). In the table of days: the same, as
/// it was when the day was computed.
pub(crate) fn day(base: &str, number: i64) -> String {
    format!("{base}/day/{number}")
}

/// W when the rollup was counted first: of windows that end at or before it there are only those that were filled in.
pub(super) fn counted_from(base: &str) -> String {
    format!("{base}/{BEGAN}")
}

/// The same of a rollup's table, µs; `None`: nothing was committed yet, or by a version that did not say.
pub(crate) async fn counted_from_us(rollup: &str, table: &Table) -> Result<Option<i64>, Error> {
    table.txn(&counted_from(&base_of(table, rollup))).await
}

pub(super) fn corrections(base: &str) -> String {
    format!("{base}/corrections")
}

pub(crate) fn watermark(base: &str, partition: u32) -> String {
    name(base, partition, WATERMARK)
}

pub(crate) fn began(base: &str, partition: u32) -> String {
    name(base, partition, BEGAN)
}

fn name(base: &str, partition: u32, what: &str) -> String {
    format!("{base}/{partition}/{what}")
}

/// What a snapshot says of a partition that was brought to this W.
pub(crate) async fn position(
    table: &Table,
    base: &str,
    partition: u32,
    closed_to_us: i64,
) -> Result<Option<Position>, Error> {
    let mut held = Vec::new();
    for what in VALUES {
        held.push(table.txn(&name(base, partition, what)).await?);
    }
    let broken = || {
        let reason = format!("its txn values don't belong together: partition {partition}: {held:?}");
        Error::Broken { table: table.name().to_owned(), reason }
    };
    let number = |value: i64| u64::try_from(value).ok();
    match held[..] {
        [None, None, None, None] => Ok(None),
        [Some(next), Some(safe), Some(dedup), Some(fingerprint)] => {
            let position = number(next).zip(number(safe)).zip(number(dedup));
            let position =
                position.map(|((next, safe), dedup)| Position { closed_to_us, next, safe, dedup, fingerprint });
            let position =
                position.filter(|position| position.dedup <= position.safe && position.safe <= position.next);
            position.map(Some).ok_or_else(broken)
        }
        _ => Err(broken()),
    }
}

/// Brings a partition from one position to another.
pub(crate) fn txns<'a>(
    base: &'a str,
    partition: u32,
    before: Option<&Position>,
    after: &Position,
) -> impl Iterator<Item = Txn> + use<'a> {
    let before = before.map(values);
    values(after).into_iter().enumerate().map(move |(at, new)| {
        let app = name(base, partition, VALUES[at]);
        Txn { app, expected: before.map(|before| before[at]), new }
    })
}

/// Brings what a table whose windows are merged says of a partition to this P.
pub(super) async fn merged_to(table: &Table, base: &str, partition: u32, next: u64) -> Result<Txn, Error> {
    let app = name(base, partition, VALUES[0]);
    Ok(Txn { expected: table.txn(&app).await?, app, new: next as i64 })
}

/// W of a rollup's table, µs, and by partition P; `None`: nothing was committed yet.
pub(crate) async fn reached(rollup: &str, table: &Table) -> Result<Option<(i64, Positions)>, Error> {
    let base = base_of(table, rollup);
    let Some(watermark_us) = table.txn(&base).await? else { return Ok(None) };
    let partitions: u32 = table.property(PARTITIONS).and_then(|count| count.parse().ok()).unwrap_or_default();
    let mut positions = Positions::new();
    for partition in 0..partitions {
        let next = table.txn(&name(&base, partition, VALUES[0])).await?;
        positions.extend(next.and_then(|next| u64::try_from(next).ok()).map(|next| (partition, next)));
    }
    Ok(Some((watermark_us, positions)))
}
