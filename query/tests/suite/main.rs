//! Statements over tables that are written here, as a sink and a processor write them.
mod lake_tables;
mod rollups;
