//! What else is served on the edge's address: pages for people, made elsewhere.
//!
//! An answer may be a stream without an end; it is not measured as the edge's own answers are, and other origins may not
//! read it.
use crate::deadline_stream::Turn;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{Either, Full};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The body of a page.
pub type PageBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// Answers `GET` of the paths below.
pub type Answer = Arc<dyn Fn(Request<()>) -> Pin<Box<dyn Future<Output = Response<PageBody>> + Send>> + Send + Sync>;

/// Pages and their paths.
#[derive(Clone)]
pub struct Pages {
    /// Paths that are served, as they stand.
    pub paths: Vec<&'static str>,
    /// Paths below these are too.
    pub below: Vec<&'static str>,
    /// Serves them.
    pub answer: Answer,
}

impl Pages {
    pub(crate) fn serve(&self, method: &Method, path: &str) -> bool {
        let is_below = |above: &&str| path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'));
        method == Method::GET && (self.paths.contains(&path) || self.below.iter().any(is_below))
    }
}

/// The body of any answer on the edge's address.
pub(crate) type Body = Either<Full<Bytes>, Page>;

/// A page that is sent; its connection waits for no request meanwhile.
pub(crate) struct Page {
    body: PageBody,
    _turn: Turn,
}

impl Page {
    pub(crate) fn new(body: PageBody, turn: Turn) -> Self {
        Page { body, _turn: turn }
    }
}

impl HttpBody for Page {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
