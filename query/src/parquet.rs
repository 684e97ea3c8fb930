//! A Delta table as DataFusion scans it: the files of one snapshot, less those whose statistics say that no row matches.
use arrow_array::{ArrayRef, BooleanArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, Statistics, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use lake::table::{Error, FileStatistics, Table};
use std::collections::HashSet;
use std::sync::Arc;

/// The protocol lets writers cut a largest timestamp to its milliseconds: this much may be missing, µs.
const CUT_US: i64 = 999;

/// A snapshot.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Of its store.
    url: ObjectStoreUrl,
    schema: TableSchema,
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    file: PartitionedFile,
    rows: Option<u64>,
    statistics: FileStatistics,
}

impl Snapshot {
    /// Of a table whose store is known under this URL.
    pub(crate) async fn of(table: &Table, url: ObjectStoreUrl) -> Result<Snapshot, Error> {
        let (whole, columns) = (table.schema(), table.partition_columns());
        let partition_fields: Vec<Arc<Field>> =
            columns.iter().filter_map(|name| whole.fields().find(name)).map(|(_, field)| field.clone()).collect();
        let mut files = Vec::new();
        for (file, statistics) in table.files_with_statistics().await? {
            let value = |field: &Arc<Field>| {
                let text = file.partition_values.get(field.name()).cloned().flatten();
                scalar(text, field.data_type()).ok_or_else(|| Error::Broken {
                    table: table.name().to_owned(),
                    reason: format!("file {} is in no {}", file.path, field.name()),
                })
            };
            let values = partition_fields.iter().map(value).collect::<Result<Vec<_>, _>>()?;
            let at = PartitionedFile::new(file.path.clone(), file.bytes).with_partition_values(values);
            files.push(File { file: at, rows: file.rows, statistics });
        }
        let schema = TableSchema::builder(table.data_schema()).with_table_partition_cols(partition_fields).build();
        Ok(Snapshot { url, schema, files })
    }

    /// The files that may hold rows for which all of these are true.
    fn that_may_match(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<&File>> {
        let Some(filter) = conjunction(filters.to_vec()) else { return Ok(self.files.iter().collect()) };
        let schema = self.schema();
        let filter = state.create_physical_expr(filter, &DFSchema::try_from(schema.clone())?)?;
        let predicate = PruningPredicateBuilder::new().with_file_schema(schema).build(filter);
        let Some(predicate) = predicate else { return Ok(self.files.iter().collect()) };
        let keep = predicate.prune(self)?;
        Ok(self.files.iter().zip(keep).filter(|(_, keep)| *keep).map(|(file, _)| file).collect())
    }

    /// A bound of a column in each file; null where nothing is known.
    fn bounds(&self, column: &str, bound: impl Fn(&FileStatistics) -> Option<String>, cut_us: i64) -> Option<ArrayRef> {
        let (schema, partitions) = (self.schema(), self.schema.table_partition_cols());
        let data_type = schema.field_with_name(column).ok()?.data_type().clone();
        let partition = partitions.iter().position(|field| field.name() == column);
        let of = |file: &File| match partition {
            Some(at) => file.file.partition_values.get(at).cloned(),
            None => scalar(bound(&file.statistics), &data_type).map(|value| later(value, cut_us)),
        };
        let values: Option<Vec<ScalarValue>> = self.files.iter().map(of).collect();
        ScalarValue::iter_to_array(values?).ok()
    }

    fn counts(&self, of: impl Fn(&File) -> Option<u64>) -> ArrayRef {
        Arc::new(self.files.iter().map(of).collect::<UInt64Array>())
    }
}

/// A value as the Delta log writes it; none is null. `None`: it is no such value.
fn scalar(text: Option<String>, data_type: &DataType) -> Option<ScalarValue> {
    match text {
        Some(text) => ScalarValue::try_from_string(text, data_type).ok(),
        None => ScalarValue::try_from(data_type).ok(),
    }
}

fn later(value: ScalarValue, by_us: i64) -> ScalarValue {
    match value {
        ScalarValue::TimestampMicrosecond(Some(time), zone) => {
            ScalarValue::TimestampMicrosecond(Some(time.saturating_add(by_us)), zone)
        }
        other => other,
    }
}

impl PruningStatistics for Snapshot {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column.name(), |statistics| statistics.min(column.name()), 0)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column.name(), |statistics| statistics.max(column.name()), CUT_US)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        Some(self.counts(|file| file.statistics.nulls(column.name())))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(self.counts(|file| file.rows))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[async_trait]
impl TableProvider for Snapshot {
    fn schema(&self) -> SchemaRef {
        self.schema.table_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.that_may_match(state, filters)?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema(), projection)?)));
        }
        let rows: Option<u64> = files.iter().map(|file| file.rows).sum();
        let known = |rows: Option<u64>, schema: &Schema| Statistics {
            num_rows: rows.map_or(Precision::Absent, |rows| Precision::Exact(rows as usize)),
            ..Statistics::new_unknown(schema)
        };
        let schema = self.schema();
        let group: FileGroup = files
            .iter()
            .map(|file| file.file.clone().with_statistics(Arc::new(known(file.rows, self.schema.file_schema()))))
            .collect();
        let config = FileScanConfigBuilder::new(self.url.clone(), Arc::new(ParquetSource::new(self.schema.clone())))
            .with_file_groups(group.split_files(state.config().target_partitions()))
            .with_statistics(known(rows, &schema))
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
