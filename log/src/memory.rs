//! A log in memory, for tests, with faults by order.
