//! Columns without any value, which share their zeroes.
//!
//! A client sends a third of the columns: were the others made for each record, their zeroes would be most of the memory
//! of what waits for a flush, and making them most of a small record's decoding.
use crate::remembered::Remembered;
use arrow_array::{Array, ArrayRef, new_null_array};
use arrow_schema::DataType;
use std::convert::Infallible;
use std::sync::LazyLock;

/// Rows of a shared column: most batches have fewer.
pub const SHARED_ROWS: usize = 8_192;
/// The schema's types are a dozen.
const TYPES_MAX: usize = 64;

/// Shared columns by type, at most some 130 KB each.
static SHARED: LazyLock<Remembered<DataType, ArrayRef>> = LazyLock::new(|| Remembered::new(TYPES_MAX));

/// Whether no row of an array has a value.
pub fn is_null(array: &dyn Array) -> bool {
    array.null_count() == array.len()
}

/// So many nulls of a type.
pub fn nulls(data_type: &DataType, rows: usize) -> ArrayRef {
    if rows > SHARED_ROWS {
        return new_null_array(data_type, rows);
    }
    let shared = SHARED.get_or_make(data_type, || Ok::<_, Infallible>(new_null_array(data_type, SHARED_ROWS)));
    let Ok(shared) = shared;
    shared.slice(0, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Column;

    #[test]
    fn a_column_of_nulls_has_its_type_and_its_rows_whether_it_is_shared_or_not() {
        for column in Column::all() {
            let data_type = column.kind().data_type();
            for rows in [0, 1, SHARED_ROWS, SHARED_ROWS + 1] {
                let nulls = nulls(&data_type, rows);
                assert_eq!((nulls.len(), nulls.null_count(), nulls.data_type()), (rows, rows, &data_type));
            }
        }
    }
}
