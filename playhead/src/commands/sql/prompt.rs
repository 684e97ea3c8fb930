//! The prompt: statements until the end of the input, each ended by a semicolon.
use super::{Error, Outcome, print};
use crate::cli::Format;
use crate::terminal;
use query::Query;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};
use std::path::PathBuf;
use std::sync::Arc;

const HELP: &str = "\
a statement ends with ;   \\d shows the tables   \\d NAME its columns   \\q or Ctrl-D ends   Ctrl-C stops a statement";
/// Statements that are remembered.
const HISTORY_MAX: usize = 1_000;

/// Asks and answers until the end of the input.
pub async fn run(query: Query, format: Format) -> Result<Outcome, Error> {
    let config = Config::builder().max_history_size(HISTORY_MAX)?.history_ignore_dups(true)?.build();
    let mut editor = Editor::<Names, DefaultHistory>::with_config(config)?;
    let history = history_file();
    if let Some(file) = &history {
        // None yet, the first time.
        let _ = editor.load_history(file);
    }
    terminal::note(HELP);
    let query = Arc::new(query);
    if let Err(error) = query.look().await {
        terminal::complain(&super::words(&error));
    }
    loop {
        editor.set_helper(Some(Names(query.tables())));
        // Reading a line blocks its thread.
        let (back, read) = tokio::task::spawn_blocking(move || {
            let read = editor.readline("playhead> ");
            (editor, read)
        })
        .await?;
        editor = back;
        match read {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                editor.add_history_entry(line.trim())?;
                if let Some(file) = &history
                    && let Err(error) = editor.save_history(file)
                {
                    terminal::note(format_args!("{} can't be written: {error}", file.display()));
                }
                match statement(line.trim()) {
                    None => return Ok(Outcome::Right),
                    Some(statement) => answer(&query, statement, format).await,
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(Outcome::Right),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The statement that a line means; `None`: the end.
fn statement(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    Some(match (words.next(), words.next()) {
        (Some("\\q" | "exit" | "quit" | "exit;" | "quit;"), None) => return None,
        (Some("\\d"), Some(table)) => format!("describe {}", table.trim_end_matches(';')),
        (Some("\\d"), None) => "select table_schema as schema, table_name as name from information_schema.tables \
                                where table_schema <> 'information_schema' order by table_schema, table_name"
            .to_owned(),
        _ => line.to_owned(),
    })
}

/// Prints what comes of a statement, unless it is stopped first.
async fn answer(query: &Arc<Query>, statement: String, format: Format) {
    if statement.starts_with('\\') {
        return terminal::note(HELP);
    }
    let query = query.clone();
    // A task of its own: some statements compute for long without a pause.
    let mut printing =
        tokio::spawn(
            async move { print(&query, statement.trim_end_matches(';'), format).await.map_err(|e| e.to_string()) },
        );
    tokio::select! {
        printed = &mut printing => match printed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => terminal::complain(&error),
            Err(panic) => terminal::complain(&panic),
        },
        _ = tokio::signal::ctrl_c() => {
            printing.abort();
            terminal::note("stopped");
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the binary is where the environment is read")]
fn history_file() -> Option<PathBuf> {
    std::env::var("HOME").ok().map(|home| PathBuf::from(home).join(".playhead_history"))
}

/// Completes names of tables, and asks for more lines until a statement ends.
struct Names(Vec<String>);

impl Completer for Names {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &rustyline::Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let begun = line[..at].rfind(|of: char| !of.is_alphanumeric() && of != '_' && of != '.').map_or(0, |at| at + 1);
        let word = &line[begun..at];
        let names = self.0.iter().filter(|name| !word.is_empty() && name.starts_with(word));
        Ok((begun, names.map(|name| Pair { display: name.clone(), replacement: name.clone() }).collect()))
    }
}

impl Validator for Names {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let line = context.input().trim();
        let ends = line.is_empty() || line.ends_with(';') || line.starts_with('\\') || matches!(line, "exit" | "quit");
        Ok(if ends { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Hinter for Names {
    type Hint = String;
}

impl Highlighter for Names {}

impl Helper for Names {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_statement_a_command_or_the_end() {
        assert_eq!(statement("\\q"), None);
        assert_eq!(statement("quit;"), None);
        assert_eq!(statement("\\d rollups.audience;").unwrap(), "describe rollups.audience");
        assert!(statement("\\d").unwrap().contains("information_schema.tables"));
        assert_eq!(statement("select 1;").unwrap(), "select 1;");
    }
}
