//! Time as a parameter: who needs "now" takes a [`Clock`]; the binary passes the system's.

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// A wall clock. May jump in both directions; nothing exact may depend on it.
pub trait Clock: Send + Sync + 'static {
    /// The time now, UTC.
    fn now(&self) -> Micros;
}
