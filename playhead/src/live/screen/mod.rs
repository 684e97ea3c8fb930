//! The page that shows the rollups `audience` and `quality`: one document, which asks nobody else for anything.
//!
//! Plots are drawn by uPlot 1.6.32 (MIT, `uPlot.LICENSE`), as its package has it.
use axum::http::header;
use axum::response::{Html, IntoResponse};
use std::sync::LazyLock;

/// It runs what stands in it, and speaks to where it came from.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
                      connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// What stands in the document's place holders.
const PARTS: [(&str, &str); 4] = [
    ("{{uPlot.min.css}}", include_str!("uPlot.min.css")),
    ("{{screen.css}}", include_str!("screen.css")),
    ("{{uPlot.iife.min.js}}", include_str!("uPlot.iife.min.js")),
    ("{{screen.js}}", include_str!("screen.js")),
];

static PAGE: LazyLock<String> = LazyLock::new(|| {
    let document = include_str!("screen.html").to_owned();
    PARTS.iter().fold(document, |document, (place, part)| document.replacen(place, part, 1))
});

/// The page.
pub async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY), (header::REFERRER_POLICY, "no-referrer")], Html(PAGE.as_str()))
}
