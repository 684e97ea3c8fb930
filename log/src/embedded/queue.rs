//! What waits for the committer: appends in the order of their first poll, and changes of what is kept.
use super::layout::stored_bytes;
use crate::{AppendError, Record};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// Appends that wait, in all. Their callers hold the bytes anyway; more than this means that the disk does not keep up.
const WAITING_BYTES_MAX: u64 = 128 << 20;
const WAITING_MAX: usize = 16_384;
/// What goes into one commit: bounds its time, and the memory of its copy.
const GROUP_BYTES_MAX: u64 = 16 << 20;

/// An append that waits for its fsync.
pub(super) struct Append {
    pub partition: u32,
    pub record: Record,
    pub bytes: u64,
    pub reply: oneshot::Sender<Result<u64, AppendError>>,
}

/// Records of a partition that retention drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drop {
    pub partition: u32,
    /// The first offset that stays.
    pub start: u64,
    /// Bytes of what goes.
    pub bytes: u64,
}

/// Make releases durable, and these drops.
pub(super) struct Keep {
    pub drops: Vec<Drop>,
    pub reply: oneshot::Sender<Result<(), AppendError>>,
}

/// What the committer does at once.
pub(super) enum Group {
    Appends(Vec<Append>),
    Keep(Keep),
}

#[derive(Default)]
struct Waiting {
    appends: VecDeque<Append>,
    keeps: VecDeque<Keep>,
    /// Bytes of `appends`.
    waiting_bytes: u64,
    /// Bytes of live records and of appends under way: what the budget bounds.
    used_bytes: u64,
    closed: bool,
    /// Why the log has stopped.
    stopped: Option<String>,
}

impl Waiting {
    fn check_open(&self) -> Result<(), AppendError> {
        match &self.stopped {
            Some(reason) => Err(AppendError::Stopped(reason.clone())),
            None if self.closed => Err(AppendError::Stopped("log is closed".into())),
            None => Ok(()),
        }
    }
}

/// The queue before the committer, with the disk budget at its entrance.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    bytes_max: u64,
}

impl Queue {
    pub(super) fn new(used_bytes: u64, bytes_max: u64) -> Self {
        let waiting = Waiting { used_bytes, ..Waiting::default() };
        Self { waiting: Mutex::new(waiting), arrived: Condvar::new(), bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        super::lock(&self.waiting)
    }

    /// Takes an append or refuses it; its place in the order is fixed when this returns.
    pub(super) fn append(
        &self,
        partition: u32,
        record: Record,
    ) -> Result<oneshot::Receiver<Result<u64, AppendError>>, AppendError> {
        let bytes = stored_bytes(&record);
        let mut waiting = self.lock();
        waiting.check_open()?;
        if waiting.used_bytes.saturating_add(bytes) > self.bytes_max {
            return Err(crate::over_budget(waiting.used_bytes, self.bytes_max));
        }
        if waiting.appends.len() >= WAITING_MAX || waiting.waiting_bytes + bytes > WAITING_BYTES_MAX {
            let (count, bytes) = (waiting.appends.len(), waiting.waiting_bytes);
            return Err(AppendError::Full(format!(
                "{count} appends of {bytes} bytes wait for the disk already: it does not keep up"
            )));
        }
        waiting.used_bytes += bytes;
        waiting.waiting_bytes += bytes;
        let (reply, answer) = oneshot::channel();
        waiting.appends.push_back(Append { partition, record, bytes, reply });
        self.arrived.notify_one();
        Ok(answer)
    }

    pub(super) fn keep(&self, drops: Vec<Drop>) -> Result<oneshot::Receiver<Result<(), AppendError>>, AppendError> {
        let mut waiting = self.lock();
        waiting.check_open()?;
        let (reply, answer) = oneshot::channel();
        waiting.keeps.push_back(Keep { drops, reply });
        self.arrived.notify_one();
        Ok(answer)
    }

    /// The next group; waits for one. `None`: closed and all done, or stopped.
    pub(super) fn take(&self) -> Option<Group> {
        let mut waiting = self.lock();
        loop {
            if waiting.stopped.is_some() {
                return None;
            }
            if let Some(keep) = waiting.keeps.pop_front() {
                return Some(Group::Keep(keep));
            }
            if !waiting.appends.is_empty() {
                return Some(Group::Appends(Self::take_appends(&mut waiting)));
            }
            if waiting.closed {
                return None;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    fn take_appends(waiting: &mut Waiting) -> Vec<Append> {
        let mut bytes = 0;
        let mut group = Vec::new();
        while let Some(append) = waiting.appends.pop_front() {
            bytes += append.bytes;
            group.push(append);
            if bytes >= GROUP_BYTES_MAX {
                break;
            }
        }
        waiting.waiting_bytes -= bytes;
        group
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.lock().used_bytes
    }

    /// Retention has given back `bytes`.
    pub(super) fn free(&self, bytes: u64) {
        let mut waiting = self.lock();
        waiting.used_bytes = waiting.used_bytes.saturating_sub(bytes);
    }

    /// Takes no more; what waits is still done.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Takes no more, and answers all that waits with [`AppendError::Stopped`]. The first reason stays.
    pub(super) fn stop(&self, reason: &str) {
        let mut waiting = self.lock();
        let reason = waiting.stopped.get_or_insert_with(|| reason.to_owned()).clone();
        for append in waiting.appends.drain(..) {
            let _gone = append.reply.send(Err(AppendError::Stopped(reason.clone())));
        }
        for keep in waiting.keeps.drain(..) {
            let _gone = keep.reply.send(Err(AppendError::Stopped(reason.clone())));
        }
        waiting.waiting_bytes = 0;
        self.arrived.notify_all();
    }

    /// Why the log takes nothing more, if so.
    pub(super) fn refusal(&self) -> Option<AppendError> {
        self.lock().check_open().err()
    }

    pub(super) fn stopped(&self) -> Option<String> {
        self.lock().stopped.clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }
}
