//! delta-rs' log store for our commits: the one that puts a commit with a condition, in one request.
//!
//! Before each put delta-rs lists the log for a newer version. Where the put itself is refused when its version is
//! taken, and nothing is to be rebased (`max_retries(0)`), that listing decides nothing: it is left out, which is a
//! quarter of a commit's time over a network.
use async_trait::async_trait;
use bytes::Bytes;
use deltalake_core::DeltaResult;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::logstore::{CommitOrBytes, LogStore, LogStoreConfig, LogStoreRef, StorageConfig, default_logstore};
use object_store::ObjectStore;
use std::sync::Arc;
use url::Url;
use uuid::Uuid;

/// The log of one table.
struct ConditionalLog(LogStoreRef);

/// The log store of the table at `root` (it ends with a slash). `table` is the store as seen from there, `rooted` as
/// seen from the URL's root. No registry of schemes is asked, so none can hand out one that copies or renames.
pub(crate) fn log_store(table: Arc<dyn ObjectStore>, rooted: Arc<dyn ObjectStore>, root: &Url) -> LogStoreRef {
    Arc::new(ConditionalLog(default_logstore(table, rooted, root, &StorageConfig::default())))
}

#[async_trait]
impl LogStore for ConditionalLog {
    /// delta-rs tells by the name that commits are to be put, not copied.
    fn name(&self) -> String {
        self.0.name()
    }

    async fn read_commit_entry(&self, version: u64) -> DeltaResult<Option<Bytes>> {
        self.0.read_commit_entry(version).await
    }

    async fn write_commit_entry(
        &self,
        version: u64,
        commit: CommitOrBytes,
        operation_id: Uuid,
    ) -> Result<(), TransactionError> {
        self.0.write_commit_entry(version, commit, operation_id).await
    }

    async fn abort_commit_entry(
        &self,
        version: u64,
        commit: CommitOrBytes,
        operation_id: Uuid,
    ) -> Result<(), TransactionError> {
        self.0.abort_commit_entry(version, commit, operation_id).await
    }

    /// The version that a commit is built on: whether it is the newest is for the put to say.
    async fn get_latest_version(&self, start_version: u64) -> DeltaResult<u64> {
        Ok(start_version)
    }

    fn object_store(&self, operation_id: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.0.object_store(operation_id)
    }

    fn root_object_store(&self, operation_id: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.0.root_object_store(operation_id)
    }

    fn config(&self) -> &LogStoreConfig {
        self.0.config()
    }
}
