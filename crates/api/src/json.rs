//! Bodies: read up to a limit and a deadline, and parsed as a JSON object. Of a repeated key the last counts.
//!
//! The content type must be JSON if there is one; some clients send none, and they are believed. JSON nested deeper than
//! 128 levels, numbers beyond a double and text that is not UTF-8 are refused by the parser.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::limits::{BODY_BYTES_MAX, BODY_READ_TIMEOUT, LARGE_BODY_BYTES_MAX};

/// A JSON object of at most `LIMIT` bytes.
pub struct JsonBody<const LIMIT: usize> {
    /// As it came.
    pub bytes: Bytes,
    /// What it says.
    pub object: Map<String, Value>,
}

/// The body of most calls.
pub type SmallJson = JsonBody<BODY_BYTES_MAX>;
/// The body of calls that change applications and versions.
pub type LargeJson = JsonBody<LARGE_BODY_BYTES_MAX>;

impl<S: Send + Sync, const LIMIT: usize> FromRequest<S> for JsonBody<LIMIT> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        check_headers(request.headers(), LIMIT)?;
        let bytes = read(request.into_body(), LIMIT).await?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => Ok(Self { bytes, object }),
            Ok(_) => Err(ApiError::bad_request("the body must be a JSON object")),
            Err(error) => Err(ApiError::bad_request(format!("the body is not valid JSON: {error}"))),
        }
    }
}

fn check_headers(headers: &HeaderMap, limit: usize) -> Result<(), ApiError> {
    let length =
        headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if length.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Err(ApiError::too_large(limit));
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(ApiError::unsupported_media_type("the body must not be compressed"));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence =
        value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        Ok(())
    } else {
        Err(ApiError::unsupported_media_type("the body must be sent as Content-Type: application/json"))
    }
}

async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let collected = tokio::time::timeout(BODY_READ_TIMEOUT, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(ApiError::too_large(limit)),
        Ok(Err(_)) => Err(ApiError::bad_request("the body broke off")),
        Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    async fn parse(body: &str, content_type: Option<&'static str>) -> Result<Map<String, Value>, u16> {
        let mut request = Request::new(Body::from(body.to_owned()));
        if let Some(value) = content_type {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(value));
        }
        let parsed = JsonBody::<1000>::from_request(request, &()).await;
        parsed.map(|body| body.object).map_err(|error| error.status().as_u16())
    }

    #[tokio::test]
    async fn objects_are_read_with_any_json_content_type_or_none() {
        for content_type in [
            None,
            Some("application/json"),
            Some("Application/JSON; charset=utf-8"),
            Some("application/merge-patch+json"),
        ] {
            assert!(parse("{}", content_type).await.is_ok(), "{content_type:?}");
        }
        for content_type in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""]
        {
            assert_eq!(parse("{}", Some(content_type)).await, Err(415), "{content_type:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_object_is_refused() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for bad in [
            "",
            "null",
            "[]",
            "1",
            "\"x\"",
            "{",
            "{\"a\":1e999}",
            "{\"a\":NaN}",
            "{\"a\":\"\\ud800\"}",
            &deep,
        ] {
            assert_eq!(parse(bad, None).await, Err(400), "{bad:?}");
        }
        assert_eq!(parse(&format!("{{\"a\":\"{}\"}}", "x".repeat(1000)), None).await, Err(413));
    }

    #[tokio::test]
    async fn of_a_repeated_key_the_last_counts() {
        assert_eq!(parse(r#"{"a":1,"a":2}"#, None).await.unwrap()["a"], 2);
    }

    #[tokio::test]
    async fn compressed_bodies_are_refused() {
        let mut request = Request::new(Body::from("{}"));
        request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let refused = JsonBody::<1000>::from_request(request, &()).await.err().unwrap();
        assert_eq!(refused.status(), 415);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_not_waited_for() {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let refused = JsonBody::<1000>::from_request(Request::new(body), &()).await.err().unwrap();
        assert_eq!(refused.status(), 408);
    }
}
