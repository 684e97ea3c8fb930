//! An upload in parts: they go straight to the temp file, so a large file holds no memory.
use super::{Result, Shared, Staged, blocking, failed};
use async_trait::async_trait;
use object_store::{MultipartUpload, PutPayload, PutResult, UploadPart};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One upload under way.
#[derive(Debug)]
pub(super) struct Upload {
    shared: Arc<Shared>,
    destination: PathBuf,
    staged: Option<Staged>,
    bytes: u64,
    written: Arc<AtomicU64>,
}

impl Upload {
    pub(super) fn new(shared: Arc<Shared>, destination: PathBuf, staged: Staged) -> Upload {
        Upload { shared, destination, staged: Some(staged), bytes: 0, written: Arc::default() }
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let file = self.staged.as_ref().map(|staged| staged.file.clone());
        let (mut at, destination) = (self.bytes, self.destination.clone());
        self.bytes += data.content_length() as u64;
        let written = self.written.clone();
        Box::pin(blocking(move || {
            let Some(file) = file else {
                return Err(failed("write to a finished upload of", &destination, ErrorKind::InvalidInput.into()));
            };
            for bytes in &data {
                file.write_all_at(bytes, at).map_err(|error| failed("write", &destination, error))?;
                at += bytes.len() as u64;
            }
            written.fetch_add(data.content_length() as u64, Ordering::AcqRel);
            Ok(())
        }))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let Some(staged) = self.staged.take() else {
            return Err(failed("finish twice", &self.destination, ErrorKind::InvalidInput.into()));
        };
        if self.written.load(Ordering::Acquire) != self.bytes {
            return Err(failed("finish with parts missing", &self.destination, ErrorKind::InvalidData.into()));
        }
        let (shared, destination) = (self.shared.clone(), self.destination.clone());
        blocking(move || shared.publish(staged, &destination, true)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let staged = self.staged.take();
        blocking(move || {
            drop(staged);
            Ok(())
        })
        .await
    }
}
