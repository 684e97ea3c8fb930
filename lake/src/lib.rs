//! Delta tables: create, read positions, write files, commit by compare-and-swap, lease, upkeep.
pub mod location;
pub mod table;
pub mod upkeep;
pub mod tables;
