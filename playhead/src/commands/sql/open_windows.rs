//! Open windows, from the node that holds them in its memory.
use crate::admin_client::AdminClient;
use crate::config::Config;
use crate::node::admin::MISSING;
use crate::storage::LogPlace;
use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use async_trait::async_trait;
use axum::http::StatusCode;
use query::OpenWindows;
use std::time::Duration;

/// Rows of a rollup's open windows: a million groups of 200 bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Longer than a node's own patience with its processor, whose words say more.
const PATIENCE: Duration = Duration::from_secs(20);

/// The node of this machine; `None`: none has said where it is.
#[derive(Debug)]
pub struct Node(Option<AdminClient>);

impl Node {
    /// The one that owns the log; over Kafka the one at `admin.listen`.
    pub fn new(log: &LogPlace, config: &Config) -> Node {
        let admin = match log.owned() {
            Some(data) => data.running().map(|node| node.admin),
            None => Some(config.admin.listen.to_string()),
        };
        Node(admin.map(AdminClient::new))
    }
}

#[async_trait]
impl OpenWindows for Node {
    async fn rows(&self, rollup: &str) -> Result<Vec<RecordBatch>, String> {
        let held = "open windows are in the memory of the process that keeps them (playhead up, or process)";
        let Some(node) = &self.0 else { return Err(format!("{held}, and no such node runs here")) };
        let answered = node.exchange(&format!("/v1/rollups/{rollup}"), ANSWER_BYTES_MAX, PATIENCE).await;
        let (status, headers, body) = answered.map_err(|reason| {
            let address = &node.address;
            format!(
                "{held}; at admin.listen ({address}) nobody answers: {reason}. Set it to that process's admin address"
            )
        })?;
        let missing = headers.get(MISSING).and_then(|missing| missing.to_str().ok()).unwrap_or_default();
        if !missing.is_empty() {
            let words = "open windows are without these partitions: nobody answers for them (live.peers), or they are read again";
            tracing::warn!(rollup, missing, words);
        }
        match status {
            StatusCode::NO_CONTENT => Ok(Vec::new()),
            StatusCode::OK => {
                let batches = StreamReader::try_new(body.as_ref(), None).and_then(Iterator::collect);
                batches.map_err(|error| format!("{} sent something else than rows: {error}", node.address))
            }
            StatusCode::NOT_FOUND if body.is_empty() => Err(format!(
                "{} keeps no rollups: set admin.listen to the admin address of a process that does",
                node.address
            )),
            other => Err(format!("{} answered {other}: {}", node.address, String::from_utf8_lossy(&body).trim())),
        }
    }
}
