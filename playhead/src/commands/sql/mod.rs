//! `playhead sql`: a statement over the lake, or a prompt.
use super::{Context, Error, Outcome};
use crate::cli::{Format, Sql};
use crate::terminal;
use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use open_windows::Node;
use query::Query;
use std::io::{BufWriter, ErrorKind, IsTerminal, Read, Stdout, Write};
use std::sync::Arc;

mod open_windows;
mod output;
mod prompt;

/// Runs what is given: as an argument, on standard input, or line by line.
pub async fn run(context: Context, options: Sql) -> Result<Outcome, Error> {
    terminal::init_logging("warn");
    let storage = context.look()?;
    let kept = context.config.rollups().rollups;
    let node = Arc::new(Node::new(&storage.log, &context.config));
    let query = Query::new(storage.lake.queried(), kept, node).map_err(|error| words(&error))?;
    let format = if context.common.json { Format::Json } else { options.format };
    if format == Format::Parquet && std::io::stdout().is_terminal() {
        return Err("Parquet is no text: send it to a file, with > rows.parquet".into());
    }
    let statement = match options.statement {
        Some(statement) => statement,
        None if std::io::stdin().is_terminal() => return prompt::run(query, format).await,
        None => {
            let mut statement = String::new();
            std::io::stdin().read_to_string(&mut statement)?;
            statement
        }
    };
    print(&query, &statement, format).await?;
    Ok(Outcome::Right)
}

/// Runs a statement and prints its rows.
async fn print(query: &Query, statement: &str, format: Format) -> Result<(), Error> {
    let rows = query.plan(statement).await.map_err(|error| words(&error))?;
    let mut out = Pipe { out: std::io::stdout(), is_closed: false };
    let written = output::write(rows, format, BufWriter::new(&mut out)).await;
    // Nobody reads any more (`| head`), which is no error of ours.
    if out.is_closed { Ok(()) } else { written.map_err(|error| words(&error).into()) }
}

/// What went wrong, without the libraries' own prefixes around our words.
fn words(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::External(error) => error.to_string(),
        DataFusionError::Execution(words) | DataFusionError::Plan(words) => words.clone(),
        DataFusionError::ResourcesExhausted(words) => {
            format!("it takes more memory than the {} MiB that a statement has: {words}", query::MEMORY_BYTES_MAX >> 20)
        }
        DataFusionError::SQL(error, _) => match error.as_ref() {
            ParserError::ParserError(words) | ParserError::TokenizerError(words) => words.clone(),
            other => other.to_string(),
        },
        other => other.strip_backtrace(),
    }
}

/// Standard output, which somebody may close; the writers of formats don't hand on why they could not write.
struct Pipe {
    out: Stdout,
    is_closed: bool,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes);
        self.is_closed |= written.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe);
        written
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
