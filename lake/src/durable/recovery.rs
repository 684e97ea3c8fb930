//! What a start finds after a crash, and makes whole before anything builds on it.
use super::listing::version;
use super::{DurableFileSystem, Result, Shared, blocking, digits, failed};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A temp file that was not written to for this long belongs to nobody: an upload writes all the time.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// Folders below the table that are searched for leftovers: one level for each partition column, and one to spare.
const DEPTH_MAX: usize = 4;

impl DurableFileSystem {
    /// Makes the table's folder, durably: the name of each new folder is synced in its parent.
    pub(crate) async fn make_base(&self) -> Result<()> {
        let shared = self.shared.clone();
        blocking(move || shared.make_base()).await
    }

    /// At opening: syncs the commits since the last checkpoint and their folder (one that was linked, but whose
    /// folder was not synced when its writer was killed, is visible and must not be built upon before it is
    /// durable), and deletes old temp files. Returns how many were deleted.
    pub async fn recover(&self) -> Result<usize> {
        let shared = self.shared.clone();
        blocking(move || {
            shared.sync_log()?;
            let mut leftovers = Vec::new();
            find_leftovers(&shared.base, DEPTH_MAX, &mut leftovers);
            if leftovers.is_empty() {
                return Ok(0);
            }
            match shared.now() {
                Ok(now) => Ok(leftovers.iter().filter(|path| remove_if_old(path, now)).count()),
                Err(error) => {
                    let count = leftovers.len();
                    tracing::warn!(%error, count, "temp files stay: the file system's time is not known");
                    Ok(0)
                }
            }
        })
        .await
    }
}

impl Shared {
    fn make_base(&self) -> Result<()> {
        let missing: Vec<_> = self.base.ancestors().take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(failed("make folder", folder, error));
                }
                _ => folder.parent().map_or(Ok(()), |parent| self.sync_folder(parent))?,
            }
        }
        Ok(())
    }

    /// The file system's own time, by a file made now: the clock of the machine may be another's (a network file
    /// system), and may jump. The probe is a temp file as any other, and not synced: nothing depends on it.
    fn now(&self) -> Result<SystemTime> {
        let probe = self.base.join(format!("now#{}", digits()));
        let made = File::create_new(&probe).and_then(|file| file.metadata()?.modified());
        if let Err(error) = fs::remove_file(&probe).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }) {
            tracing::warn!(path = %probe.display(), %error, "a temp file stays until a later start");
        }
        made.map_err(|error| failed("make temp file", &probe, error))
    }

    fn sync_log(&self) -> Result<()> {
        let folder = self.base.join("_delta_log");
        let names = match names(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            listed => listed.map_err(|error| failed("list", &folder, error))?,
        };
        let checkpoint =
            names.iter().filter(|name| name.contains(".checkpoint")).filter_map(|name| version(name)).max();
        for name in names.iter().filter(|name| name.ends_with(".json")) {
            if version(name).is_some_and(|version| checkpoint.is_none_or(|checkpoint| version > checkpoint)) {
                let path = folder.join(name);
                let file = File::open(&path).map_err(|error| failed("open", &path, error))?;
                self.sync_file(&file, &path)?;
            }
        }
        self.sync_folder(&folder)
    }
}

fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

pub(super) fn is_leftover(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn find_leftovers(folder: &Path, depth: usize, leftovers: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => find_leftovers(&entry.path(), depth - 1, leftovers),
            Ok(kind) if kind.is_file() && is_leftover(&entry.file_name().to_string_lossy()) => {
                leftovers.push(entry.path());
            }
            _ => {}
        }
    }
}

/// Whether it was deleted. `now` is the file system's. A file from the future stays until a later start.
fn remove_if_old(path: &Path, now: SystemTime) -> bool {
    let modified = fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let age = modified.and_then(|modified| now.duration_since(modified).ok());
    if age.is_none_or(|age| age < LEFTOVER_AGE) {
        return false;
    }
    match fs::remove_file(path) {
        Ok(()) => {
            tracing::info!(path = %path.display(), "deleted a temp file that a crash left");
            true
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a temp file that a crash left can't be deleted");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temp_names_are_leftovers() {
        assert!(is_leftover("00000000000000000003.json#8123"));
        assert!(is_leftover("part-1.zstd.parquet#1"));
        for name in ["00000000000000000003.json", "part#.parquet", "a#1b", "#", "x#"] {
            assert!(!is_leftover(name), "{name}");
        }
    }

    #[test]
    fn a_leftover_is_as_old_as_the_time_that_is_passed_in_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json#1");
        let modified = fs::write(&path, "{").and_then(|()| fs::metadata(&path)?.modified()).unwrap();
        assert!(!remove_if_old(&path, modified - LEFTOVER_AGE));
        assert!(!remove_if_old(&path, modified + LEFTOVER_AGE - Duration::from_millis(1)));
        assert!(path.exists());
        assert!(remove_if_old(&path, modified + LEFTOVER_AGE));
        assert!(!path.exists());
    }
}
