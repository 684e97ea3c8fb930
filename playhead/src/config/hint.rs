//! Errors of the configuration in words: which field, in which file or variable, and what was probably meant.
use figment::Error;
use figment::error::Kind;

/// Names further apart than this are no misspelling of each other (0: nothing alike, 1: the same).
const ALIKE_MIN: f64 = 0.7;

/// Tables of texts by names that others gave them; the texts may be secrets.
const TEXTS: [&str; 2] = ["kafka.properties", "lake.options"];
/// A secret text.
const TOKEN: &str = "live.token";

/// Every problem of `error`, a line each.
pub fn explain(error: &Error) -> String {
    error.clone().into_iter().map(|one| explain_one(&one)).collect::<Vec<_>>().join("\n")
}

fn explain_one(error: &Error) -> String {
    let mut path = error.path.join(".");
    let words = match &error.kind {
        Kind::UnknownField(name, known) => {
            // The path ends at the parent; from the environment it may hold the field already.
            if error.path.last() != Some(name) {
                path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            }
            missing_underscore(name, known).unwrap_or_else(|| unknown_field(name, known))
        }
        // Without the value: it may be a secret.
        Kind::InvalidType(..) if TEXTS.iter().any(|texts| path == *texts) => {
            r#"must be a table of texts (in a variable: '{"name"="value"}')"#.to_owned()
        }
        Kind::InvalidType(..) if path == TOKEN || TEXTS.iter().any(|texts| path.starts_with(texts)) => {
            "must be a text: write it in quotes (in a variable, too: '\"12345\"')".to_owned()
        }
        Kind::InvalidType(_, expected) if TEXTS.iter().any(|texts| texts.starts_with(&path)) => {
            format!("expected {expected}")
        }
        Kind::Message(words) => without_excerpt(words),
        kind => kind.to_string(),
    };
    match source(error, &path) {
        Some(source) => format!("{source}: {path}: {words}"),
        None => format!("{path}: {words}"),
    }
}

/// What TOML's parser says, without the line that it shows: there may be a secret in it.
fn without_excerpt(words: &str) -> String {
    let is_excerpt = |line: &str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    words.lines().filter(|line| !is_excerpt(line)).collect::<Vec<_>>().join(": ")
}

/// `PLAYHEAD_KAFKA_BROKERS` looks right, and is a field `kafka_brokers` of no section.
fn missing_underscore(name: &str, known: &[&str]) -> Option<String> {
    let (section, field) =
        known.iter().find_map(|section| Some((section, name.strip_prefix(section)?.strip_prefix('_')?)))?;
    let (section, field) = (section.to_uppercase(), field.to_uppercase());
    Some(format!("unknown field; after a section come two underscores: PLAYHEAD_{section}__{field}"))
}

fn unknown_field(name: &str, known: &[&str]) -> String {
    let closest = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), *candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(alike, _)| *alike >= ALIKE_MIN);
    match closest {
        Some((_, candidate)) => format!("unknown field, did you mean `{candidate}`?"),
        None => format!("unknown field, expected one of {}", known.join(", ")),
    }
}

fn source(error: &Error, path: &str) -> Option<String> {
    let metadata = error.metadata.as_ref()?;
    match &metadata.source {
        Some(source) => Some(source.to_string()),
        // The provider of the environment has no source, only a name.
        None => Some(format!("environment variable PLAYHEAD_{}", path.to_uppercase().replace('.', "__"))),
    }
}
