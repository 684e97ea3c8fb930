//! Open windows of a rollup, every row of them, as an Arrow stream: for `playhead sql`.
use super::State;
use crate::live;
use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use axum::Extension;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use event::schema::TIME_ZONE;
use futures::stream::{self, Stream};
use processor::fold::WindowRows;
use processor::live::{Live, Shown};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

/// Answers at the same time; more wait. Each holds every row of a rollup's open windows.
const ANSWERS_MAX: usize = 1;

/// Header: partitions that are not in the windows.
pub const MISSING: &str = "playhead-missing-partitions";

/// Bytes of an answer that go at once.
const PART_BYTES: usize = 256 << 10;

/// `GET /NAME`.
pub fn routes(live: Arc<Live>) -> axum::Router<State> {
    let turns = Arc::new(Semaphore::new(ANSWERS_MAX));
    axum::Router::new().route("/{name}", get(open_windows)).layer(Extension(live)).layer(Extension(turns))
}

async fn open_windows(
    Extension(live): Extension<Arc<Live>>,
    Extension(turns): Extension<Arc<Semaphore>>,
    Path(name): Path<String>,
) -> Response {
    let Ok(turn) = turns.acquire_owned().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let Some(mut watcher) = live.watch(&name) else {
        return (StatusCode::NOT_FOUND, format!("no rollup {name} is kept here\n")).into_response();
    };
    let Some(shown) = live::next(&mut watcher).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the processor does not answer: see /readyz\n").into_response();
    };
    let missing: Vec<String> = shown.missing.iter().map(u32::to_string).collect();
    let missing = (MISSING, missing.join(","));
    match spawn_blocking(move || as_stream(&shown)).await {
        Ok(Ok(None)) => (StatusCode::NO_CONTENT, [missing]).into_response(),
        Ok(Ok(Some(bytes))) => {
            let body = Body::from_stream(in_parts(bytes.into(), turn));
            let content_type = (header::CONTENT_TYPE.as_str(), "application/vnd.apache.arrow.stream".to_owned());
            ([content_type, missing], body).into_response()
        }
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The bytes, and the turn until they are gone.
fn in_parts(bytes: Bytes, turn: OwnedSemaphorePermit) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold((bytes, turn), |(mut bytes, turn)| async move {
        let part = bytes.split_to(bytes.len().min(PART_BYTES));
        (!part.is_empty()).then(|| (Ok(part), (bytes, turn)))
    })
}

/// `None`: no window is open.
fn as_stream(shown: &Shown) -> Result<Option<Vec<u8>>, ArrowError> {
    let open = shown.windows.iter().filter(|window| window.is_open);
    let batches = open.map(|window| with_window(&window.rows)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = batches.first() else { return Ok(None) };
    let mut writer = StreamWriter::try_new(Vec::new(), &first.schema())?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.into_inner().map(Some)
}

/// The rows behind start and end of their window, as tables have them.
fn with_window(window: &WindowRows) -> Result<RecordBatch, ArrowError> {
    let rows = &window.rows;
    let time = |us: i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(vec![us; rows.num_rows()]).with_timezone(TIME_ZONE))
    };
    let own = [("window_start", time(window.start_us)), ("window_end", time(window.end_us))];
    let own = own.map(|(name, array)| (name.to_owned(), array, false));
    let schema = rows.schema();
    let made = schema.fields().iter().zip(rows.columns());
    let made = made.map(|(field, array)| (field.name().clone(), array.clone(), true));
    RecordBatch::try_from_iter_with_nullable(own.into_iter().chain(made))
}
