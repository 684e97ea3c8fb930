//! Where `scripts/setup servers` puts the servers. Versions and folders are read out of `scripts/environment`.
use std::path::PathBuf;

const ENVIRONMENT: &str = include_str!("../../scripts/environment");

/// Value of the line `NAME=value` of `scripts/environment`.
fn constant(name: &str) -> &'static str {
    ENVIRONMENT
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("scripts/environment has no line {name}="))
}

/// `$XDG_CACHE_HOME/playhead`, as the scripts have it.
fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = set("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")));
    base.expect("HOME is not set: no folder of installed servers").join("playhead")
}

/// Folder of the broker: `libs/`, `formatted/` and perhaps `classes.jsa`.
pub(crate) fn kafka() -> PathBuf {
    there(cache().join(format!("kafka-{}", constant("KAFKA_VERSION"))))
}

/// The store's program.
pub(crate) fn minio() -> PathBuf {
    there(cache().join(format!("minio-{}", constant("MINIO_VERSION"))).join("minio"))
}

fn there(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is not there: scripts/setup servers installs it", path.display());
    path
}
