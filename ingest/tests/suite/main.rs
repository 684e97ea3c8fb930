//! The event edge over real TCP and a log in memory, in one test binary.
mod bodies;
mod client;
mod connections;
mod cors;
mod durability;
mod encodings;
mod load;
mod measures;
mod node;
mod posts;
mod shutdown;
