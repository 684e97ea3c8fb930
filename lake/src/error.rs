//! Why a table operation failed, sorted by what to do about it.
use crate::durable::SyncFailed;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::TransactionError;
use parquet::errors::ParquetError;
use std::error::Error as StdError;

/// Why a table operation failed, by what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Passing trouble of the store: try again later. From [`crate::table::Table::commit`]: the commit may be tried
    /// again with the same files (and must not be discarded), it is then found if it did go through.
    #[error("lake store is unavailable: {0}")]
    Unavailable(String),
    /// The table isn't ours to write or read: another schema, a newer protocol, bad properties. Stop in words.
    #[error("table {table} is incompatible: {reason}")]
    Incompatible {
        /// The table's place.
        table: String,
        /// What does not fit, and what to do.
        reason: String,
    },
    /// The store answered that we may not, or that there is no such bucket: an operator has to act. Only at an opening;
    /// for a table that is open already it is [`Error::Unavailable`].
    #[error("the store refuses table {table}: {reason}")]
    Refused {
        /// The table's place.
        table: String,
        /// What to do, and what the store said.
        reason: String,
    },
    /// An fsync failed: nobody knows what the disk holds. Nothing may go on, on this handle or another, until the
    /// process starts again.
    #[error("table {table} is not durable: {reason}")]
    NotDurable {
        /// The table's place.
        table: String,
        /// Which fsync.
        reason: String,
    },
    /// A broken invariant (a file that is missing, a log that can't be read). Stop loudly.
    #[error("table {table} is broken: {reason}")]
    Broken {
        /// The table's place.
        table: String,
        /// What is broken.
        reason: String,
    },
}

impl Error {
    pub(crate) fn incompatible(table: &str, reason: impl Into<String>) -> Error {
        Error::Incompatible { table: table.to_owned(), reason: reason.into() }
    }

    pub(crate) fn not_durable(table: &str, reason: impl Into<String>) -> Error {
        Error::NotDurable { table: table.to_owned(), reason: reason.into() }
    }

    pub(crate) fn broken(table: &str, reason: impl Into<String>) -> Error {
        Error::Broken { table: table.to_owned(), reason: reason.into() }
    }

    /// Passing trouble. What to do about it comes first, where the store's words tell: they may be long.
    fn unavailable(table: &str, reason: &str) -> Error {
        let advice = advice(reason).map(|advice| format!("{advice}. It said: "));
        Error::Unavailable(format!("{table}: {}{reason}", advice.unwrap_or_default()))
    }

    /// What is passing trouble for an open table is none at its opening, where the store's words say what to do.
    pub(crate) fn at_opening(self, table: &str) -> Error {
        match self {
            Error::Unavailable(reason) if is_refusal(&reason) => {
                let reason = reason.strip_prefix(table).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&reason);
                Error::Refused { table: table.to_owned(), reason: reason.to_owned() }
            }
            error => error,
        }
    }
}

/// An error with its causes, down to the first one: object_store leaves out why a request was not sent.
fn in_words(error: &(dyn StdError + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}

/// Where a machine's own credentials come from, when none are given.
const METADATA_SERVICES: [&str; 2] = ["169.254.169.254", "metadata.google.internal"];

/// Whether waiting is of no use: the store answered, and an operator has to act. A metadata service that doesn't answer
/// is either not there (no credentials at all), or slow on a machine that has just started: that is waited out.
fn is_refusal(reason: &str) -> bool {
    advice(reason).is_some() && !METADATA_SERVICES.iter().any(|host| reason.contains(host))
}

/// What an operator can do about an answer of a store, by the store's words in `reason`: on some ways through
/// delta-rs only the words are left of an error. `None`: nothing but wait.
fn advice(reason: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if says(&["NoSuchBucket", "specified bucket does not exist", "ContainerNotFound", "bucket was not found"]) {
        return Some("make the bucket, or correct lake.url");
    }
    if METADATA_SERVICES.iter().any(|host| reason.contains(host)) {
        return Some("no credentials were given, and this machine has none of its own: set them in lake.options");
    }
    if says(&["RequestTimeTooSkewed"]) {
        return Some("set this machine's clock");
    }
    if says(&["status code: 301", "PermanentRedirect", "incorrectly configured region", "AuthorizationHeaderMalformed"])
    {
        return Some("set the bucket's own region in lake.options");
    }
    if says(&["status code: 401", "status code: 403", "lacked the necessary privileges", "lacked valid authentication"])
    {
        return Some(
            "access was denied: check the credentials in lake.options, and that they may get, put, list and delete below \
             the table",
        );
    }
    None
}

/// Sorts an error of delta-rs. What nobody can name is passing trouble only if I/O is behind it.
pub(crate) fn delta(table: &str, doing: &str, error: DeltaTableError) -> Error {
    let reason = format!("{doing}: {}", in_words(&error));
    if any_cause(&error, |cause| cause.is::<SyncFailed>()) {
        return Error::not_durable(table, reason);
    }
    match &error {
        DeltaTableError::Transaction {
            source:
                TransactionError::UnsupportedTableFeatures(_)
                | TransactionError::TableFeaturesRequired(_)
                | TransactionError::DeltaTableAppendOnly,
        } => Error::incompatible(table, reason),
        DeltaTableError::InvalidJsonLog { .. }
        | DeltaTableError::MetadataError(_)
        | DeltaTableError::NoSchema
        | DeltaTableError::NotATable(_)
        | DeltaTableError::VersionDowngrade { .. } => Error::broken(table, reason),
        DeltaTableError::UnsupportedColumnMapping { .. } => Error::incompatible(table, reason),
        DeltaTableError::KernelError(kernel) if !is_passing_text(&kernel.to_string()) => Error::broken(table, reason),
        DeltaTableError::Parquet { source } => parquet_reason(table, reason, source),
        _ => Error::unavailable(table, &reason),
    }
}

/// Sorts an error of the store. `missing` says whether an absent file breaks the table.
pub(crate) fn store(table: &str, doing: &str, error: &object_store::Error, missing: Missing) -> Error {
    let reason = format!("{doing}: {}", in_words(error));
    if any_cause(error, |cause| cause.is::<SyncFailed>()) {
        return Error::not_durable(table, reason);
    }
    match (error, missing) {
        (object_store::Error::NotFound { .. }, Missing::Breaks) => Error::broken(table, reason),
        _ => Error::unavailable(table, &reason),
    }
}

/// Whether a file that is not there means that the table is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Breaks,
    Passes,
}

/// Sorts an error of reading or writing Parquet.
pub(crate) fn parquet(table: &str, doing: &str, error: &ParquetError) -> Error {
    parquet_reason(table, format!("{doing}: {}", in_words(error)), error)
}

fn parquet_reason(table: &str, reason: String, error: &ParquetError) -> Error {
    if any_cause(error, |cause| cause.is::<SyncFailed>()) {
        return Error::not_durable(table, reason);
    }
    let missing = any_cause(error, |cause| {
        matches!(cause.downcast_ref::<object_store::Error>(), Some(object_store::Error::NotFound { .. }))
    });
    let io = any_cause(error, |cause| cause.is::<object_store::Error>() || cause.is::<std::io::Error>());
    if io && !missing { Error::unavailable(table, &reason) } else { Error::broken(table, reason) }
}

/// The kernel turns causes into text on some ways: what speaks of the store or of I/O may pass.
fn is_passing_text(text: &str) -> bool {
    ["object store", "os error", "I/O", "timed out", "Reqwest", "File not found"].iter().any(|part| text.contains(part))
}

/// Whether `error` or anything that caused it is what `test` looks for.
fn any_cause(error: &(dyn StdError + 'static), test: impl Fn(&(dyn StdError + 'static)) -> bool) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if test(error)
            || boxed(error).is_some_and(|inner| any_cause(inner, &test as &dyn Fn(&(dyn StdError + 'static)) -> bool))
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What an error holds that its `source` steps over (a transparent wrapper forwards to the cause of its cause).
fn boxed<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    if let Some(object_store::Error::Generic { source, .. }) = error.downcast_ref::<object_store::Error>() {
        return Some(source.as_ref());
    }
    if let Some(ParquetError::External(source)) = error.downcast_ref::<ParquetError>() {
        return Some(source.as_ref());
    }
    if let Some(DeltaTableError::ObjectStore { source }) = error.downcast_ref::<DeltaTableError>() {
        return Some(source);
    }
    error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref().map(|inner| inner as _))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl StdError + Send + Sync + 'static) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: Box::new(source) }
    }

    #[test]
    fn a_failed_fsync_is_told_however_deep_it_lies() {
        let failed = || generic(SyncFailed::new("fsync of x: Input/output error"));
        assert!(matches!(store("t", "put", &failed(), Missing::Passes), Error::NotDurable { .. }));
        let error = DeltaTableError::ObjectStore { source: failed() };
        assert!(matches!(delta("t", "commit", error), Error::NotDurable { .. }));
        let error = ParquetError::External(Box::new(failed()));
        assert!(matches!(parquet("t", "write", &error), Error::NotDurable { .. }));
    }

    #[test]
    fn trouble_of_the_store_passes() {
        let full = || generic(std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert!(matches!(store("t", "put", &full(), Missing::Breaks), Error::Unavailable(_)));
        assert!(matches!(delta("t", "commit", DeltaTableError::ObjectStore { source: full() }), Error::Unavailable(_)));
        assert!(matches!(parquet("t", "read", &ParquetError::External(Box::new(full()))), Error::Unavailable(_)));
    }

    #[test]
    fn what_a_store_refuses_says_what_to_do() {
        for (words, advised) in [
            ("Server returned non-2xx status code: 403 Forbidden: <Code>AccessDenied</Code>", "access was denied"),
            ("Server returned non-2xx status code: 404 Not Found: <Code>NoSuchBucket</Code>", "make the bucket"),
            ("error sending request for url (http://169.254.169.254/latest/api/token)", "no credentials"),
            ("status code: 403 Forbidden: <Code>RequestTimeTooSkewed</Code>", "clock"),
        ] {
            let Error::Unavailable(reason) = store("t", "put", &generic(std::io::Error::other(words)), Missing::Passes)
            else {
                panic!("it may pass")
            };
            assert!(reason.contains(advised), "{reason}");
            assert!(reason.find(advised) < reason.find(words), "first what to do: {reason}");
        }
        assert_eq!(advice("Server returned non-2xx status code: 503 Service Unavailable: SlowDown"), None);
        assert!(is_refusal("status code: 404 Not Found: <Code>NoSuchBucket</Code>"));
        assert!(
            !is_refusal("error sending request for url (http://169.254.169.254/latest/api/token)"),
            "it may be slow"
        );
    }

    #[test]
    fn why_a_request_was_not_sent_is_told() {
        #[derive(Debug, thiserror::Error)]
        #[error("error sending request")]
        struct Sending(#[source] std::io::Error);

        let error = generic(Sending(std::io::Error::other("connection refused")));
        let Error::Unavailable(reason) = store("t", "put", &error, Missing::Passes) else { panic!("it may pass") };
        assert_eq!(reason, "t: put: Generic test error: error sending request: connection refused");
    }

    #[test]
    fn what_a_store_refuses_stops_an_opening_and_nothing_else() {
        let refused = || store("t", "put", &generic(std::io::Error::other("status code: 403")), Missing::Passes);
        assert!(matches!(refused(), Error::Unavailable(_)));
        let Error::Refused { table, reason } = refused().at_opening("t") else { panic!("it is refused") };
        assert_eq!(table, "t");
        assert!(reason.starts_with("access was denied"), "{reason}");
        let busy = store("t", "put", &generic(std::io::Error::other("status code: 503")), Missing::Passes);
        assert!(matches!(busy.at_opening("t"), Error::Unavailable(_)));
    }

    #[test]
    fn a_file_that_the_table_names_and_that_is_not_there_breaks_it() {
        let missing = || object_store::Error::NotFound { path: "x".into(), source: "gone".into() };
        assert!(matches!(store("t", "head", &missing(), Missing::Breaks), Error::Broken { .. }));
        assert!(matches!(parquet("t", "read", &ParquetError::External(Box::new(missing()))), Error::Broken { .. }));
    }
}
