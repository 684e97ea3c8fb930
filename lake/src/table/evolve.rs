//! A table of an older version gets the columns that came since: nullable ones, at the end. Nothing else of a schema
//! changes: what is there keeps its name, its type and its rows, and readers of the old columns see what they saw.
use super::Table;
use crate::commit::strict;
use crate::error::{self, Error};
use arrow_schema::{FieldRef, Schema};
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake_core::kernel::transaction::CommitBuilder;
use deltalake_core::kernel::{Action, MetadataExt as _, StructField, StructType};
use deltalake_core::protocol::DeltaOperation;
use std::time::Duration;

/// Others that add columns at the same time: processes of a new version that start together.
const RACES_MAX: u32 = 20;
/// Longer after each further race.
const BACKOFF: Duration = Duration::from_millis(50);

impl Table {
    /// Adds the nullable columns of `wanted` that the table lacks.
    ///
    /// # Errors
    /// As [`Table::reload`]; a column without which rows can't be is [`Error::Incompatible`].
    pub async fn add_missing_columns(&mut self, wanted: &Schema) -> Result<(), Error> {
        for race in 0..RACES_MAX {
            let (missing, held): (Vec<FieldRef>, Vec<FieldRef>) =
                wanted.fields().iter().cloned().partition(|field| self.lacks(field));
            if missing.is_empty() {
                return Ok(());
            }
            // A table of something else is refused as it is.
            self.require(&Schema::new(held), &self.partition_columns)?;
            let names: Vec<_> = missing.iter().map(|field| field.name().clone()).collect();
            match self.put_columns(&missing).await {
                Ok(()) => tracing::info!(table = self.name, columns = names.join(", "), "columns added"),
                // Another one was first, or the reply was lost: what is there now says which.
                Err(error @ Error::Unavailable(_)) => {
                    tracing::info!(table = self.name, %error, "looking whether the columns are there");
                    tokio::time::sleep(BACKOFF * race).await;
                }
                Err(stop) => return Err(stop),
            }
            self.update().await?;
        }
        Err(Error::Unavailable(format!("{}: others changed it {RACES_MAX} times while columns were added", self.name)))
    }

    fn lacks(&self, field: &FieldRef) -> bool {
        field.is_nullable() && self.schema.field_with_name(field.name()).is_err()
    }

    async fn put_columns(&self, missing: &[FieldRef]) -> Result<(), Error> {
        let of_delta = |error: &dyn std::fmt::Display| Error::incompatible(&self.name, format!("add columns: {error}"));
        let new = missing.iter().map(|field| {
            let field: Result<StructField, _> = field.as_ref().try_into_kernel();
            field.map_err(|error| of_delta(&error))
        });
        let new: Vec<StructField> = new.collect::<Result<_, _>>()?;
        let held = self.state.schema();
        let schema =
            StructType::try_new(held.fields().cloned().chain(new.clone())).map_err(|error| of_delta(&error))?;
        let metadata = self.state.metadata().clone().with_schema(&schema).map_err(|error| of_delta(&error))?;
        let put = CommitBuilder::from(strict())
            .with_actions(vec![Action::Metadata(metadata)])
            .build(Some(&self.state), self.log.clone(), DeltaOperation::AddColumn { fields: new })
            .await;
        put.map(|_| ()).map_err(|error| error::delta(&self.name, "add columns", error))
    }
}
