//! Folding: records are decoded and sifted as they come, gathered, and folded into every rollup at once; then the memory of
//! what is open is bounded.
use super::Processor;
use crate::Error;
use crate::gathered::{Gathered, Record, Start};
use crate::limits::{EVENTS_A_LOOK, GATHERED_BYTES_IN_ALL_MAX, SHRUNK_A_LOOK};
use crate::reading::{Sifted, sift};
use crate::rollup::Events;
use crate::telemetry;
use event::codec;
use log::Entry;

impl Processor {
    /// Takes a record of the log.
    pub(super) fn record(&mut self, entry: &Entry) -> Result<(), Error> {
        let Some(partition) = self.partitions.get(&entry.partition) else { return Ok(()) };
        if entry.offset < partition.next {
            return Ok(());
        }
        if entry.offset > partition.next && self.log.is_gapless() {
            let (number, offset, next) = (entry.partition, entry.offset, partition.next);
            self.offset_error(format!("partition {number}: record {offset} came where {next} was due"));
            return Ok(());
        }
        self.offset_errors = 0;
        if partition.gathered.as_ref().is_some_and(|gathered| gathered.ends_before(entry.offset)) {
            self.fold(entry.partition)?;
        }
        let record = self.read(entry)?;
        self.gather(record)
    }

    /// Its events that are no copies.
    fn read(&mut self, entry: &Entry) -> Result<Record, Error> {
        let Entry { partition: number, offset, .. } = *entry;
        let at = codec::Place { topic: &self.topic, partition: number, offset, timestamp: entry.timestamp };
        let decoded = codec::decode(&entry.record, at, self.bounds);
        let Some(partition) = self.partitions.get_mut(&number) else {
            return Err(Error::Broken(format!("partition {number} is read, and not assigned")));
        };
        let start = Start { offset, dedup: partition.window.start_offset().unwrap_or(offset) };
        let Sifted { kept, duplicates, times } =
            sift(&decoded.batch, offset, &mut partition.window).map_err(Error::Broken)?;
        let next = offset + 1;
        (partition.next, partition.ended_at) = (next, None);
        partition.received = times.map(|times| times.received).or(partition.received);
        telemetry::read(kept.num_rows(), duplicates);
        let next = Start { offset: next, dedup: partition.window.start_offset().unwrap_or(next) };
        let (fingerprint, bytes) = (entry.record.fingerprint(), entry.record.bytes());
        Ok(Record { partition: number, start, next, fingerprint, kept, times, bytes })
    }

    /// Holds it with those before it, and folds them when they are enough.
    fn gather(&mut self, record: Record) -> Result<(), Error> {
        let (number, offset) = (record.partition, record.start.offset);
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
        let is_full = match &mut partition.gathered {
            Some(gathered) => {
                gathered.add(record);
                gathered.is_full()
            }
            none => {
                let turns = self.rollups.iter().filter_map(|rollup| rollup.kept.turns_at(number, offset));
                none.insert(Gathered::new(record, turns.min())).is_full()
            }
        };
        if is_full {
            self.fold(number)?;
        }
        let held = self.partitions.values().filter_map(|partition| partition.gathered.as_ref());
        match held.map(Gathered::bytes).sum::<usize>() >= GATHERED_BYTES_IN_ALL_MAX {
            true => self.fold_all(),
            false => Ok(()),
        }
    }

    /// Folds all that was read.
    pub(super) fn fold_all(&mut self) -> Result<(), Error> {
        let numbers: Vec<u32> = self.partitions.keys().copied().collect();
        numbers.into_iter().try_for_each(|partition| self.fold(partition))
    }

    /// Folds what was read of a partition.
    fn fold(&mut self, partition: u32) -> Result<(), Error> {
        let now = self.now();
        let gathered = self.partitions.get_mut(&partition).and_then(|partition| partition.gathered.take());
        let Some(gathered) = gathered else { return Ok(()) };
        let (span, batches) = gathered.into_parts();
        let events = Events::new(batches)?;
        self.folded_since_look += events.rows();
        for rollup in &mut self.rollups {
            let counted = rollup.kept.take(&span, &events, now)?;
            rollup.has_changed = true;
            if counted.new > 0 {
                rollup.unshown = rollup.unshown.or(span.times.map(|times| times.received_first));
            }
            telemetry::counted(&rollup.name, counted);
        }
        if self.folded_since_look >= EVENTS_A_LOOK {
            self.folded_since_look = 0;
            self.bound_memory()?;
        }
        Ok(())
    }

    /// Puts groups together until open windows fit into the memory that they may take: some windows at a look, since each
    /// step goes over all that is held.
    fn bound_memory(&mut self) -> Result<(), Error> {
        for _ in 0..SHRUNK_A_LOOK {
            let bytes = self.rollups.iter().map(|rollup| rollup.kept.fold().bytes());
            let mut by_size: Vec<(usize, usize)> = bytes.enumerate().map(|(index, bytes)| (bytes, index)).collect();
            if by_size.iter().map(|(bytes, _)| bytes).sum::<usize>() <= self.open_bytes_max {
                return Ok(());
            }
            by_size.sort_unstable_by(|one, other| other.cmp(one));
            let mut shrunk = false;
            for (_, index) in by_size {
                shrunk = self.rollups[index].kept.shrink()?;
                if shrunk {
                    break;
                }
            }
            // Windows of one group each are as small as they get.
            if !shrunk {
                return Ok(());
            }
        }
        Ok(())
    }
}
