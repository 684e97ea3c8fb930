//! Which rows of a decoded record count: one rule, for everybody who reads the log.
use super::{Key, Window, tenant_hash};
use crate::codec;
use crate::date::Date;
use crate::schema::Column;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, FixedSizeBinaryArray, Int32Array, RecordBatch};

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Kept,
    /// Its key is among the previous N rows.
    Copy,
    /// Its event time is outside of the years 0001 to 9999: a dead letter.
    Dateless,
}

/// Lets the rows of the record at `offset` into the window, and says of each what it is. Every row goes in, kept or not.
///
/// # Errors
/// Says in words what no batch of [`codec::decode`] has: a row without a key, or columns of other types.
pub fn verdicts(batch: &RecordBatch, offset: u64, window: &mut Window) -> Result<Vec<Verdict>, String> {
    let keys = Keys::of(batch)?;
    let times = codec::times(batch, Column::EVENT_TIME)?;
    let verdict = |row| {
        Ok(match window.observe(offset, keys.key(row)?) {
            true => Verdict::Copy,
            false if Date::of(times[row]).is_none() => Verdict::Dateless,
            false => Verdict::Kept,
        })
    };
    (0..batch.num_rows()).map(verdict).collect()
}

/// The columns of a batch that its keys are made of.
struct Keys<'a> {
    /// By dictionary value.
    tenants: Vec<u64>,
    tenant_of_row: &'a Int32Array,
    ids: &'a FixedSizeBinaryArray,
}

impl<'a> Keys<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, String> {
        let dictionary = batch
            .column_by_name(Column::TENANT_ID.name())
            .and_then(|column| column.as_dictionary_opt::<Int32Type>())
            .ok_or("decoded batch has no dictionary column tenant_id")?;
        let tenants = dictionary.values().as_string_opt::<i32>().ok_or("tenant_id is no dictionary of strings")?;
        let ids = batch
            .column_by_name(Column::EVENT_ID.name())
            .and_then(|column| column.as_fixed_size_binary_opt())
            .ok_or("decoded batch has no column event_id of fixed size")?;
        if dictionary.null_count() > 0 || ids.null_count() > 0 || ids.value_length() != 16 {
            return Err("decoded batch has rows without a dedup key".to_owned());
        }
        let tenants = tenants.iter().map(|tenant| tenant_hash(tenant.unwrap_or_default())).collect();
        Ok(Keys { tenants, tenant_of_row: dictionary.keys(), ids })
    }

    fn key(&self, row: usize) -> Result<Key, String> {
        let tenant = self.tenants[self.tenant_of_row.value(row) as usize];
        let id: &[u8; 16] = self.ids.value(row).try_into().map_err(|_| "event_id has not 16 bytes")?;
        Ok(Key { tenant, id: u128::from_be_bytes(*id) })
    }
}
