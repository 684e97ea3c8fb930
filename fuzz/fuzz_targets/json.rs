//! A JSON body: an object, an array or an envelope.
#![no_main]

use event::decode::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| properties::check(Format::Json, body));
