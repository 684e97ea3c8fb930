//! One budget of bytes for all requests: a body that finds no room is refused, memory never grows past it.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that all requests together may hold.
#[derive(Debug)]
pub struct Budget {
    max: usize,
    used: AtomicUsize,
    /// The most that was ever held.
    #[cfg(test)]
    peak: AtomicUsize,
}

/// The budget has not that many bytes left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted;

impl Budget {
    /// A budget of `max` bytes.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Budget {
            max,
            used: AtomicUsize::new(0),
            #[cfg(test)]
            peak: AtomicUsize::new(0),
        })
    }

    /// The most that was ever held at once.
    #[cfg(test)]
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// An empty reservation.
    pub fn reserve(self: &Arc<Self>) -> Reserved {
        Reserved { budget: self.clone(), bytes: 0 }
    }
}

/// What one request holds of the budget; given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Reserved {
    /// Holds `bytes` more, or leaves everything as it is.
    pub fn add(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.budget.max);
        match self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_before) => {
                #[cfg(test)]
                self.budget.peak.fetch_max(_before + bytes, Ordering::Relaxed);
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => Err(Exhausted),
        }
    }

    /// Gives back all but `bytes`, if it holds more.
    pub fn shrink_to(&mut self, bytes: usize) {
        let back = self.bytes.saturating_sub(bytes);
        self.budget.used.fetch_sub(back, Ordering::Relaxed);
        self.bytes -= back;
    }

    /// Holds at least `bytes` in all.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if bytes > self.bytes { self.add(bytes - self.bytes) } else { Ok(()) }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_refused_over_the_budget_and_given_back_when_dropped() {
        let budget = Budget::new(100);
        let mut first = budget.reserve();
        first.add(60).unwrap();
        let mut second = budget.reserve();
        assert_eq!(second.add(41), Err(Exhausted));
        second.grow_to(40).unwrap();
        second.grow_to(30).unwrap();
        assert_eq!(first.add(1), Err(Exhausted));
        second.shrink_to(50);
        second.shrink_to(10);
        first.add(30).unwrap();
        drop(second);
        first.add(10).unwrap();
        drop(first);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
