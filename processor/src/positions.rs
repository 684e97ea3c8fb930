//! The column `positions`: by partition of the log an offset, in tables that others read.
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, Int32Array, Int64Array, MapArray, StructArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType, Field, Fields};
use std::collections::BTreeMap;
use std::sync::Arc;

/// By partition, the next offset: everything below it is meant.
pub(crate) type Positions = BTreeMap<u32, u64>;

/// Whether everything below `wanted` is below `reached` too.
pub(crate) fn covers(reached: &Positions, wanted: &Positions) -> bool {
    wanted.iter().all(|(partition, next)| reached.get(partition).is_some_and(|reached| reached >= next))
}

/// The field as tables are made with it.
pub(crate) fn field() -> Field {
    let entry =
        Fields::from(vec![Field::new("key", DataType::Int32, false), Field::new("value", DataType::Int64, false)]);
    let entries = Field::new("key_value", DataType::Struct(entry), false);
    Field::new("positions", DataType::Map(Arc::new(entries), false), false)
}

/// One map a row, of the type that the table's column has: 12 bytes for each row and partition.
pub(crate) fn column<'a>(
    data_type: &DataType,
    rows: impl Iterator<Item = &'a Positions> + Clone,
) -> Result<MapArray, ArrowError> {
    let wrong = || ArrowError::SchemaError(format!("positions is of type {data_type}, not a map of offsets"));
    let DataType::Map(entries, _) = data_type else { return Err(wrong()) };
    let DataType::Struct(fields) = entries.data_type() else { return Err(wrong()) };
    let keys: Int32Array = rows.clone().flatten().map(|(partition, _)| *partition as i32).collect();
    let values: Int64Array = rows.clone().flatten().map(|(_, next)| *next as i64).collect();
    let held = StructArray::try_new(fields.clone(), vec![Arc::new(keys), Arc::new(values)], None)?;
    let offsets = OffsetBuffer::from_lengths(rows.map(BTreeMap::len));
    MapArray::try_new(entries.clone(), offsets, held, None, false)
}

/// What a row holds; `None`: no such map.
pub(crate) fn of_row(column: &dyn Array, row: usize) -> Option<Positions> {
    let entries = column.as_map_opt()?.value(row);
    let partitions = entries.column(0).as_primitive_opt::<Int32Type>()?;
    let next = entries.column(1).as_primitive_opt::<Int64Type>()?;
    let pairs = partitions.values().iter().zip(next.values());
    pairs.map(|(partition, next)| Some((u32::try_from(*partition).ok()?, u64::try_from(*next).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_reads_back_as_it_was_written(
            rows in prop::collection::vec(prop::collection::btree_map(0_u32..9, 0_u64..1_000_000, 0..5), 1..5),
        ) {
            let column = column(field().data_type(), rows.iter()).unwrap();
            let read: Vec<Positions> = (0..rows.len()).map(|row| of_row(&column, row).unwrap()).collect();
            prop_assert_eq!(read, rows);
        }
    }

    #[test]
    fn a_partition_that_was_not_reached_is_not_covered() {
        let at = |pairs: &[(u32, u64)]| pairs.iter().copied().collect::<Positions>();
        assert!(covers(&at(&[(0, 5), (1, 7)]), &at(&[(0, 5)])));
        assert!(!covers(&at(&[(0, 5), (1, 7)]), &at(&[(0, 5), (1, 8)])));
        assert!(!covers(&at(&[(0, 5)]), &at(&[(1, 1)])));
    }
}
