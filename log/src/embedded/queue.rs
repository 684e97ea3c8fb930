//! What waits for the committer: appends in the order of their first poll, and changes of what is kept. The disk budget
//! and the file system's free space are looked at here, so that a full disk refuses appends, and never fails a write.
use super::layout::stored_bytes;
use super::room::Room;
use crate::{AppendError, Record};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;
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

struct Waiting {
    /// What the file system has.
    room: Room,
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
    pub(super) fn new(used_bytes: u64, bytes_max: u64, room: Room) -> Self {
        let waiting = Waiting {
            room,
            appends: VecDeque::new(),
            keeps: VecDeque::new(),
            waiting_bytes: 0,
            used_bytes,
            closed: false,
            stopped: None,
        };
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
        let before_bytes = waiting.waiting_bytes;
        waiting.room.take(Instant::now(), before_bytes, bytes).map_err(AppendError::Full)?;
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

#[cfg(test)]
mod tests {
    use super::super::room::Space;
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    impl Queue {
        /// The committer's part, without waiting.
        fn take_if_any(&self) -> Vec<Append> {
            Self::take_appends(&mut self.lock())
        }
    }

    fn record() -> Record {
        Record { headers: Vec::new(), payload: vec![0; 1_000].into() }
    }

    #[test]
    fn a_full_disk_refuses_appends_in_words_and_recovers_by_itself() {
        let free_bytes = Arc::new(AtomicU64::new(40 << 30));
        let source = free_bytes.clone();
        let room = Room::new("DIR".into(), move || {
            Ok(Space { free_bytes: source.load(Ordering::SeqCst), total_bytes: 100 << 30 })
        });
        let queue = Queue::new(0, u64::MAX, room);
        queue.append(0, record()).unwrap();
        let taken_bytes = queue.used_bytes();
        free_bytes.store(1 << 20, Ordering::SeqCst);
        let refused = std::iter::repeat_with(|| {
            std::thread::yield_now();
            queue.append(0, record()).err()
        });
        let refused = refused.inspect(|_| drop(queue.take_if_any())).find_map(|refused| refused).unwrap();
        assert!(matches!(&refused, AppendError::Full(words) if words.contains("DIR")), "{refused}");
        assert!(queue.refusal().is_none(), "the log goes on");
        assert!(queue.used_bytes() >= taken_bytes);
        free_bytes.store(40 << 30, Ordering::SeqCst);
        while queue.append(0, record()).is_err() {
            std::thread::yield_now();
        }
    }
}
