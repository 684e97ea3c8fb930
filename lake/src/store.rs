//! Object stores: made from a URL and options by object_store's own builders, with bounded waits.
//!
//! What a table needs of a store is little: a put that fails when the name is taken (the commit), reads and listings
//! that see every put that returned (S3, GCS and Azure do). No copy, no rename, no lock table, no SDK.
//!
//! ## How long a request may take
//! | what | bound |
//! |---|---|
//! | connect | 5 s |
//! | one request, body included | 15 s (option `timeout`) |
//! | one operation, all its tries | begun within 15 s, at most 3 tries more: ends within 30 s |
//!
//! Uploads and reads go in pieces of 8 MiB, so 15 s is enough from 0.6 MB/s on; a slower network needs a longer
//! `timeout`. An operation ends about when the sink tells that it is not ready (30 s), so that what failed is in its
//! words. A put that must not be done twice (the commit) is not sent again after a timeout: how it ended is read from
//! the log.
//!
//! Environment: credentials and region as usual for each provider (`AWS_...`, `GOOGLE_...`, `AZURE_...`). Options win;
//! with an access key among them no variable is read, so that the key of one is never used with the token of another.
mod commits;
mod log_store;
mod probe;
mod remote;

pub(crate) use log_store::log_store;
pub(crate) use probe::require_conditional_puts;
pub(crate) use remote::Remote;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// One request, from its connect to the end of its answer.
const REQUEST: &str = "15s";
/// Connecting alone.
const CONNECT: &str = "5s";
/// No further try begins later than this.
const TRIES: Duration = Duration::from_secs(15);
/// Tries after the first one.
const RETRIES_MAX: usize = 3;

/// Whose store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    S3,
    Gcs,
    Azure,
}

impl Provider {
    pub(crate) fn of(url: &Url) -> Option<Provider> {
        match url.scheme() {
            "s3" | "s3a" => Some(Provider::S3),
            "gs" => Some(Provider::Gcs),
            "az" | "abfs" | "abfss" => Some(Provider::Azure),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Provider::S3 => "S3 (such as aws_endpoint, aws_region, aws_access_key_id, aws_secret_access_key)",
            Provider::Gcs => "Google Cloud Storage (such as google_service_account, google_base_url)",
            Provider::Azure => "Azure (such as azure_storage_account_name, azure_storage_account_key)",
        }
    }

    /// What an option is to the provider; `None` if it has none of that name.
    fn option(self, name: &str) -> Option<Named> {
        let name = name.to_ascii_lowercase();
        match self {
            Provider::S3 => Some(match name.parse().ok()? {
                AmazonS3ConfigKey::Bucket => Named::Bucket,
                AmazonS3ConfigKey::ConditionalPut => Named::ConditionalPut,
                AmazonS3ConfigKey::Client(key) => Named::Client(key),
                _ => Named::Other,
            }),
            Provider::Gcs => Some(match name.parse().ok()? {
                GoogleConfigKey::Bucket => Named::Bucket,
                GoogleConfigKey::Client(key) => Named::Client(key),
                _ => Named::Other,
            }),
            Provider::Azure => Some(match name.parse().ok()? {
                AzureConfigKey::ContainerName => Named::Bucket,
                AzureConfigKey::Client(key) => Named::Client(key),
                _ => Named::Other,
            }),
        }
    }
}

/// Options that are looked at before the builder gets them.
enum Named {
    Bucket,
    ConditionalPut,
    Client(ClientConfigKey),
    Other,
}

/// Whether `provider` has these options, without a connection. `Err`: which it has not, or must not have; no value
/// that may be a secret is in it.
pub(crate) fn check_options(provider: Provider, options: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in options {
        match provider.option(name) {
            None => return Err(format!("{name} is no option of {}", provider.name())),
            Some(Named::Bucket) => return Err(format!("{name}: the URL names the bucket, leave the option out")),
            Some(Named::ConditionalPut) if value.trim() != "etag" => return Err(NOT_CONDITIONAL.to_owned()),
            Some(Named::Client(ClientConfigKey::Timeout | ClientConfigKey::ConnectTimeout)) => {
                let seconds = value.trim().strip_suffix('s').and_then(|seconds| seconds.trim().parse::<u32>().ok());
                if !seconds.is_some_and(|seconds| (1..=600).contains(&seconds)) {
                    return Err(format!("{name} = {value:?} is no time from \"1s\" to \"600s\""));
                }
            }
            Some(Named::Client(ClientConfigKey::AllowHttp)) if !["true", "false"].contains(&value.trim()) => {
                return Err(format!("{name} = {value:?}: \"true\" or \"false\""));
            }
            Some(_) if name.to_ascii_lowercase().ends_with("endpoint") => check_endpoint(name, value)?,
            Some(_) => {}
        }
    }
    Ok(())
}

/// object_store takes any text for an endpoint, and panics over one without a scheme at its first request.
fn check_endpoint(name: &str, value: &str) -> Result<(), String> {
    let usable = Url::parse(value.trim()).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    if usable {
        Ok(())
    } else {
        Err(format!("{name} = {value:?}: it must begin with http:// or https://, and name a host"))
    }
}

const NOT_CONDITIONAL: &str = "conditional puts must not be disabled: two writers would overwrite each other's commits";

/// The store of `url`, rooted at its bucket. Connects to nothing.
pub(crate) fn open(url: &Url, options: &BTreeMap<String, String>) -> Result<Arc<dyn ObjectStore>, String> {
    let Some(provider) = Provider::of(url) else {
        return Err(format!("{}: is no store that tables can live on", url.scheme()));
    };
    check_options(provider, options)?;
    let built: object_store::Result<Arc<dyn ObjectStore>> = match provider {
        Provider::S3 => s3(url, options)?.build().map(|store| Arc::new(store) as _),
        Provider::Gcs => gcs(url, options)?.build().map(|store| Arc::new(store) as _),
        Provider::Azure => azure(url, options)?.build().map(|store| Arc::new(store) as _),
    };
    built.map_err(|error| error.to_string())
}

/// Our bounds, then the options: the later one wins.
fn settings(options: &BTreeMap<String, String>) -> impl Iterator<Item = (String, String)> + '_ {
    let ours = [("timeout", REQUEST), ("connect_timeout", CONNECT)];
    let ours = ours.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    ours.chain(options.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())))
}

fn retry() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: TRIES }
}

fn s3(url: &Url, options: &BTreeMap<String, String>) -> Result<AmazonS3Builder, String> {
    let alone =
        options.keys().any(|name| name.to_ascii_lowercase().parse().ok() == Some(AmazonS3ConfigKey::AccessKeyId));
    let mut builder = if alone { AmazonS3Builder::new() } else { AmazonS3Builder::from_env() };
    for (name, value) in settings(options) {
        match name.parse().map_err(|error: object_store::Error| format!("{name}: {error}"))? {
            // Where both are set the variable AWS_ENDPOINT_URL_S3 would win over the option.
            AmazonS3ConfigKey::Endpoint => {
                builder = builder.with_config(AmazonS3ConfigKey::Endpoint, value.clone());
                builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, value);
            }
            // The builder takes this one only while no region is known, so AWS_REGION would win over it.
            AmazonS3ConfigKey::DefaultRegion => builder = builder.with_config(AmazonS3ConfigKey::Region, value),
            key => builder = builder.with_config(key, value),
        }
    }
    let set = |key: AmazonS3ConfigKey| builder.get_config_value(&key);
    if set(AmazonS3ConfigKey::ConditionalPut).is_some_and(|value| value.trim() != "etag") {
        return Err(NOT_CONDITIONAL.to_owned());
    }
    let endpoint = set(AmazonS3ConfigKey::S3Endpoint).or_else(|| set(AmazonS3ConfigKey::Endpoint));
    let http = set(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)).is_some_and(|value| value == "true");
    if let Some(endpoint) = &endpoint {
        check_endpoint("aws_endpoint", endpoint)?;
    }
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) && !http {
        return Err("its endpoint is http://, without encryption: if that is meant, set the option aws_allow_http = \
                    \"true\""
            .to_owned());
    }
    Ok(builder.with_url(url.as_str()).with_retry(retry()))
}

fn gcs(url: &Url, options: &BTreeMap<String, String>) -> Result<GoogleCloudStorageBuilder, String> {
    let mut builder = GoogleCloudStorageBuilder::from_env();
    for (name, value) in settings(options) {
        builder =
            builder.with_config(name.parse().map_err(|error: object_store::Error| format!("{name}: {error}"))?, value);
    }
    Ok(builder.with_url(url.as_str()).with_retry(retry()))
}

fn azure(url: &Url, options: &BTreeMap<String, String>) -> Result<MicrosoftAzureBuilder, String> {
    let key = |name: &str| name.to_ascii_lowercase().parse::<AzureConfigKey>().ok();
    let alone = options.keys().any(|name| key(name) == Some(AzureConfigKey::AccessKey));
    let mut builder = if alone { MicrosoftAzureBuilder::new() } else { MicrosoftAzureBuilder::from_env() };
    for (name, value) in settings(options) {
        builder =
            builder.with_config(name.parse().map_err(|error: object_store::Error| format!("{name}: {error}"))?, value);
    }
    Ok(builder.with_url(url.as_str()).with_retry(retry()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn s3_setting(given: &[(&str, &str)], key: AmazonS3ConfigKey) -> Option<String> {
        let mut given = options(given);
        given.insert("aws_access_key_id".into(), "who".into());
        s3(&Url::parse("s3://bucket/lake").unwrap(), &given).unwrap().get_config_value(&key)
    }

    #[test]
    fn a_request_is_bounded_and_its_bound_is_an_option() {
        let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        assert_eq!(s3_setting(&[], timeout).as_deref(), Some("15s"));
        assert_eq!(s3_setting(&[("timeout", "40s")], timeout).as_deref(), Some("40s"));
        assert_eq!(s3_setting(&[("aws_timeout", "40s")], timeout).as_deref(), Some("40s"));
        let connect = AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout);
        assert_eq!(s3_setting(&[], connect).as_deref(), Some("5s"));
    }

    #[test]
    fn an_option_wins_over_every_other_name_of_the_same() {
        let given = [("aws_endpoint", "https://store:9000")];
        assert_eq!(s3_setting(&given, AmazonS3ConfigKey::S3Endpoint).as_deref(), Some("https://store:9000"));
        let given = [("aws_default_region", "eu-1")];
        assert_eq!(s3_setting(&given, AmazonS3ConfigKey::Region).as_deref(), Some("eu-1"));
    }

    #[test]
    fn commits_go_with_conditions_by_default() {
        assert_eq!(s3_setting(&[], AmazonS3ConfigKey::ConditionalPut).as_deref(), Some("etag"));
    }

    #[test]
    fn each_provider_is_there() {
        for (url, given) in [
            ("s3://bucket/lake", options(&[("aws_access_key_id", "who"), ("aws_secret_access_key", "hush")])),
            ("gs://bucket/lake", options(&[("google_skip_signature", "true")])),
            ("az://box/lake", options(&[("azure_storage_account_name", "a"), ("azure_storage_account_key", "aGk=")])),
            ("abfss://box@a.dfs.core.windows.net/lake", options(&[("azure_storage_account_key", "aGk=")])),
        ] {
            let opened = open(&Url::parse(url).unwrap(), &given);
            assert!(opened.is_ok(), "{url}: {:?}", opened.err());
        }
        let unencrypted = options(&[("aws_access_key_id", "who"), ("aws_endpoint", "http://store:9000")]);
        let refused = open(&Url::parse("s3://bucket/lake").unwrap(), &unencrypted).unwrap_err();
        assert!(refused.contains("aws_allow_http"), "{refused}");
    }

    #[test]
    fn an_endpoint_that_is_no_address_is_refused_before_anybody_asks_it() {
        for wrong in ["127.0.0.1:9000", "store:9000", "ftp://store", "http://", ""] {
            let refused = check_options(Provider::S3, &options(&[("aws_endpoint", wrong)])).unwrap_err();
            assert!(refused.contains("http://"), "{wrong}: {refused}");
        }
        check_options(Provider::S3, &options(&[("aws_endpoint", "http://127.0.0.1:9000"), ("aws_allow_http", "true")]))
            .unwrap();
        let refused = check_options(Provider::S3, &options(&[("aws_allow_http", "yup")])).unwrap_err();
        assert!(refused.contains("true"), "{refused}");
    }
}
