//! A partial's groups as bytes: Arrow IPC streams, since tables have no type for some of the states.
//!
//! States are DataFusion's, and may be others in another version of it: the bytes name the version, and a reader that has
//! another refuses them. Its windows are computed from the events then.
use crate::fold::partial_schema;
use crate::rollup::Plan;
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType};
use std::collections::HashMap;
use std::sync::Arc;

/// Groups of one value of the table: 32 MB where each has two sketches of 4 KiB.
const GROUPS_A_VALUE: usize = 4_096;

/// Key of the stream's metadata.
const VERSION: &str = "playhead.partial";

fn version() -> String {
    format!("1, datafusion {}", datafusion::DATAFUSION_VERSION)
}

/// Why bytes are not merged.
#[derive(Debug)]
pub(crate) enum Undecodable {
    /// Another version wrote them.
    Version(String),
    /// They are not what was written.
    Broken(ArrowError),
}

/// So many groups a value; at least one value.
pub(crate) fn encode(groups: &RecordBatch) -> Result<Vec<Vec<u8>>, ArrowError> {
    let rows = groups.num_rows();
    let metadata = HashMap::from([(VERSION.to_owned(), version())]);
    let schema = Arc::new(groups.schema().as_ref().clone().with_metadata(metadata));
    let value = |from: usize| {
        let part = groups.slice(from, GROUPS_A_VALUE.min(rows - from));
        let columns = part.columns().iter().map(compact).collect();
        let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
        writer.write(&RecordBatch::try_new(schema.clone(), columns)?)?;
        writer.into_inner()
    };
    (0..rows.max(1)).step_by(GROUPS_A_VALUE).map(value).collect()
}

/// A stream has all of the buffers that views look at, also those of other rows.
fn compact(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => column.clone(),
    }
}

/// What was encoded, for this plan.
pub(crate) fn decode(plan: &Plan, bytes: &[u8]) -> Result<Vec<RecordBatch>, Undecodable> {
    let mut reader = StreamReader::try_new(bytes, None).map_err(Undecodable::Broken)?;
    let written = reader.schema().metadata().get(VERSION).cloned().unwrap_or_default();
    if written != version() {
        return Err(Undecodable::Version(written));
    }
    let wanted =
        partial_schema(plan).map_err(|error| Undecodable::Broken(ArrowError::from_external_error(Box::new(error))))?;
    if reader.schema().fields() != wanted.fields() {
        return Err(Undecodable::Version(format!("{written}, of other columns")));
    }
    reader.try_fold(Vec::new(), |mut batches, batch| {
        batches.push(batch.map_err(Undecodable::Broken)?);
        Ok(batches)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollup::Definition;
    use arrow_array::{StringViewArray, UInt64Array, new_null_array};

    /// Every default rollup, whose states are of all kinds that tables have no type for.
    async fn plans() -> Vec<Arc<Plan>> {
        let mut plans = Vec::new();
        for definition in Definition::defaults() {
            plans.push(Arc::new(Plan::new(&definition).await.unwrap()));
        }
        plans
    }

    fn empty(plan: &Arc<Plan>) -> RecordBatch {
        RecordBatch::new_empty(partial_schema(plan).unwrap())
    }

    #[tokio::test]
    async fn an_empty_partial_reads_back_and_one_of_another_rollup_does_not() {
        let plans = plans().await;
        for (at, plan) in plans.iter().enumerate() {
            let values = encode(&empty(plan)).unwrap();
            assert_eq!(values.len(), 1);
            let rows: usize = decode(plan, &values[0]).unwrap().iter().map(RecordBatch::num_rows).sum();
            assert_eq!(rows, 0);
            let other = &plans[(at + 1) % plans.len()];
            assert!(matches!(decode(other, &values[0]), Err(Undecodable::Version(_))));
        }
    }

    #[tokio::test]
    async fn many_groups_are_several_values_of_which_each_has_its_own_alone() {
        let plan = plans().await.remove(0);
        let (schema, rows) = (partial_schema(&plan).unwrap(), 2 * GROUPS_A_VALUE + 1);
        let key = |row: usize| format!("a key that is longer than a view holds {row}");
        let column = |field: &Arc<arrow_schema::Field>| -> ArrayRef {
            match field.data_type() {
                DataType::Utf8View => Arc::new(StringViewArray::from_iter_values((0..rows).map(key))),
                DataType::UInt64 => Arc::new(UInt64Array::from_iter_values(0..rows as u64)),
                other => new_null_array(other, rows),
            }
        };
        let groups = RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap();
        let values = encode(&groups).unwrap();
        assert_eq!(values.len(), 3);
        assert!(values[2].len() * 100 < values[0].len(), "{} bytes of one group", values[2].len());
        let read: Vec<RecordBatch> = values.iter().flat_map(|value| decode(&plan, value).unwrap()).collect();
        let read = read.iter().map(|batch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).unwrap());
        assert_eq!(arrow_select::concat::concat_batches(&schema, &read.collect::<Vec<_>>()).unwrap(), groups);
    }

    #[tokio::test]
    async fn bytes_of_another_version_are_told_from_broken_ones() {
        let plan = plans().await.remove(0);
        let schema = partial_schema(&plan).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        writer.write(&empty(&plan)).unwrap();
        assert!(matches!(decode(&plan, &writer.into_inner().unwrap()), Err(Undecodable::Version(_))));
        assert!(matches!(decode(&plan, b"no stream"), Err(Undecodable::Broken(_))));
    }
}
