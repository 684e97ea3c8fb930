//! Expressions over data that they may fail on: where one does, its value is null, and counted.
//!
//! `1 / 0`, or a cast of a text that is no number, fails a query as a whole; events come from everywhere, and one of them
//! must not stop the others. (DuckDB calls this `TRY`.) A filter that is null takes its row for one that does not count.
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_schema::ArrowError;
use arrow_select::concat::concat;
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;

/// The value of each row; `failed` counts those that are null because the expression failed on them.
pub(super) fn evaluate(expression: &dyn PhysicalExpr, batch: &RecordBatch, failed: &mut u64) -> Result<ArrayRef> {
    let mut parts = Vec::new();
    by_halves(expression, batch, &mut parts, failed)?;
    match parts.as_slice() {
        [whole] => Ok(whole.clone()),
        parts => Ok(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?),
    }
}

/// What fails as a whole is tried by halves: rows that fail are as rare as they are odd.
fn by_halves(
    expression: &dyn PhysicalExpr,
    batch: &RecordBatch,
    parts: &mut Vec<ArrayRef>,
    failed: &mut u64,
) -> Result<()> {
    let rows = batch.num_rows();
    match expression.evaluate(batch).and_then(|value| value.into_array(rows)) {
        Ok(values) => parts.push(values),
        Err(error) if !is_of_data(&error) => return Err(error),
        Err(_) if rows <= 1 => {
            *failed += rows as u64;
            parts.push(new_null_array(&expression.data_type(&batch.schema())?, rows));
        }
        Err(_) => {
            let half = rows / 2;
            by_halves(expression, &batch.slice(0, half), parts, failed)?;
            by_halves(expression, &batch.slice(half, rows - half), parts, failed)?;
        }
    }
    Ok(())
}

/// Whether other rows may do better. What is wrong with the plan or the machine is wrong for all.
fn is_of_data(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::Execution(_) => true,
        DataFusionError::ArrowError(error, _) => matches!(
            **error,
            ArrowError::CastError(_)
                | ArrowError::ParseError(_)
                | ArrowError::ComputeError(_)
                | ArrowError::DivideByZero
                | ArrowError::ArithmeticOverflow(_)
                | ArrowError::InvalidArgumentError(_)
        ),
        _ => false,
    }
}
