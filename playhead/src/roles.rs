//! What a process does. Data, so that one node is started and stopped in one way, whatever it does.

/// The roles of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Takes events and appends them to the log.
    pub ingest: bool,
    /// Brings the log's records to the lake.
    pub sink: bool,
}

impl Roles {
    /// `playhead up`
    pub const ALL: Roles = Roles { ingest: true, sink: true };
    /// `playhead ingest`
    pub const INGEST: Roles = Roles { ingest: true, sink: false };
    /// `playhead sink`
    pub const SINK: Roles = Roles { ingest: false, sink: true };

    /// The command that starts them.
    pub fn command(self) -> &'static str {
        match self {
            Roles::INGEST => "ingest",
            Roles::SINK => "sink",
            _ => "up",
        }
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [("ingest", self.ingest), ("sink", self.sink)].into_iter().filter(|(_, has)| *has).map(|(name, _)| name)
    }
}
