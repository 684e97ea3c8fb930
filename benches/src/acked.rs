//! Writes acknowledged ids, one a line, as they come.
//!
//! On a thread of its own: a slow disk must not be taken for a slow server. Each hand-over is written and flushed, so
//! that after a kill the file has all but the last moments', and never an id that was not acknowledged.
use crate::json;
use std::io::{self, Write};
use tokio::sync::mpsc::Receiver;
use uuid::Uuid;

/// Hand-overs that may wait for the disk.
pub(crate) const WAITING_MAX: usize = 64;

/// Writes until the sender is dropped, or until the first error: the sender sees that as a closed channel.
pub(crate) fn write(mut ids: Receiver<Vec<Uuid>>, file: &mut dyn Write) -> io::Result<()> {
    let mut lines = Vec::new();
    while let Some(batch) = ids.blocking_recv() {
        lines.clear();
        lines.reserve(batch.len() * 37);
        for id in batch {
            json::push_uuid(&mut lines, id);
            lines.push(b'\n');
        }
        file.write_all(&lines)?;
        file.flush()?;
    }
    file.flush()
}
