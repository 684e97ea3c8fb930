//! A request's body, from the wire to plain bytes: within its deadline, its bounds and the budget of all requests.
use crate::budget::{Budget, Reserved};
use crate::config::Config;
use crate::decompression::{Bounds, Encoding, Refused, inflate};
use crate::limits::{DISCARD_TIME_MAX, INFLATING_MAX};
use crate::problem::{Kind, Problem};
use bytes::Bytes;
use http::header::{self, HeaderMap};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Takes bodies in.
pub struct Bodies {
    bounds: Bounds,
    deadline: Duration,
    budget: Arc<Budget>,
    inflating: Semaphore,
}

/// A plain body and what it holds of the budget.
pub struct Received {
    /// After decompression.
    pub bytes: Bytes,
    /// Bytes that came over the wire.
    pub wire_bytes: usize,
    /// Hold it as long as the bytes, and for what is made of them.
    pub reserved: Reserved,
}

impl Bodies {
    /// Bodies within the settings' bounds.
    pub fn new(config: &Config) -> Self {
        Bodies {
            bounds: Bounds { bytes_max: config.body_bytes_max, ratio_max: config.decompression_ratio_max },
            deadline: Duration::from_millis(config.body_timeout_ms),
            budget: Budget::new(config.bodies_bytes_max),
            inflating: Semaphore::new(INFLATING_MAX),
        }
    }

    /// The whole body, inflated. What is left of a refused one is read and thrown away for a moment, unless the
    /// client waits for `100 Continue` before it sends it.
    pub async fn receive(&self, headers: &HeaderMap, mut body: Incoming) -> Result<Received, Problem> {
        let collected = match Encoding::of(headers) {
            Ok(encoding) => self.collect_in_time(&mut body).await.map(|collected| (encoding, collected)),
            Err(problem) => Err(problem),
        };
        match collected {
            Ok((Encoding::Identity, collected)) => Ok(collected),
            Ok((encoding, collected)) => self.inflate(encoding, collected).await,
            Err(problem) => {
                if problem.kind() != Kind::RequestTimeout && !headers.contains_key(header::EXPECT) {
                    discard(body).await;
                }
                Err(problem)
            }
        }
    }

    async fn collect_in_time(&self, body: &mut Incoming) -> Result<Received, Problem> {
        if body.size_hint().lower() > self.bounds.bytes_max as u64 {
            return Err(self.too_large("as sent", self.bounds.bytes_max));
        }
        timeout(self.deadline, self.collect(body)).await.unwrap_or_else(|_| {
            let detail = format!("the body was not there after {} ms: send it again", self.deadline.as_millis());
            Err(Problem::new(Kind::RequestTimeout, detail))
        })
    }

    async fn collect(&self, body: &mut Incoming) -> Result<Received, Problem> {
        let mut reserved = self.budget.reserve();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Problem::new(Kind::MalformedBody, format!("the body broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > self.bounds.bytes_max {
                return Err(self.too_large("as sent", self.bounds.bytes_max));
            }
            if bytes.is_empty() && body.is_end_stream() {
                reserved.grow_to(data.len()).map_err(|_| overloaded())?;
                return Ok(Received { wire_bytes: data.len(), bytes: data, reserved });
            }
            // The buffer at most doubles, so its capacity is below the sum of twice what is needed.
            reserved.grow_to(2 * (bytes.len() + data.len())).map_err(|_| overloaded())?;
            bytes.extend_from_slice(&data);
        }
        Ok(Received { wire_bytes: bytes.len(), bytes: Bytes::from(bytes), reserved })
    }

    async fn inflate(&self, encoding: Encoding, collected: Received) -> Result<Received, Problem> {
        let Ok(_turn) = self.inflating.acquire().await else {
            return Err(Problem::new(Kind::Stopping, "this node is stopping: try again"));
        };
        let Received { bytes, wire_bytes, mut reserved } = collected;
        let inflated =
            inflate(encoding, &bytes, self.bounds, &mut reserved).await.map_err(|refused| match refused {
                Refused::TooLarge { limit, .. } => self.too_large("after decompression", limit),
                Refused::Malformed(reason) => Problem::new(
                    Kind::MalformedEncoding,
                    format!("the body is not {encoding:?} as its Content-Encoding says, or was cut short: {reason}"),
                ),
                Refused::NoRoom => overloaded(),
            })?;
        Ok(Received { bytes: Bytes::from(inflated), wire_bytes, reserved })
    }

    fn too_large(&self, when: &str, limit: usize) -> Problem {
        let bytes_max = self.bounds.bytes_max;
        let why = if limit < bytes_max {
            format!("{} times its compressed size", self.bounds.ratio_max)
        } else {
            "the bound of a body".to_owned()
        };
        let detail = format!("the body has more than {limit} bytes {when}, {why}: send fewer events in each body");
        Problem::new(Kind::BodyTooLarge, detail)
    }
}

/// The budget of all requests is used up.
pub fn overloaded() -> Problem {
    Problem::new(Kind::Overloaded, "this node holds as many bodies as it has room for: nothing was taken, try again")
}

/// Reads on for a moment, so that a client that is still sending gets the answer and not a reset connection.
async fn discard(mut body: Incoming) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // Time over: the client has to do with what the closing connection tells it.
    let _ = timeout(DISCARD_TIME_MAX, rest).await;
}
