//! A column of strings of which most were there before: each value once, and its number in each row.
//!
//! Arrow's own builder hashes each string. A column of a batch has a few values (device types, countries, our own source),
//! so here a value is first compared with one that was seen lately: the last one of the same length and ends.
use super::size;
use arrow_array::builder::{ArrayBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Values that are remembered by their lengths and ends. A power of two.
const RECENT: usize = 16;
/// Room for values before it grows.
const VALUES_EXPECTED: usize = 16;
const VALUE_BYTES_EXPECTED: usize = 16;
/// No value yet.
const NONE: i32 = -1;

pub(crate) struct DictionaryBuilder {
    keys: PrimitiveBuilder<Int32Type>,
    values: StringBuilder,
    /// The values' keys by their hashes. Seeded: clients choose values.
    table: HashTable<i32>,
    hasher: DefaultHashBuilder,
    recent: [i32; RECENT],
}

impl DictionaryBuilder {
    /// With room for so many rows before it grows.
    pub(crate) fn with_capacity(rows: usize) -> Self {
        DictionaryBuilder {
            keys: PrimitiveBuilder::with_capacity(rows),
            values: StringBuilder::with_capacity(VALUES_EXPECTED, VALUES_EXPECTED * VALUE_BYTES_EXPECTED),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            recent: [NONE; RECENT],
        }
    }

    /// Rows so far.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn append_nulls(&mut self, rows: usize) {
        self.keys.append_nulls(rows);
    }

    /// Appends a row; returns the bytes that a new value takes in the record, 0 if it is not new. `None`: there are as
    /// many values as keys can count.
    pub(crate) fn append(&mut self, text: &str) -> Option<usize> {
        let slot = slot(text);
        let lately = self.recent[slot];
        if lately != NONE && value(&self.values, lately) == text.as_bytes() {
            self.keys.append_value(lately);
            return Some(0);
        }
        let hash = self.hasher.hash_one(text.as_bytes());
        let known = self.table.find(hash, |&key| value(&self.values, key) == text.as_bytes()).copied();
        let key = match known {
            Some(key) => key,
            None => {
                let key = i32::try_from(self.values.len()).ok()?;
                self.values.append_value(text);
                let (values, hasher) = (&self.values, &self.hasher);
                self.table.insert_unique(hash, key, |&key| hasher.hash_one(value(values, key)));
                key
            }
        };
        self.recent[slot] = key;
        self.keys.append_value(key);
        Some(if known.is_none() { size::dictionary_value_bytes(text) } else { 0 })
    }

    pub(crate) fn finish(mut self) -> ArrayRef {
        Arc::new(DictionaryArray::new(self.keys.finish(), Arc::new(self.values.finish())))
    }
}

/// Where a value of this length and these ends is remembered.
fn slot(text: &str) -> usize {
    let bytes = text.as_bytes();
    let ends = bytes.first().zip(bytes.last()).map_or(0, |(first, last)| usize::from(first ^ last.rotate_left(3)));
    (bytes.len() ^ ends) % RECENT
}

fn value(values: &StringBuilder, key: i32) -> &[u8] {
    let offsets = values.offsets_slice();
    &values.values_slice()[offsets[key as usize] as usize..offsets[key as usize + 1] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::{Array, StringArray};
    use proptest::prelude::*;

    fn built(rows: &[Option<String>]) -> (ArrayRef, usize) {
        let mut builder = DictionaryBuilder::with_capacity(0);
        let mut new_bytes = 0;
        for row in rows {
            match row {
                Some(text) => new_bytes += builder.append(text).unwrap(),
                None => builder.append_nulls(1),
            }
        }
        assert_eq!(builder.len(), rows.len());
        (builder.finish(), new_bytes)
    }

    proptest! {
        #[test]
        fn each_row_says_what_was_appended_and_each_value_is_there_once(
            rows in proptest::collection::vec(proptest::option::of("[ab\u{e9}]{0,3}|[a-z]{1,20}"), 0..200),
        ) {
            let (array, new_bytes) = built(&rows);
            let dictionary = array.as_dictionary::<Int32Type>();
            let said: Vec<Option<String>> = dictionary
                .downcast_dict::<StringArray>()
                .unwrap()
                .into_iter()
                .map(|text| text.map(str::to_owned))
                .collect();
            prop_assert_eq!(&said, &rows);
            let mut distinct: Vec<&String> = rows.iter().flatten().collect();
            distinct.sort();
            distinct.dedup();
            prop_assert_eq!(dictionary.values().len(), distinct.len());
            let expected: usize = distinct.iter().map(|text| size::dictionary_value_bytes(text)).sum();
            prop_assert_eq!(new_bytes, expected);
        }
    }
}
