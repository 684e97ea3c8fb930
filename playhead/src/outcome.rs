//! How a command ends.
use std::process::ExitCode;

/// Any failure that keeps a command from doing its work (exit code 2).
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// How a command that did its work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Right,
    /// Exit code 1: done, and what it found is wrong.
    Wrong,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Right => ExitCode::SUCCESS,
            Outcome::Wrong => ExitCode::from(1),
        }
    }
}
