//! The file of acknowledged ids, and what became of each.
use super::ledger::Ledger;
use crate::outcome::Error;
use std::io::BufRead;
use std::path::Path;
use uuid::Uuid;

/// Where an acknowledged id was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nowhere,
    InLog,
    InLake,
}

/// Acknowledged ids, sorted, each once.
#[derive(Debug, Default)]
pub struct Acked {
    ids: Vec<u128>,
    found: Vec<Found>,
}

impl Acked {
    /// Reads one UUID a line. A torn last line (the writer was killed) is left out: it was never fully reported.
    pub fn read(path: &Path) -> Result<Acked, Error> {
        let failed = |reason: String| Error::from(format!("{}: {reason}", path.display()));
        let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
        let mut reader = std::io::BufReader::new(file);
        let (mut ids, mut line, mut number) = (Vec::new(), String::new(), 0u64);
        while reader.read_line(&mut line).map_err(|error| failed(error.to_string()))? > 0 {
            number += 1;
            if !line.ends_with('\n') {
                break;
            }
            if !line.trim().is_empty() {
                let id = Uuid::try_parse(line.trim()).map_err(|error| failed(format!("line {number}: {error}")))?;
                ids.push(id.as_u128());
            }
            line.clear();
        }
        ids.sort_unstable();
        ids.dedup();
        let found = vec![Found::Nowhere; ids.len()];
        Ok(Acked { ids, found })
    }

    /// Marks those that the ledger's pass has.
    pub fn mark_found(&mut self, ledger: &Ledger) {
        for (id, found) in self.ids.iter().zip(&mut self.found) {
            if ledger.covers(*id) && ledger.has_id(*id) {
                *found = Found::InLake;
            }
        }
    }

    /// Marks an id that is in the log, above the lake's position.
    pub fn mark_pending(&mut self, id: u128) {
        if let Ok(index) = self.ids.binary_search(&id)
            && self.found[index] == Found::Nowhere
        {
            self.found[index] = Found::InLog;
        }
    }

    fn count(&self, what: Found) -> u64 {
        self.found.iter().filter(|found| **found == what).count() as u64
    }

    /// Distinct ids of the file.
    pub fn distinct(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Ids that are nowhere.
    pub fn missing(&self) -> u64 {
        self.count(Found::Nowhere)
    }

    /// Those that are nowhere.
    pub fn missing_ids(&self) -> impl Iterator<Item = Uuid> {
        let nowhere = self.ids.iter().zip(&self.found).filter(|(_, found)| **found == Found::Nowhere);
        nowhere.map(|(id, _)| Uuid::from_u128(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::ledger::Place;
    use event::dedup::Key;

    #[test]
    fn an_id_is_missing_unless_lake_or_log_has_it() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        let ids: Vec<Uuid> = (1..=3u128).map(Uuid::from_u128).collect();
        let text: String = ids.iter().map(|id| format!("{id}\n")).collect();
        std::fs::write(temp.path(), text + "00000000-0000-0000-00").unwrap();
        let mut acked = Acked::read(temp.path()).unwrap();
        let mut ledger = Ledger::new(1, 0);
        ledger.add(Key::new("default", ids[0].as_bytes()), Place { partition: 0, offset: 0, row: 0 });
        ledger.sort();
        acked.mark_found(&ledger);
        acked.mark_pending(2);
        acked.mark_pending(1);
        assert_eq!(acked.missing(), 1);
        assert_eq!(acked.missing_ids().collect::<Vec<_>>(), [ids[2]]);
    }

    #[test]
    fn a_line_that_is_no_uuid_is_an_error_with_its_number() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(temp.path(), "00000000-0000-0000-0000-000000000001\nnonsense\n").unwrap();
        let error = Acked::read(temp.path()).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
