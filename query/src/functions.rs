//! What DataFusion does not know of ids: functions between 16 bytes and their text, named as MySQL names them, and that both
//! compare.
use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use datafusion::common::cast::{as_binary_array, as_string_array};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{ColumnarValue, Expr, ExprSchemable, ScalarUDF, Volatility, create_udf};
use datafusion::optimizer::AnalyzerRule;
use datafusion::sql::sqlparser::ast::BinaryOperator;
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

/// Compares ids, which are bytes, with their text: else no row would match, in silence.
#[derive(Debug)]
pub(crate) struct IdsAsText;

impl ExprPlanner for IdsAsText {
    fn plan_binary_op(&self, mut raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let is_bytes = |side: &Expr| side.get_type(schema).is_ok_and(|data_type| data_type == DataType::Binary);
        if matches!(raw.op, BinaryOperator::Eq | BinaryOperator::NotEq) {
            if is_bytes(&raw.left) {
                raw.right = as_id(raw.right)?;
            } else if is_bytes(&raw.right) {
                raw.left = as_id(raw.left)?;
            }
        }
        Ok(PlannerResult::Original(raw))
    }
}

/// The same of `IN (...)`, which no planner is asked for: after the types were made alike, which takes a text for its letters.
#[derive(Debug)]
pub(crate) struct IdsInLists;

impl AnalyzerRule for IdsInLists {
    fn name(&self) -> &str {
        "ids_in_lists"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            plan.map_expressions(|expression| expression.transform_up(|expression| in_ids(expression, &schema)))
        });
        Ok(rewritten?.data)
    }
}

fn in_ids(expression: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expression {
        Expr::InList(mut of) if of.expr.get_type(schema).is_ok_and(|of| of == DataType::Binary) => {
            of.list = of.list.into_iter().map(|item| as_id(text_of(item))).collect::<Result<_>>()?;
            Ok(Transformed::yes(Expr::InList(of)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// The text that was written where bytes are wanted.
fn text_of(item: Expr) -> Expr {
    match item {
        Expr::Cast(cast) if matches!(*cast.expr, Expr::Literal(ScalarValue::Utf8(Some(_)), _)) => *cast.expr,
        Expr::Literal(ScalarValue::Binary(Some(bytes)), metadata) if bytes.len() != 16 => {
            match String::from_utf8(bytes) {
                Ok(text) => Expr::Literal(ScalarValue::Utf8(Some(text)), metadata),
                Err(error) => Expr::Literal(ScalarValue::Binary(Some(error.into_bytes())), metadata),
            }
        }
        other => other,
    }
}

/// A text as the bytes of its UUID; any other expression as it is.
fn as_id(expression: Expr) -> Result<Expr> {
    match expression {
        Expr::Literal(ScalarValue::Utf8(Some(text)), metadata) => {
            let id = Uuid::parse_str(&text).map_err(|error| {
                DataFusionError::Plan(format!("an id is compared with {text:?}, which is no UUID: {error}"))
            })?;
            Ok(Expr::Literal(ScalarValue::Binary(Some(id.into_bytes().to_vec())), metadata))
        }
        other => Ok(other),
    }
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
