//! Proves that a store keeps its promise before a table relies on it: a put with a condition is refused when the name
//! is taken.
//!
//! A store that ignores `If-None-Match` answers 200 to both of two writers: one commit would overwrite the other, and
//! nobody would know. So each opening for writing puts one small object twice under a name of its own: two puts and a
//! delete, and a start goes wrong in words where a lake would in silence.
use crate::error::{self, Error, Missing};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutResult};

/// Begins the probe's name: hidden from readers of the table, as is all that begins with a dot.
const NAME: &str = ".playhead-probe-";

/// Tries a put with a condition on the table's store, twice. `table`: its name, for words.
///
/// # Errors
/// [`Error::Incompatible`] when the second one was taken too, or conditions are not known at all.
pub(crate) async fn require_conditional_puts(table: &str, store: &dyn ObjectStore) -> Result<(), Error> {
    let path = StorePath::from(format!("{NAME}{}", probe_id()));
    let proven = prove(table, store, &path).await;
    if let Err(Error::Unavailable(_)) = proven {
        return proven;
    }
    match store.delete(&path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => tracing::warn!(
            table,
            %error,
            path = %path,
            "a probe object can't be deleted: it does no harm, but merged files will not be deleted either"
        ),
    }
    proven
}

async fn prove(table: &str, store: &dyn ObjectStore, path: &StorePath) -> Result<(), Error> {
    match put(store, path).await {
        // Taken, and nobody else knows the name: the answer to our own put was lost, and its retry was refused.
        Err(object_store::Error::AlreadyExists { .. }) => return Ok(()),
        first => refused(table, first)?,
    };
    match put(store, path).await {
        Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
        second => refused(table, second).and_then(|_| {
            let reason = "its store ignores the condition of a put (If-None-Match: *): two writers would overwrite each \
                          other's commits; use a store that knows conditional puts, e.g. S3, GCS, Azure, R2, MinIO from \
                          2024-08 on";
            Err(Error::incompatible(table, reason))
        }),
    }
}

fn refused(table: &str, put: object_store::Result<PutResult>) -> Result<PutResult, Error> {
    put.map_err(|error| match error {
        object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. } => {
            Error::incompatible(table, format!("its store has no conditional puts ({error}): a commit needs them"))
        }
        error => error::store(table, "put a probe object", &error, Missing::Passes),
    })
}

async fn put(store: &dyn ObjectStore, path: &StorePath) -> object_store::Result<PutResult> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(path, "whether this store knows conditional puts; may be deleted".into(), options).await
}

#[allow(clippy::disallowed_methods, reason = "the name of a probe; nothing depends on its value")]
fn probe_id() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}
