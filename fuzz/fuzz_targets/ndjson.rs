//! A body of one object a line.
#![no_main]

use event::decode::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| properties::check(Format::Ndjson, body));
