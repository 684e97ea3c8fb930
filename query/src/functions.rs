//! Functions beside DataFusion's own: ids between 16 bytes and their text. Named as MySQL names them.
use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use datafusion::common::cast::{as_binary_array, as_string_array};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use std::sync::Arc;
use uuid::Uuid;

/// All of them.
pub(crate) fn all() -> Vec<ScalarUDF> {
    let of = |name: &str, from: DataType, to: DataType, function: fn(&ArrayRef) -> Result<ArrayRef>| {
        let implementation = move |values: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(values)?;
            function(&arrays[0]).map(ColumnarValue::Array)
        };
        create_udf(name, vec![from], to, Volatility::Immutable, Arc::new(implementation))
    };
    vec![
        of("bin_to_uuid", DataType::Binary, DataType::Utf8, bin_to_uuid),
        of("uuid_to_bin", DataType::Utf8, DataType::Binary, uuid_to_bin),
    ]
}

/// The UUID of each id; null where it has not 16 bytes.
pub fn bin_to_uuid(values: &ArrayRef) -> Result<ArrayRef> {
    let mut texts = StringBuilder::new();
    for value in as_binary_array(values)? {
        let id = value.and_then(|value| Uuid::from_slice(value).ok());
        texts.append_option(id.map(|id| id.to_string()));
    }
    Ok(Arc::new(texts.finish()))
}

fn uuid_to_bin(values: &ArrayRef) -> Result<ArrayRef> {
    let mut ids = BinaryBuilder::with_capacity(values.len(), values.len() * 16);
    for value in as_string_array(values)? {
        let parse = |text: &str| {
            Uuid::parse_str(text).map_err(|error| DataFusionError::Execution(format!("{text:?} is no UUID: {error}")))
        };
        ids.append_option(value.map(parse).transpose()?);
    }
    Ok(Arc::new(ids.finish()))
}
