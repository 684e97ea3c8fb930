//! The crate by its public ends.
// The settings of clippy.toml spare functions marked #[test] only, not what these share.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod codec;
mod codec_foreign;
mod codec_hostile;
mod decoding;
mod dedup;
mod samples;
