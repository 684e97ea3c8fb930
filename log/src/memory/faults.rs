//! Faults by order: what a broker or a disk does to its users, when a test says so.
use super::Shared;
use super::storage::Order;
use crate::{AppendError, ReadError};
use std::sync::Arc;
use std::time::Duration;

/// Orders faults on a log in memory. Appends and reads are counted from the order on: 1 is the next one. Appends are
/// counted over all partitions, in the order of their first poll.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

impl Faults {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The `n`th append from now fails with `error`; nothing is written.
    pub fn fail_append(&self, n: u64, error: AppendError) {
        self.shared.change(|storage| {
            let append = storage.next_append() + n.max(1) - 1;
            storage.orders.refuse.insert(append, error);
        });
    }

    /// Every append fails with `error` until [`Faults::recover`]; nothing is written.
    pub fn fail_appends(&self, error: AppendError) {
        self.shared.change(|storage| storage.orders.refuse_all = Some(error));
    }

    /// Appends succeed again.
    pub fn recover(&self) {
        self.shared.change(|storage| storage.orders.refuse_all = None);
    }

    /// The `n`th append from now is written and durable, but its reply is lost: [`AppendError::Unknown`].
    pub fn lose_reply(&self, n: u64) {
        self.order(n, Order::LoseReply);
    }

    /// The `n`th append from now is durable (and read) at once, but answered `delay` later.
    pub fn delay_append(&self, n: u64, delay: Duration) {
        self.order(n, Order::Delay(delay));
    }

    fn order(&self, n: u64, order: Order) {
        self.shared.change(|storage| {
            let append = storage.next_append() + n.max(1) - 1;
            storage.orders.replies.insert(append, order);
        });
    }

    /// A hung log: appends from now on wait, unwritten, until [`Faults::release_appends`]. They are written then in
    /// the order in which they came, also those whose caller has gone.
    pub fn hold_appends(&self) {
        self.shared.change(|storage| storage.orders.appends_held = true);
    }

    /// Writes what was held, and holds no more.
    pub fn release_appends(&self) {
        self.shared.change(|storage| storage.write_held());
    }

    /// Appends from now on are written but not durable: unanswered, and hidden from readers.
    pub fn hold_sync(&self) {
        self.shared.change(|storage| storage.orders.sync_held = true);
    }

    /// Makes durable what is written; what comes later is held still.
    pub fn sync(&self) {
        self.shared.change(|storage| storage.sync());
    }

    /// Makes durable what is written, and holds no more.
    pub fn release_sync(&self) {
        self.shared.change(|storage| {
            storage.orders.sync_held = false;
            storage.sync();
        });
    }

    /// What is written but not durable is gone; its appends end with [`AppendError::Unknown`].
    pub fn power_loss(&self) {
        self.shared.change(|storage| storage.power_loss());
    }

    /// The partition is cut off: `end` is its next offset. A reader above it gets [`ReadError::OutOfRange`].
    pub fn truncate(&self, partition: u32, end: u64) {
        self.shared.change(|storage| storage.cut(partition, end));
    }

    /// The log is made anew: every partition is empty and begins at 0, releases are forgotten.
    pub fn wipe(&self) {
        self.shared.change(|storage| storage.wipe());
    }

    /// Records below `start` are gone, whoever needs them (a broker's retention waits for nobody).
    pub fn drop_below(&self, partition: u32, start: u64) {
        self.shared.change(|storage| storage.drop_below(partition, start));
    }

    /// The `n`th look of a reader from now fails with `error`; its position stays. A `next` that waits looks again
    /// each time that the log changes.
    pub fn fail_read(&self, n: u64, error: ReadError) {
        self.shared.change(|storage| {
            let read = storage.next_read() + n.max(1) - 1;
            storage.orders.reads.insert(read, error);
        });
    }

    /// What the reader `name` has released of `partition`; `None`: there is no such reader or partition.
    pub fn released(&self, name: &str, partition: u32) -> Option<u64> {
        self.shared.lock().released(name, partition)
    }
}
