//! The crate by its public ends.
mod codec;
mod codec_foreign;
mod codec_hostile;
mod decoding;
mod dedup;
mod samples;
