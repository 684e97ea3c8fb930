//! What a process does. Data, so that one node is started and stopped in one way, whatever it does.

/// The roles of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Takes events and appends them to the log.
    pub ingest: bool,
    /// Brings the log's records to the lake.
    pub sink: bool,
    /// Keeps rollups of them, if any is configured.
    pub process: bool,
}

impl Roles {
    /// `playhead up`
    pub const ALL: Roles = Roles { ingest: true, sink: true, process: true };
    /// `playhead ingest`
    pub const INGEST: Roles = Roles { ingest: true, sink: false, process: false };
    /// `playhead sink`
    pub const SINK: Roles = Roles { ingest: false, sink: true, process: false };
    /// `playhead process`
    pub const PROCESS: Roles = Roles { ingest: false, sink: false, process: true };

    /// The command that starts them.
    pub fn command(self) -> &'static str {
        match self {
            Roles::INGEST => "ingest",
            Roles::SINK => "sink",
            Roles::PROCESS => "process",
            _ => "up",
        }
    }

    /// Whether one of them writes tables.
    pub fn write_lake(self) -> bool {
        self.sink || self.process
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let roles = [("ingest", self.ingest), ("sink", self.sink), ("process", self.process)];
        roles.into_iter().filter(|(_, has)| *has).map(|(name, _)| name)
    }
}
