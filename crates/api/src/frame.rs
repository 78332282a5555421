//! Around every route: panics become a 500, what changes something comes to its end even if the caller hangs up, each
//! request leaves one log line, every answer carries the headers that keep browsers and caches from doing anything with it.
//!
//! The log line holds the route's template, never the path, the query or a header: those hold names and secrets.

use std::panic::AssertUnwindSafe;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::error::ApiError;

/// The middleware; `route` is the template under which the request is logged.
pub async fn frame(State(route): State<&'static str>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let run = AssertUnwindSafe(next.run(request)).catch_unwind();
    let outcome = if matches!(method, Method::GET | Method::HEAD) {
        run.await
    } else {
        // A caller who hangs up takes this future along. What was begun must end all the same: a change that is stored
        // and not told to the engine's memory would be lost on it until the next start.
        tokio::spawn(run).await.unwrap_or_else(|error| Err(Box::new(error.to_string())))
    };
    let mut response =
        outcome.unwrap_or_else(|panic| ApiError::internal(&panic_text(panic.as_ref())).into_response());
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    log(&method, route, &response, started);
    response
}

/// Reads are many and say little: they are logged for those who look closely (`debug`).
fn log(method: &Method, route: &'static str, response: &Response, started: Instant) {
    let status = response.status().as_u16();
    let micros = || u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let method = known(method);
    if status >= 500 {
        tracing::warn!(
            http.method = method,
            http.route = route,
            http.status = status,
            duration_us = micros(),
            "answered"
        );
    } else if method == "GET" || method == "HEAD" {
        tracing::debug!(
            http.method = method,
            http.route = route,
            http.status = status,
            duration_us = micros(),
            "answered"
        );
    } else {
        tracing::info!(
            http.method = method,
            http.route = route,
            http.status = status,
            duration_us = micros(),
            "answered"
        );
    }
}

/// Methods may be any word; ours are logged, others are not repeated.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_else(|| "without a text".to_owned()))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    async fn explodes() -> Response {
        panic!("boom")
    }

    #[tokio::test]
    async fn a_panic_is_answered_as_json_without_its_text() {
        let router: Router = Router::new().route("/", get(explodes)).layer(from_fn_with_state("/", frame));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        assert_eq!(&body[..], br#"{"message":"internal error"}"#);
    }
}
