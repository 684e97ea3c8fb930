//! A local object store whose puts survive a power loss.
//!
//! `object_store`'s `LocalFileSystem` never calls fsync. Here a put returns only when the bytes and the name are on
//! the disk, and no name is ever visible whose bytes are not:
//!
//! ```text
//!  temp file "NAME#digits" in the same folder ─▶ write ─▶ fsync ─▶ hard link (create) or rename (overwrite)
//!                                                                   ─▶ fsync of the folder ─▶ return
//! ```
//!
//! `LocalFileSystem` hides names that end in `#digits` from every listing, so readers never see a temp file; what a
//! crash leaves is deleted by [`DurableFileSystem::recover`]. After a failed fsync nobody knows what the disk holds
//! (the kernel may have dropped the pages): the store refuses every further write until the process starts again.
//!
//! For Unix file systems with hard links and fsync on folders. Reads and deletes are `LocalFileSystem`'s own,
//! and listings too, but for that of a log from an offset: it shows commits and checkpoints, and may leave out the rest.
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode, Result,
};
use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use upload::Upload;

mod listing;
mod recovery;
mod upload;

/// Folders whose own durability is remembered; above it the memory starts anew.
const FOLDERS_KNOWN_MAX: usize = 4096;

/// The two calls that make bytes and names durable: a seam, so that tests see their order and let them fail.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// fsync of a file's bytes and length.
    fn sync_file(&self, file: &File, path: &Path) -> io::Result<()>;
    /// fsync of a folder: the names in it.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// The operating system's fsync.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn sync_file(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

/// An fsync failed: what is on the disk is not known, nothing more is written by this store.
#[derive(Debug, Clone, thiserror::Error)]
#[error("fsync failed, so nothing more is written until a restart: {0}")]
pub struct SyncFailed(String);

impl SyncFailed {
    pub(crate) fn new(what: impl Into<String>) -> SyncFailed {
        SyncFailed(what.into())
    }
}

/// An object store rooted at `/` whose writes below `base` are durable when they return.
#[derive(Debug, Clone)]
pub struct DurableFileSystem {
    files: LocalFileSystem,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    base: PathBuf,
    disk: Arc<dyn Disk>,
    failure: OnceLock<SyncFailed>,
    folders: Mutex<HashSet<PathBuf>>,
    /// One more than the version of the newest commit that a listing has shown; 0 before the first.
    listed: AtomicU64,
}

impl DurableFileSystem {
    /// A store for the table in the folder `base` (absolute).
    pub fn new(base: impl Into<PathBuf>) -> DurableFileSystem {
        DurableFileSystem::with_disk(base, Arc::new(SystemDisk))
    }

    /// The same over another `disk`.
    pub fn with_disk(base: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> DurableFileSystem {
        let shared = Shared {
            base: base.into(),
            disk,
            failure: OnceLock::new(),
            folders: Mutex::default(),
            listed: AtomicU64::new(0),
        };
        DurableFileSystem { files: LocalFileSystem::new(), shared: Arc::new(shared) }
    }

    /// The table's folder.
    pub fn base(&self) -> &Path {
        &self.shared.base
    }

    /// The failed fsync after which this store takes no more writes.
    pub(crate) fn failure(&self) -> Option<&SyncFailed> {
        self.shared.failure.get()
    }

    /// Syncs a folder, so that the names in it that others made are durable before anything builds on them.
    pub async fn sync_folder(&self, folder: PathBuf) -> Result<()> {
        let shared = self.shared.clone();
        blocking(move || shared.sync_folder(&folder)).await
    }
}

impl Shared {
    fn check(&self) -> Result<()> {
        match self.failure.get() {
            Some(failure) => Err(generic(failure.clone())),
            None => Ok(()),
        }
    }

    /// Remembers the failure: from now on every write is refused.
    fn failed(&self, path: &Path, error: &io::Error) -> Error {
        let failure = SyncFailed::new(format!("{}: {error}", path.display()));
        tracing::error!(path = %path.display(), %error, "fsync failed: the store takes no more writes");
        generic(self.failure.get_or_init(|| failure).clone())
    }

    fn sync_file(&self, file: &File, path: &Path) -> Result<()> {
        self.disk.sync_file(file, path).map_err(|error| self.failed(path, &error))
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        self.disk.sync_folder(folder).map_err(|error| self.failed(folder, &error))
    }

    /// Makes `folder` and what is missing above it. On its first use the names of all folders from the base down to
    /// it are synced: another writer may have made one and not synced it yet.
    fn ensure_folder(&self, folder: &Path) -> Result<()> {
        if self.known().contains(folder) {
            return Ok(());
        }
        fs::create_dir_all(folder).map_err(|error| failed("make folder", folder, error))?;
        let mut below = folder;
        while let Some(parent) = below.parent().filter(|_| below.starts_with(&self.base) && below != self.base) {
            self.sync_folder(parent)?;
            below = parent;
        }
        let mut known = self.known();
        if known.len() >= FOLDERS_KNOWN_MAX {
            known.clear();
        }
        known.insert(folder.to_owned());
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new temp file beside `destination`.
    fn stage(&self, destination: &Path) -> Result<Staged> {
        self.check()?;
        let (Some(folder), Some(name)) = (destination.parent(), destination.file_name()) else {
            return Err(failed("write", destination, io::Error::from(ErrorKind::InvalidFilename)));
        };
        let path = folder.join(format!("{}#{}", name.to_string_lossy(), digits()));
        self.ensure_folder(folder)?;
        let open = || File::options().read(true).write(true).create_new(true).open(&path);
        let file = match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Somebody deleted the folder since its first use.
                self.known().remove(folder);
                self.ensure_folder(folder)?;
                open()
            }
            opened => opened,
        };
        let file = file.map_err(|error| failed("make temp file", &path, error))?;
        Ok(Staged { file: Arc::new(file), path, folder: folder.to_owned(), published: false })
    }

    /// Gives a staged file its name, durably: its bytes first, then the name, then the folder.
    fn publish(&self, mut staged: Staged, destination: &Path, replace: bool) -> Result<()> {
        self.check()?;
        self.sync_file(&staged.file, &staged.path)?;
        if replace {
            fs::rename(&staged.path, destination).map_err(|error| failed("rename to", destination, error))?;
            staged.published = true;
        } else {
            link(&staged.path, destination)?;
        }
        let folder = staged.folder.clone();
        drop(staged);
        self.sync_folder(&folder)
    }

    fn put(&self, destination: &Path, payload: &PutPayload, replace: bool) -> Result<()> {
        let staged = self.stage(destination)?;
        for bytes in payload {
            (&*staged.file).write_all(bytes).map_err(|error| failed("write", &staged.path, error))?;
        }
        self.publish(staged, destination, replace)
    }

    fn copy(&self, from: &Path, to: &Path, replace: bool) -> Result<()> {
        let staged = self.stage(to)?;
        let mut source = File::open(from).map_err(|error| not_found_or("copy", from, error))?;
        io::copy(&mut source, &mut &*staged.file).map_err(|error| failed("copy to", &staged.path, error))?;
        self.publish(staged, to, replace)
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> Result<()> {
        self.copy(from, to, replace)?;
        fs::remove_file(from).map_err(|error| failed("delete", from, error))?;
        from.parent().map_or(Ok(()), |folder| self.sync_folder(folder))
    }
}

/// A temp file that is deleted unless it got its name.
#[derive(Debug)]
struct Staged {
    file: Arc<File>,
    path: PathBuf,
    folder: PathBuf,
    published: bool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a temp file stays until the next start");
        }
    }
}

fn link(staged: &Path, destination: &Path) -> Result<()> {
    fs::hard_link(staged, destination).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Error::AlreadyExists { path: destination.display().to_string(), source: Box::new(error) }
        }
        ErrorKind::Unsupported | ErrorKind::PermissionDenied => {
            let hint = format!("{error} (the lake needs a file system with hard links, e.g. ext4, xfs, apfs)");
            failed("hard link to", destination, io::Error::new(error.kind(), hint))
        }
        _ => failed("hard link to", destination, error),
    })
}

/// Digits that no other temp file of the folder has.
#[allow(clippy::disallowed_methods, reason = "a random name for a temp file; nothing depends on its value")]
fn digits() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

fn generic(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic { store: "DurableFileSystem", source: Box::new(source) }
}

fn failed(doing: &str, path: &Path, error: io::Error) -> Error {
    let kind = error.kind();
    generic(io::Error::new(kind, format!("{doing} {}: {error}", path.display())))
}

fn not_found_or(doing: &str, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::NotFound { path: path.display().to_string(), source: Box::new(error) },
        _ => failed(doing, path, error),
    }
}

/// File work off the async threads. It runs to its end even when the caller is gone.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(generic(error)),
    }
}

impl fmt::Display for DurableFileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableFileSystem({})", self.shared.base.display())
    }
}

#[async_trait]
impl ObjectStore for DurableFileSystem {
    async fn put_opts(&self, location: &StorePath, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let replace = match options.mode {
            PutMode::Create => false,
            PutMode::Overwrite => true,
            PutMode::Update(_) => return Err(not_implemented("put with PutMode::Update")),
        };
        let destination = self.files.path_to_filesystem(location)?;
        let shared = self.shared.clone();
        blocking(move || shared.put(&destination, &payload, replace)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &StorePath,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let destination = self.files.path_to_filesystem(location)?;
        let (shared, path) = (self.shared.clone(), destination.clone());
        let staged = blocking(move || shared.stage(&path)).await?;
        let shared = self.shared.clone();
        Ok(Box::new(Upload::new(shared, destination, staged)))
    }

    async fn get_opts(&self, location: &StorePath, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &StorePath, ranges: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<StorePath>>) -> BoxStream<'static, Result<StorePath>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&StorePath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&StorePath>,
        offset: &StorePath,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let log = prefix.filter(|prefix| prefix.filename() == Some("_delta_log")).cloned();
        let Some((log, folder)) = log.and_then(|log| Some((log.clone(), self.files.path_to_filesystem(&log).ok()?)))
        else {
            return self.files.list_with_offset(prefix, offset);
        };
        let (files, shared, offset) = (self.files.clone(), self.shared.clone(), offset.clone());
        let listed = async move {
            let (prefix, after) = (log.clone(), offset.clone());
            match blocking(move || shared.list_log(&folder, &prefix, &after)).await {
                Ok(Some(metas)) => futures::stream::iter(metas.into_iter().map(Ok)).boxed(),
                Ok(None) => files.list_with_offset(Some(&log), &offset),
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
            }
        };
        futures::stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&StorePath>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &StorePath, to: &StorePath, options: CopyOptions) -> Result<()> {
        let (from, to) = (self.files.path_to_filesystem(from)?, self.files.path_to_filesystem(to)?);
        let (shared, replace) = (self.shared.clone(), options.mode == CopyMode::Overwrite);
        blocking(move || shared.copy(&from, &to, replace)).await
    }

    async fn rename_opts(&self, from: &StorePath, to: &StorePath, options: RenameOptions) -> Result<()> {
        let (from, to) = (self.files.path_to_filesystem(from)?, self.files.path_to_filesystem(to)?);
        let (shared, replace) = (self.shared.clone(), options.target_mode == RenameTargetMode::Overwrite);
        blocking(move || shared.rename(&from, &to, replace)).await
    }
}

fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "DurableFileSystem".to_owned() }
}
