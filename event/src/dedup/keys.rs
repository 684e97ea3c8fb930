//! Dedup keys of a decoded batch, row by row.
use super::{Key, tenant_hash};
use crate::schema::Column;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, FixedSizeBinaryArray, Int32Array, RecordBatch};

/// The columns of a batch that its keys are made of.
#[derive(Debug)]
pub struct Keys<'a> {
    /// By dictionary value.
    tenants: Vec<u64>,
    tenant_of_row: &'a Int32Array,
    ids: &'a FixedSizeBinaryArray,
}

impl<'a> Keys<'a> {
    /// Of a batch that [`crate::codec::decode`] made.
    ///
    /// # Errors
    /// Says in words what no such batch has: a row without a key, or columns of other types.
    pub fn of(batch: &'a RecordBatch) -> Result<Self, String> {
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

    /// The key of a row.
    ///
    /// # Errors
    /// Says in words that an id has not 16 bytes.
    pub fn key(&self, row: usize) -> Result<Key, String> {
        let tenant = self.tenants[self.tenant_of_row.value(row) as usize];
        let id: &[u8; 16] = self.ids.value(row).try_into().map_err(|_| "event_id has not 16 bytes")?;
        Ok(Key { tenant, id: u128::from_be_bytes(*id) })
    }
}
