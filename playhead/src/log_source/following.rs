//! Records of several partitions as they come, for `tail`.
use super::wire::RemoteLog;
use super::{Error, LogSource, Way};
use log::{Entry, Next, ReadError, Reader};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How often the end of another process's log is looked at, and how long one waits for a log that does not answer.
const POLL_EVERY: Duration = Duration::from_millis(300);

/// Hands out records; each partition's in order.
pub struct Following<'a> {
    from: From<'a>,
    /// Wait for more at the end.
    follow: bool,
}

enum From<'a> {
    Reader {
        reader: Box<dyn Reader>,
        /// Partitions whose end is not reached yet, with it.
        ends: BTreeMap<u32, u64>,
        /// The log's silence was told.
        told: bool,
    },
    Admin {
        client: &'a RemoteLog,
        positions: Vec<(u32, u64)>,
        ready: VecDeque<Entry>,
    },
}

impl LogSource {
    /// Records of each `(partition, offset)` from there on. With `follow` they never end; else at the log's end as of now.
    pub async fn following(&self, positions: Vec<(u32, u64)>, follow: bool) -> Result<Following<'_>, Error> {
        let from = match &self.way {
            Way::Open { log, .. } => {
                let mut reader = log.reader(None).await?;
                let mut ends = BTreeMap::new();
                for (partition, offset) in positions {
                    let end = reader.bounds(partition).await?.end;
                    if offset < end {
                        ends.insert(partition, end);
                    }
                    reader.seek(partition, offset).await?;
                }
                From::Reader { reader, ends, told: false }
            }
            Way::Admin { client, .. } => From::Admin { client, positions, ready: VecDeque::new() },
        };
        Ok(Following { from, follow })
    }
}

impl Following<'_> {
    /// The next record; `None`: the end.
    pub async fn next(&mut self) -> Result<Option<Entry>, Error> {
        match &mut self.from {
            From::Reader { reader, ends, told } => next_of(reader.as_mut(), ends, told, self.follow).await,
            From::Admin { client, positions, ready } => loop {
                if let Some(entry) = ready.pop_front() {
                    return Ok(Some(entry));
                }
                let mut moved = false;
                for (partition, position) in positions.iter_mut() {
                    let entries = match client.read(*partition, *position).await {
                        Err(Error::Read(error)) => {
                            *position = start_beyond(&error, *position).ok_or(error)?;
                            moved = true;
                            continue;
                        }
                        read => read?,
                    };
                    *position = entries.last().map_or(*position, |last| last.offset + 1);
                    ready.extend(entries);
                }
                match (ready.is_empty() && !moved, self.follow) {
                    (true, true) => tokio::time::sleep(POLL_EVERY).await,
                    (true, false) => return Ok(None),
                    (false, _) => {}
                }
            },
        }
    }
}

async fn next_of(
    reader: &mut dyn Reader,
    ends: &mut BTreeMap<u32, u64>,
    told: &mut bool,
    follow: bool,
) -> Result<Option<Entry>, Error> {
    loop {
        if ends.is_empty() && !follow {
            return Ok(None);
        }
        match reader.next().await {
            Ok(Next::Record(entry)) => {
                *told = false;
                let last = ends.get(&entry.partition).is_some_and(|end| entry.offset + 1 >= *end);
                if last {
                    ends.remove(&entry.partition);
                }
                return Ok(Some(entry));
            }
            Ok(Next::CaughtUp { partition, .. }) => {
                ends.remove(&partition);
            }
            Ok(Next::Assigned(_) | Next::Revoked(_)) => {}
            // A broker that starts again ends nobody's watching.
            Err(ReadError::Unavailable(reason)) if follow => {
                if !std::mem::replace(told, true) {
                    crate::terminal::note(format_args!("the log can't be read now, waiting: {reason}"));
                }
                tokio::time::sleep(POLL_EVERY).await;
            }
            Err(error @ ReadError::OutOfRange { partition, offset, .. }) => {
                let start = start_beyond(&error, offset).ok_or(error)?;
                reader.seek(partition, start).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Where the log begins now, if it dropped what was to be shown next: one only looks, so what is there is shown.
fn start_beyond(error: &ReadError, position: u64) -> Option<u64> {
    match *error {
        ReadError::OutOfRange { partition, start, .. } if start > position => {
            crate::terminal::note(format_args!(
                "partition {partition}: the log has dropped offsets {position}..{start}"
            ));
            Some(start)
        }
        _ => None,
    }
}
