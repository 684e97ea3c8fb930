//! The file system's free space, looked at before an append is taken: a write that finds no space leaves fjall's journal
//! in an unknown state, and so ends the log. Refusing appends early ends nothing, and passes when space is made.
//! Without waiting, and pure but for the source of free space.
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

/// Stays free: what was taken and is not in tables yet (memtables: 24 MiB three times), a group under way in journal
/// and memory (16 MiB twice), the journal's copy at the next opening (64 MiB), together some 170 MiB; and as much twice
/// for what others on the same disk write between two looks.
const RESERVE_BYTES: u64 = 512 << 20;
/// Of a small file system, at most this part: one of 5 GiB keeps all of the reserve.
const RESERVE_PART: u64 = 10;
/// What an append takes in the end: once in the journal, once in a table.
const COPIES: u64 = 2;
/// How old a look may be,
const LOOK_AGE_MAX: Duration = Duration::from_secs(1);
/// and how much may be taken after it.
const LOOK_BYTES_MAX: u64 = 16 << 20;

/// What a file system has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    /// For us, not for root only.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// Free space of the file system that holds `dir`: of the open directory, whatever its path becomes.
pub(super) fn space_of(dir: &File) -> io::Result<Space> {
    let found = rustix::fs::fstatvfs(dir)?;
    Ok(Space {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

/// The last look, and what was promised since.
struct Look {
    space: Space,
    at: Instant,
    taken_bytes: u64,
}

/// Room for appends.
pub(super) struct Room {
    /// For messages.
    dir: String,
    source: Box<dyn Fn() -> io::Result<Space> + Send>,
    look: Option<Look>,
}

impl Room {
    pub(super) fn new(dir: String, source: impl Fn() -> io::Result<Space> + Send + 'static) -> Self {
        Self { dir, source: Box::new(source), look: None }
    }

    /// Takes room for `bytes`, where `waiting_bytes` were promised and aren't written yet. An error says why there is
    /// none.
    pub(super) fn take(&mut self, now: Instant, waiting_bytes: u64, bytes: u64) -> Result<(), String> {
        let recent =
            |look: &Look| now.saturating_duration_since(look.at) < LOOK_AGE_MAX && look.taken_bytes < LOOK_BYTES_MAX;
        let mut look = match self.look.take().filter(recent) {
            Some(look) => look,
            None => {
                let space = (self.source)().map_err(|error| {
                    format!("the free space of the disk that holds {} can't be found out: {error}", self.dir)
                })?;
                Look { space, at: now, taken_bytes: waiting_bytes }
            }
        };
        let Space { free_bytes, total_bytes } = look.space;
        let reserve_bytes = RESERVE_BYTES.min(total_bytes / RESERVE_PART);
        let wanted = look.taken_bytes.saturating_add(bytes).saturating_mul(COPIES);
        let fits = wanted.saturating_add(reserve_bytes) <= free_bytes;
        if fits {
            look.taken_bytes += bytes;
        }
        self.look = Some(look);
        if fits {
            return Ok(());
        }
        Err(format!(
            "the disk that holds {} has {free_bytes} of {total_bytes} bytes free, and {reserve_bytes} are kept so that \
             the log can go on: make space, or lower the disk budget; appends are taken again when there is space",
            self.dir
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    const GIB: u64 = 1 << 30;

    /// A room on a disk of `total_bytes`; what is free, and how often it was looked at.
    fn room(total_bytes: u64, free_bytes: u64) -> (Room, Arc<AtomicU64>, Arc<AtomicUsize>) {
        let (free, looks) = (Arc::new(AtomicU64::new(free_bytes)), Arc::new(AtomicUsize::new(0)));
        let (source, counted) = (free.clone(), looks.clone());
        let source = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(Space { free_bytes: source.load(Ordering::SeqCst), total_bytes })
        };
        (Room::new("DIR".into(), source), free, looks)
    }

    #[test]
    fn the_reserve_is_not_touched_and_room_comes_back_within_a_second() {
        let began = Instant::now();
        let (mut room, free, _) = room(100 * GIB, RESERVE_BYTES + 10_000);
        room.take(began, 0, 5_000).unwrap();
        let refused = room.take(began, 5_000, 1).unwrap_err();
        assert!(refused.contains("DIR") && refused.contains("make space"), "{refused}");
        free.store(GIB, Ordering::SeqCst);
        assert!(room.take(began + Duration::from_millis(900), 0, 1).is_err());
        room.take(began + Duration::from_millis(1_000), 0, 1).unwrap();
    }

    #[test]
    fn what_was_taken_since_the_last_look_counts_and_what_waits_at_a_look_too() {
        let began = Instant::now();
        let (mut room, _, _) = room(100 * GIB, RESERVE_BYTES + 10_000);
        room.take(began, 3_000, 1_000).unwrap();
        room.take(began, 4_000, 1_000).unwrap();
        assert!(room.take(began, 5_000, 1).is_err());
    }

    #[test]
    fn a_small_disk_keeps_a_tenth() {
        let began = Instant::now();
        let (mut small, _, _) = room(1_000_000, 100_000 + 2_000);
        small.take(began, 0, 1_000).unwrap();
        assert!(small.take(began, 0, 1).is_err());
    }

    #[test]
    fn the_disk_is_looked_at_once_a_second_or_16_mib() {
        let began = Instant::now();
        let (mut room, _, looks) = room(100 * GIB, 50 * GIB);
        (0..1_000).for_each(|_| room.take(began, 0, 1_000).unwrap());
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        (0..17).for_each(|_| room.take(began, 0, 1 << 20).unwrap());
        assert_eq!(looks.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_disk_that_cannot_be_looked_at_is_not_taken_for_an_empty_one() {
        let mut room = Room::new("DIR".into(), || Err(io::ErrorKind::PermissionDenied.into()));
        assert!(room.take(Instant::now(), 0, 1).unwrap_err().contains("DIR"));
    }

    #[test]
    fn the_free_space_of_a_directory_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let found = space_of(&File::open(dir.path()).unwrap()).unwrap();
        assert!(found.total_bytes > 0 && found.free_bytes <= found.total_bytes, "{found:?}");
    }
}
