//! Where a table lives: a folder of this machine, or a prefix of an object store.
//!
//! A place is checked in words when it is named ([`Location::parse`]), before anything connects. Neither `Debug` nor
//! `Display` shows a value of its options: secrets are among them.
use crate::durable::DurableFileSystem;
use crate::store::{self, Remote};
use crate::table::Error;
use object_store::ObjectStore;
use object_store::path::Path as StorePath;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use url::Url;

/// What a location looks like, for messages.
const KNOWN: &str = "file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or \
                     abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX";

/// A table's place.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine: every put is synced, file and folder, before it returns.
    Local(PathBuf),
    /// A prefix of an object store: `s3://BUCKET/...`, `gs://`, `az://`, `abfss://`. Made by [`Location::parse`], which
    /// checks both parts.
    Store {
        /// Where.
        url: Url,
        /// The store's own options, by object_store's names (`aws_endpoint`, `aws_access_key_id`, ...).
        options: BTreeMap<String, String>,
    },
}

impl Location {
    /// From a URL and the store's options: `file:///folder` is local, `s3://`, `gs://`, `az://`, `abfss://` are stores.
    /// Slashes at the end or doubled ones mean nothing. `Err`: why this is none, in words, without a secret.
    pub fn parse(url: &str, options: &BTreeMap<String, String>) -> Result<Location, String> {
        let parsed = Url::parse(url).map_err(|error| {
            let shown = url.split_once("://").map_or(url, |(_, rest)| rest.rsplit('@').next().unwrap_or(rest));
            format!("{shown:?} is no URL ({error}): write {KNOWN}")
        })?;
        if parsed.password().is_some() {
            return Err("a URL with a password in it is refused: it would be logged; give it as an option".into());
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            let plain = parsed.as_str().split(['?', '#']).next().unwrap_or_default();
            return Err(format!("{plain} is followed by a ? or #: what the store is to know goes into the options"));
        }
        if parsed.scheme() == "file" {
            if let Some(name) = options.keys().next() {
                return Err(format!("{name} is an option of object stores: a folder of this machine has none"));
            }
            let folder = parsed.to_file_path().map_err(|()| format!("{url:?} names no folder of this machine"))?;
            return Ok(Location::Local(folder));
        }
        let Some(provider) = store::Provider::of(&parsed) else {
            return Err(unknown(&parsed));
        };
        let url = normalised(parsed, provider)?;
        store::check_options(provider, options)?;
        Ok(Location::Store { url, options: options.clone() })
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

fn unknown(url: &Url) -> String {
    let scheme = url.scheme();
    let hint = match scheme {
        "http" | "https" => "; a server of one's own that speaks S3 is s3://BUCKET/PREFIX with the option aws_endpoint",
        _ => "",
    };
    format!("{scheme}: is no store that tables can live on: write {KNOWN}{hint}")
}

/// The URL with single slashes and none at the end. What a reader of the log would spell in another way is refused:
/// delta-rs' kernel lists by decoded names and reads by encoded ones.
fn normalised(mut url: Url, provider: store::Provider) -> Result<Url, String> {
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("{url} names no bucket: write {KNOWN}"));
    }
    if url.port().is_some() || !url.username().is_empty() && provider != store::Provider::Azure {
        let reason = "the part before the first slash is the bucket alone: a server's address goes into the option \
                      aws_endpoint, credentials into options too";
        return Err(format!("{}://{}: {reason}", url.scheme(), url.host_str().unwrap_or_default()));
    }
    let path = url.path().split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    url.set_path(&path);
    match StorePath::from_url_path(url.path()) {
        Ok(decoded) if decoded == StorePath::from(url.path()) => Ok(url),
        _ => Err(format!("{url}: a prefix may not hold blanks or any other character that a URL escapes; rename it")),
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Local(folder) => write!(f, "{}", folder.display()),
            Location::Store { url, .. } => write!(f, "{}", url.as_str().trim_end_matches('/')),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Local(folder) => f.debug_tuple("Local").field(folder).finish(),
            Location::Store { url, options } => {
                let names: Vec<_> = options.keys().collect();
                f.debug_struct("Store").field("url", &url.as_str()).field("options", &names).finish()
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

impl Place {
    /// A place on any store; what is no file system is asked through [`Remote`].
    pub(crate) fn on(store: Arc<dyn ObjectStore>, url: Url) -> Place {
        let store = if url.scheme() == "file" { store } else { Arc::new(Remote::new(store, &url)) };
        Place { url, store, disk: None }
    }
}

impl Location {
    /// Names of the folders directly in it, sorted; none where it is not there.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the store does not answer.
    pub async fn folders(&self) -> Result<Vec<String>, Error> {
        let Some(place) = self.place(false).await? else { return Ok(Vec::new()) };
        let name = self.to_string();
        let prefix = StorePath::from_url_path(place.url.path())
            .map_err(|error| Error::incompatible(&name, format!("its path: {error}")))?;
        let listed = place.store.list_with_delimiter(Some(&prefix)).await;
        let listed = listed
            .map_err(|error| crate::error::store(&name, "list its folders", &error, crate::error::Missing::Passes))?;
        let mut names: Vec<String> =
            listed.common_prefixes.iter().filter_map(|folder| folder.filename().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// Opens the place; with `make` a folder is made if it is missing, else a missing one is `None`. A store is not
    /// asked yet.
    pub(crate) async fn place(&self, make: bool) -> Result<Option<Place>, Error> {
        let folder = match self {
            Location::Local(folder) => folder,
            Location::Store { url, options } => {
                let opened = store::open(url, options).map_err(|reason| Error::incompatible(url.as_str(), reason))?;
                return Ok(Some(Place::on(opened, url.clone())));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn parse(url: &str) -> Result<Location, String> {
        Location::parse(url, &BTreeMap::new())
    }

    #[test]
    fn slashes_at_the_end_and_doubled_ones_mean_nothing() {
        for url in ["s3://bucket/a/b", "s3://bucket/a/b/", "s3://bucket//a//b///"] {
            assert_eq!(parse(url).unwrap().join("events").to_string(), "s3://bucket/a/b/events");
        }
        for url in ["gs://bucket", "gs://bucket/"] {
            assert_eq!(parse(url).unwrap().join("events").to_string(), "gs://bucket/events");
        }
        let azure = parse("abfss://box@account.dfs.core.windows.net/lake/").unwrap();
        assert_eq!(azure.join("events").to_string(), "abfss://box@account.dfs.core.windows.net/lake/events");
        assert_eq!(parse("file:///data/lake/").unwrap().join("events"), Location::Local("/data/lake/events".into()));
    }

    #[test]
    fn what_is_no_place_is_refused_in_words() {
        for (url, words) in [
            ("/data/lake", "is no URL"),
            ("s3:///lake", "names no bucket"),
            ("ftp://host/lake", "ftp: is no store"),
            ("https://minio:9000/lake", "option aws_endpoint"),
            ("memory:///lake", "memory: is no store"),
            ("s3://minio:9000/lake", "the bucket alone"),
            ("s3://key@bucket/lake", "the bucket alone"),
            ("s3://key:hush@bucket/lake", "a password"),
            ("s3://key:hush@buck et/lake", "is no URL"),
            ("s3://bucket/lake?region=x", "a ? or #"),
            ("s3://bucket/my lake", "a URL escapes"),
            ("s3://bucket/l%C3%A4ke", "a URL escapes"),
        ] {
            let reason = parse(url).unwrap_err();
            assert!(reason.contains(words), "{url}: {reason}");
            assert!(!reason.contains("hush"), "a secret shows: {reason}");
        }
    }

    #[test]
    fn options_are_checked_by_name_and_an_unsafe_one_is_refused() {
        let refused =
            |url: &str, name: &str, value: &str| Location::parse(url, &options(&[(name, value)])).unwrap_err();
        assert!(refused("s3://b/l", "aws_acces_key_id", "hush").contains("aws_acces_key_id is no option of S3"));
        assert!(!refused("s3://b/l", "aws_acces_key_id", "hush").contains("hush"));
        assert!(refused("gs://b/l", "aws_region", "x").contains("no option of Google Cloud Storage"));
        assert!(refused("az://b/l", "aws_region", "x").contains("no option of Azure"));
        assert!(refused("s3://b/l", "aws_conditional_put", "disabled").contains("conditional puts"));
        assert!(refused("s3://b/l", "bucket", "other").contains("the URL names the bucket"));
        assert!(refused("s3://b/l", "timeout", "soon").contains("timeout"));
        assert!(refused("file:///lake", "aws_region", "x").contains("has none"));
        let known = options(&[("aws_endpoint", "https://x"), ("Region", "eu-1"), ("timeout", "20s")]);
        assert!(Location::parse("s3://b/l", &known).is_ok());
    }

    #[test]
    fn secrets_do_not_show() {
        let secret = options(&[("aws_secret_access_key", "hush"), ("aws_access_key_id", "who")]);
        let location = Location::parse("s3://bucket/lake", &secret).unwrap();
        let shown = format!("{location:?} {location:#?} {location}");
        assert!(
            shown.contains("aws_secret_access_key") && !shown.contains("hush") && !shown.contains("who"),
            "{shown}"
        );
    }
}
