//! The configuration as TOML, with secrets hidden.
use super::Config;
use std::collections::BTreeMap;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// A property whose name has one of these is a secret.
const SECRET_WORDS: [&str; 8] =
    ["password", "passphrase", "secret", "token", "credential", "key", "jaas", "oauthbearer.config"];

/// All settings as a TOML document that `load` reads back.
pub fn to_toml(config: &Config) -> String {
    match toml::to_string_pretty(&shown(config)) {
        Ok(text) => text,
        Err(error) => unreachable!("every setting is a TOML value: {error}"),
    }
}

/// The same settings, with secrets hidden.
pub fn shown(config: &Config) -> Config {
    let mut shown = config.clone();
    hide(&mut shown.kafka.properties);
    hide(&mut shown.lake.options);
    if !shown.live.token.is_empty() {
        shown.live.token = HIDDEN.into();
    }
    shown
}

fn hide(properties: &mut BTreeMap<String, String>) {
    for (name, value) in properties {
        let name = name.to_lowercase();
        let user_in_url = value.contains("://") && value.contains('@');
        if user_in_url || SECRET_WORDS.iter().any(|word| name.contains(word)) {
            *value = HIDDEN.into();
        }
    }
}
