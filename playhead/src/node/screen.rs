//! Where rollups are shown: on the edge's address, or on one of their own.
use super::Error;
use super::address::Address;
use super::admin::Bounded;
use crate::config::Config;
use crate::live::{self, Access};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use ingest::pages::Pages;
use processor::live::Live;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

/// To be served on the edge's address, which is `at`.
pub fn pages(config: &Config, live: &Arc<Live>, at: SocketAddr, stop: &CancellationToken) -> Pages {
    let router = live::router(live.clone(), Access::new(&config.live.token, at), stop.clone());
    let answer = move |request: Request<()>| {
        let mut router: Router = router.clone();
        let answered = router.call(request.map(|()| Body::empty()));
        Box::pin(async move {
            let Ok(response) = answered.await;
            response.map(|body| body.map_err(Into::into).boxed_unsync())
        }) as std::pin::Pin<Box<_>>
    };
    Pages { paths: vec![live::PAGE, live::PATH], below: vec![live::PATH], answer: Arc::new(answer) }
}

/// Serves it on `live.listen`, until `stop`.
pub fn serve(config: &Config, live: &Arc<Live>, address: Address, stop: &CancellationToken) -> Result<(), Error> {
    let access = Access::new(&config.live.token, address.get());
    let router = live::router(live.clone(), access, stop.clone());
    let listener = Bounded::new(address.listen()?);
    let stop = stop.clone();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
            tracing::error!(%error, "rollups are not shown any more");
        }
    });
    Ok(())
}
