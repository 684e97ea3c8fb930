//! A store over a network: counts and times each request, remembers commits, and never shows a secret.
//!
//! The stores' own `Debug` prints their configuration; this one prints the place alone. Adds no retry and no order:
//! what it answers is what the store below answered, or a commit that the store answered before ([`super::commits`]).
use super::commits::{Commits, is_commit};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use object_store::path::Path as StorePath;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use url::Url;

/// Bytes of one request at most.
const PUT_BYTES_MAX: usize = 8 << 20;

/// A store behind a network.
pub(crate) struct Remote {
    inner: Arc<dyn ObjectStore>,
    place: String,
    commits: Arc<Mutex<Commits>>,
}

impl Remote {
    /// Over `inner`, which is rooted at the root of `url`.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, url: &Url) -> Remote {
        let place = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
        Remote { inner, place, commits: Arc::default() }
    }

    /// A checkpoint of many files is more than one request can bring over a slow network.
    async fn put_in_parts(&self, location: &StorePath, bytes: Bytes, options: PutOptions) -> Result<PutResult> {
        let PutOptions { tags, attributes, extensions, .. } = options;
        let options = PutMultipartOptions { tags, attributes, extensions };
        let mut upload = self.put_multipart_opts(location, options).await?;
        let parts = async {
            for start in (0..bytes.len()).step_by(PUT_BYTES_MAX) {
                upload.put_part(bytes.slice(start..bytes.len().min(start + PUT_BYTES_MAX)).into()).await?;
            }
            upload.complete().await
        };
        let put = parts.await;
        if put.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(path = %location, %error, "parts of an upload stay until the store's own rule deletes them");
        }
        put
    }

    fn listed(&self, metas: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let commits = self.commits.clone();
        let (started, mut first) = (Instant::now(), true);
        metas
            .inspect(move |meta| {
                // Later ones come from the same page, or from the next, whose wait can't be told from its reader's.
                if std::mem::take(&mut first) || meta.is_err() {
                    measure("list", started, meta.as_ref().err());
                }
                if let Ok(meta) = meta {
                    locked(&commits).was_listed(meta);
                }
            })
            .boxed()
    }
}

fn locked(commits: &Mutex<Commits>) -> MutexGuard<'_, Commits> {
    commits.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a request. That something is there already, or is not there, is an answer, no failure.
fn measure(operation: &'static str, started: Instant, error: Option<&Error>) {
    let answered = match error {
        None => true,
        Some(Error::AlreadyExists { .. } | Error::NotFound { .. } | Error::Precondition { .. }) => true,
        Some(_) => false,
    };
    metrics::histogram!("playhead_lake_request_seconds", "operation" => operation)
        .record(started.elapsed().as_secs_f64());
    metrics::counter!("playhead_lake_request_failures_total", "operation" => operation).increment(u64::from(!answered));
}

async fn measured<T>(operation: &'static str, request: impl Future<Output = Result<T>>) -> Result<T> {
    let started = Instant::now();
    let answer = request.await;
    measure(operation, started, answer.as_ref().err());
    answer
}

/// A read of a whole commit, without conditions.
fn is_plain(options: &GetOptions) -> bool {
    options.range.is_none()
        && !options.head
        && options.version.is_none()
        && options.if_match.is_none()
        && options.if_none_match.is_none()
        && options.if_modified_since.is_none()
        && options.if_unmodified_since.is_none()
}

fn whole(meta: ObjectMeta, bytes: Bytes, attributes: Attributes) -> GetResult {
    let range = 0..bytes.len() as u64;
    let payload = GetResultPayload::Stream(futures::stream::once(async move { Ok(bytes) }).boxed());
    GetResult { payload, meta, range, attributes }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.place)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)
    }
}

#[async_trait]
impl ObjectStore for Remote {
    async fn put_opts(&self, location: &StorePath, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode == PutMode::Overwrite && payload.content_length() > PUT_BYTES_MAX {
            return self.put_in_parts(location, payload.into(), options).await;
        }
        let commit = (is_commit(location) && options.mode == PutMode::Create).then(|| payload.clone());
        let put = measured("put", self.inner.put_opts(location, payload, options)).await?;
        if let Some(commit) = commit {
            locked(&self.commits).was_put(location, put.e_tag.clone(), commit.into());
        }
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &StorePath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = measured("begin_upload", self.inner.put_multipart_opts(location, options)).await?;
        Ok(Box::new(Upload(upload)))
    }

    async fn get_opts(&self, location: &StorePath, options: GetOptions) -> Result<GetResult> {
        if options.head {
            return measured("head", self.inner.get_opts(location, options)).await;
        }
        if !is_commit(location) || !is_plain(&options) {
            return measured("get", self.inner.get_opts(location, options)).await;
        }
        if let Some((meta, bytes)) = locked(&self.commits).get(location) {
            return Ok(whole(meta, bytes, Attributes::default()));
        }
        let read = async {
            let result = self.inner.get_opts(location, options).await?;
            let (meta, attributes) = (result.meta.clone(), result.attributes.clone());
            Ok((meta, attributes, result.bytes().await?))
        };
        let (meta, attributes, bytes) = measured("get", read).await?;
        locked(&self.commits).was_read(&meta, &bytes);
        Ok(whole(meta, bytes, attributes))
    }

    async fn get_ranges(&self, location: &StorePath, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        measured("get", self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<StorePath>>) -> BoxStream<'static, Result<StorePath>> {
        let commits = self.commits.clone();
        let forgotten = locations.inspect(move |location| {
            if let Ok(location) = location {
                locked(&commits).forget(location);
            }
        });
        self.inner.delete_stream(forgotten.boxed())
    }

    fn list(&self, prefix: Option<&StorePath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&StorePath>,
        offset: &StorePath,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&StorePath>) -> Result<ListResult> {
        measured("list", self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &StorePath, to: &StorePath, options: CopyOptions) -> Result<()> {
        measured("copy", self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &StorePath, to: &StorePath, options: RenameOptions) -> Result<()> {
        measured("rename", self.inner.rename_opts(from, to, options)).await
    }
}

/// An upload in parts, measured part by part.
struct Upload(Box<dyn MultipartUpload>);

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upload")
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        measured("put_part", self.0.put_part(data)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        measured("complete_upload", self.0.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        measured("abort_upload", self.0.abort()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;

    #[tokio::test]
    async fn what_is_put_in_parts_is_whole() {
        let memory = Arc::new(InMemory::new());
        let remote = Remote::new(memory.clone(), &Url::parse("s3://bucket/lake").unwrap());
        let path = StorePath::from("lake/_delta_log/00000000000000000007.checkpoint.parquet");
        for size in [0, PUT_BYTES_MAX, PUT_BYTES_MAX + 1, 3 * PUT_BYTES_MAX - 1, 3 * PUT_BYTES_MAX] {
            let bytes: Bytes = (0..size).map(|at| (at / 1000) as u8).collect();
            remote.put(&path, bytes.clone().into()).await.unwrap();
            assert!(memory.get(&path).await.unwrap().bytes().await.unwrap() == bytes, "{size} bytes");
        }
    }

    #[tokio::test]
    async fn a_commit_is_read_from_the_store_once() {
        let memory = Arc::new(InMemory::new());
        let remote = Remote::new(memory.clone(), &Url::parse("s3://bucket/lake").unwrap());
        let path = StorePath::from("lake/_delta_log/00000000000000000007.json");
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        remote.put_opts(&path, "one".into(), create()).await.unwrap();
        assert_eq!(remote.list(None).count().await, 1);
        memory.delete(&path).await.unwrap();
        assert_eq!(remote.get(&path).await.unwrap().bytes().await.unwrap(), "one");
        // Another one under that name, and a listing that tells.
        memory.put(&path, "two".into()).await.unwrap();
        assert_eq!(remote.list(None).count().await, 1);
        assert_eq!(remote.get(&path).await.unwrap().bytes().await.unwrap(), "two");
        remote.delete(&path).await.unwrap();
        assert!(remote.get(&path).await.is_err());
    }
}
