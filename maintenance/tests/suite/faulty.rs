//! A store with a fault at one of its writes.
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// What happens at one of the writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies.
    Before(usize),
    /// The process dies when it is done.
    After(usize),
    /// It is not done, and the answer is an error.
    Refused(usize),
    /// It is done, and the answer is an error.
    Unanswered(usize),
}

/// A store with a fault at one of its writes.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    fault: Fault,
    pub writes: Mutex<Vec<String>>,
    pub died: Notify,
}

fn trouble() -> object_store::Error {
    object_store::Error::Generic { store: "Faulty", source: Box::new(std::io::Error::other("connection reset")) }
}

impl Faulty {
    pub fn over(inner: Arc<dyn ObjectStore>, fault: Fault) -> Arc<Faulty> {
        Arc::new(Faulty { inner, fault, writes: Mutex::default(), died: Notify::new() })
    }

    async fn die_if(&self, now: Fault) {
        if self.fault == now {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let at = {
            let mut writes = self.writes.lock().unwrap();
            writes.push(location.to_string());
            writes.len()
        };
        self.die_if(Fault::Before(at)).await;
        if self.fault == Fault::Refused(at) {
            return Err(trouble());
        }
        let put = self.inner.put_opts(location, payload, options).await;
        self.die_if(Fault::After(at)).await;
        if self.fault == Fault::Unanswered(at) { Err(trouble()) } else { put }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
