//! File descriptors: each connection takes one, and a log that can't open its next file stops. So connections never get
//! the last ones.
use super::admin;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for everything that is not a player's connection: the log's tables and journals (fjall caches 150 to 200 open
/// files and opens a few more) or its connections to brokers, Parquet files and commits under way, the admin server's
/// connections, the runtime.
const RESERVE: u64 = 512;

const _: () = assert!(RESERVE as usize >= 200 + admin::CONNECTIONS_MAX + 128);

/// Raises the soft limit to the hard one; returns what it is now.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    // None: unlimited.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections the edge may hold within `limit` open files: at most `wanted`.
///
/// # Errors
/// In words, when the limit leaves no room for any.
pub fn connections(wanted: usize, limit: u64) -> Result<usize, String> {
    allowed(wanted, limit).inspect(|allowed| {
        if *allowed < wanted {
            tracing::warn!(
                limit,
                connections = allowed,
                wanted,
                "the limit of open files allows fewer connections: raise it (ulimit -n)"
            );
        }
    })
}

fn allowed(wanted: usize, limit: u64) -> Result<usize, String> {
    match usize::try_from(limit.saturating_sub(RESERVE)).unwrap_or(usize::MAX) {
        0 => Err(format!(
            "at most {limit} files may be open (ulimit -n), and {RESERVE} are needed beside connections: raise it"
        )),
        room => Ok(wanted.min(room)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_get_the_last_descriptors() {
        assert_eq!(allowed(10_000, 1_024), Ok(512));
        assert_eq!(allowed(10_000, 1_000_000), Ok(10_000));
        assert!(allowed(10_000, 512).is_err());
    }
}
