//! What is made once for many records: bounded, shared by all threads, and never anything but a function of its key.
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) struct Remembered<K, V> {
    entries: Mutex<HashMap<K, Arc<V>>>,
    entries_max: usize,
}

impl<K: Hash + Eq, V> Remembered<K, V> {
    pub(crate) fn new(entries_max: usize) -> Self {
        Remembered { entries: Mutex::default(), entries_max }
    }

    /// The value of `key`, made if it is not there. What fails is not remembered.
    pub(crate) fn get_or_make<Q, E>(&self, key: &Q, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(value) = self.lock().get(key) {
            return Ok(value.clone());
        }
        let value = Arc::new(make()?);
        let mut entries = self.lock();
        // Clients choose keys: when all places are taken, all are given up, and those that are in use come back.
        if entries.len() >= self.entries_max && !entries.contains_key(key) {
            entries.clear();
        }
        entries.insert(key.to_owned(), value.clone());
        Ok(value)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, Arc<V>>> {
        // An entry is there or it is not: a panic elsewhere leaves nothing half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_not_made_again_and_never_more_than_the_bound_is_kept() {
        let remembered: Remembered<Vec<u8>, u8> = Remembered::new(2);
        let get = |key: u8| *remembered.get_or_make([key].as_slice(), || Ok::<_, ()>(key)).unwrap();
        assert_eq!((get(1), get(2)), (1, 2));
        assert_eq!(remembered.get_or_make([1].as_slice(), || Err("made again")).map(|value| *value), Ok(1));
        assert_eq!(get(3), 3);
        assert!(remembered.lock().len() <= 2);
        assert_eq!(remembered.get_or_make([4].as_slice(), || Err("no such")), Err("no such"));
        assert_eq!(get(4), 4, "a failure is not remembered");
    }
}
