//! Where a table lives, and the store that reads and writes it.
use crate::durable::DurableFileSystem;
use crate::table::Error;
use object_store::ObjectStore;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use url::Url;

/// A table's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine: every put is synced, file and folder, before it returns.
    Local(PathBuf),
    /// A prefix of an object store: `s3://BUCKET/...`, `gs://`, `az://`.
    Store {
        /// Where.
        url: Url,
        /// The store's own options, by object_store's names (`aws_endpoint`, `aws_access_key_id`, ...).
        options: BTreeMap<String, String>,
    },
}

impl Location {
    /// From a URL and the store's options: `file:///folder` is local, `s3://`, `gs://`, `az://` are stores. `Err`: why
    /// this is none, in words.
    pub fn parse(url: &str, options: &BTreeMap<String, String>) -> Result<Location, String> {
        let parsed = Url::parse(url).map_err(|error| format!("{url:?} is no URL: {error}"))?;
        match parsed.scheme() {
            "file" => {
                let folder = parsed.to_file_path().map_err(|()| format!("{url:?} names no folder of this machine"))?;
                Ok(Location::Local(folder))
            }
            _ => Ok(Location::Store { url: parsed, options: options.clone() }),
        }
    }

    /// The place named `name` below this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Location {
        match self {
            Location::Local(folder) => Location::Local(folder.join(name)),
            Location::Store { url, options } => {
                let mut below = url.clone();
                below.set_path(&format!("{}/{name}", url.path().trim_end_matches('/')));
                Location::Store { url: below, options: options.clone() }
            }
        }
    }
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
        let Location::Local(folder) = self else {
            return Err(Error::Unavailable("object stores are not wired yet".into()));
        };
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
