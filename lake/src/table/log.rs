//! The table's log: whether it has news, a newer snapshot, one commit's actions.
use super::{Table, arrow_schema, statistics_columns};
use crate::error::{self, Error, Missing};
use deltalake_core::kernel::Action;
use deltalake_core::logstore::{commit_uri_from_version, get_actions};
use deltalake_core::table::state::DeltaTableState;
use futures::TryStreamExt as _;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use std::path::PathBuf;

impl Table {
    /// The newest snapshot. Without news it costs one listing of the log's end.
    ///
    /// # Errors
    /// [`Error::Incompatible`] when another writer made the table anew or dropped a column.
    pub async fn reload(&mut self) -> Result<(), Error> {
        if self.has_news().await? { self.update().await } else { Ok(()) }
    }

    /// The newest snapshot, whatever a listing says: a checkpoint of the same version is taken up too.
    pub(crate) async fn update(&mut self) -> Result<(), Error> {
        let mut state = self.state.clone();
        let updated = state.update(self.log.as_ref(), None).await;
        updated.map_err(|error| error::delta(&self.name, "read its log", error))?;
        let (before, after) = (self.version(), state.version());
        if after < before {
            return Err(Error::broken(&self.name, format!("its log went back from version {before} to {after}")));
        }
        if state.metadata().id() != self.state.metadata().id() {
            return Err(Error::incompatible(&self.name, "it was deleted and made anew; restart to use the new one"));
        }
        if after > before {
            self.sync_log().await?;
            self.catch_up_txns(before, after).await?;
            let schema = arrow_schema(&self.name, &state)?;
            let old = std::mem::replace(&mut self.schema, schema);
            self.state = state;
            self.check_features()?;
            self.require(&old, &self.partition_columns)?;
            self.statistics_columns = statistics_columns(&self.state);
        } else {
            self.state = state;
            self.require_log().await?;
        }
        Ok(())
    }

    /// Whether the log may hold more than the snapshot, or less: no news is when the snapshot's commit is there and
    /// nothing of a later version is.
    async fn has_news(&self) -> Result<bool, Error> {
        let version = self.version();
        let log = StorePath::from("_delta_log");
        let mut listed = self.store.list_with_offset(Some(&log), &log.clone().join(format!("{version:020}")));
        let mut there = false;
        while let Some(meta) = listed
            .try_next()
            .await
            .map_err(|error| error::store(&self.name, "list its log", &error, Missing::Passes))?
        {
            let Some((digits, kind)) = meta.location.filename().and_then(|name| name.split_once('.')) else { continue };
            let Some(listed) = Some(digits).filter(|digits| digits.len() == 20).and_then(|digits| digits.parse().ok())
            else {
                continue;
            };
            match version.cmp(&listed) {
                std::cmp::Ordering::Less => return Ok(true),
                std::cmp::Ordering::Equal => there |= kind == "json",
                std::cmp::Ordering::Greater => {}
            }
        }
        Ok(!there)
    }

    /// A log without news may be a log that is gone: the kernel doesn't tell the two apart.
    async fn require_log(&self) -> Result<(), Error> {
        let newest = commit_uri_from_version(Some(self.version()));
        match self.store.head(&newest).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::NotFound { .. }) => {
                // Another writer's cleanup may leave a checkpoint alone.
                let opened = DeltaTableState::try_new(self.log.as_ref(), None).await;
                opened.map(drop).map_err(|error| {
                    let reason = format!("commit {} is gone from its log: {error}; restore _delta_log", self.version());
                    Error::broken(&self.name, reason)
                })
            }
            Err(error) => Err(error::store(&self.name, "look at its log", &error, Missing::Passes)),
        }
    }

    /// What another writer committed is visible before its folder is synced: nothing builds on it until it is.
    async fn sync_log(&self) -> Result<(), Error> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let folder: PathBuf = disk.base().join("_delta_log");
        let synced = disk.sync_folder(folder).await;
        synced.map_err(|error| error::store(&self.name, "sync its log", &error, Missing::Passes))
    }

    /// The actions of one commit; `None` when log cleanup deleted it.
    pub(crate) async fn actions(&self, version: u64) -> Result<Option<Vec<Action>>, Error> {
        let entry = self.log.read_commit_entry(version).await;
        let Some(bytes) = entry.map_err(|error| error::delta(&self.name, "read a commit", error))? else {
            return Ok(None);
        };
        let actions = get_actions(version, &bytes);
        actions.map(Some).map_err(|error| error::delta(&self.name, "read a commit", error))
    }
}
