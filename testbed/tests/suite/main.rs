//! The servers and the proxy, as tests of other rooms use them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]
mod broker;
mod ends_with_the_test;
mod proxy;
mod secured;
mod store;
