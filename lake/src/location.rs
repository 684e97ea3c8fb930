//! Where a table lives, and the store that reads and writes it.
use crate::durable::DurableFileSystem;
use crate::table::Error;
use object_store::ObjectStore;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use url::Url;

/// A table's place. Object stores are to join as another variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine: every put is synced, file and folder, before it returns.
    Local(PathBuf),
}

/// A place made ready: the URL, the store rooted at the URL's root, and its durable side where it is local.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) url: Url,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) disk: Option<DurableFileSystem>,
}

impl Location {
    /// Opens the place; with `make` the folder is made if it is missing, else a missing one is `None`.
    pub(crate) async fn place(&self, make: bool) -> Result<Option<Place>, Error> {
        let Location::Local(folder) = self;
        let name = folder.display().to_string();
        let absolute = std::path::absolute(folder)
            .map_err(|error| Error::incompatible(&name, format!("its path can't be made absolute: {error}")))?;
        if make {
            let made = DurableFileSystem::new(&absolute).make_base().await;
            made.map_err(|error| crate::error::store(&name, "make its folder", &error, crate::error::Missing::Passes))?;
        } else if !absolute.exists() {
            return Ok(None);
        }
        let base = std::fs::canonicalize(&absolute)
            .map_err(|error| Error::Unavailable(format!("{name}: can't resolve its path: {error}")))?;
        let disk = DurableFileSystem::new(&base);
        Ok(Some(Place { url: folder_url(&base)?, store: Arc::new(disk.clone()), disk: Some(disk) }))
    }
}

/// `file:///.../` of an absolute folder.
fn folder_url(base: &Path) -> Result<Url, Error> {
    Url::from_directory_path(base)
        .map_err(|()| Error::incompatible(&base.display().to_string(), "its path is not absolute"))
}
