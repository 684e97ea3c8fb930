//! Why a node did not start, or stopped.
use crate::storage;
use std::net::SocketAddr;

/// The reasons, by what a person would look at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] crate::data_dir::Error),
    /// What this process may use of the machine.
    #[error("{0}")]
    Machine(String),
    /// The log's place.
    #[error(transparent)]
    OpenLog(#[from] storage::OpenError),
    /// An address is taken.
    #[error("{address} can't be listened on: {reason}; choose another with {option}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The option that sets it.
        option: &'static str,
        /// The system's words.
        reason: std::io::Error,
    },
    /// The edge stopped by itself.
    #[error("ingest stopped: {0}")]
    Ingest(#[from] ingest::Error),
    /// The sink stopped by itself.
    #[error("sink stopped: {0}")]
    Sink(#[from] sink::Error),
    /// The processor stopped by itself.
    #[error("processor stopped: {0}")]
    Process(#[from] processor::Error),
    /// The log could not be closed cleanly.
    #[error("log could not be closed: {0}")]
    CloseLog(log::AppendError),
    /// The log could not be trimmed: its disk is not to be trusted.
    #[error("log could not be trimmed: {0}")]
    Retain(log::ReadError),
    /// A role panicked, or its time to stop ran out.
    #[error("{0}")]
    Role(String),
}
