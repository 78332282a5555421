//! Errors as HTTP: the one place that knows status codes and Edgegap's error bodies.
//!
//! v1: `{"message"}`. v2: `{"message", "details"?}`, where `details` names each bad field. v2, 422: `{"request_id",
//! "message"}`. What is a fault of ours is logged here, once, and shown to nobody.

use axum::Json;
use axum::http::header::{ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::Error;
use spawnpoint_model::{DeploymentId, Invalid, Invalids};

/// An answer that is not a success. Boxed, so that the answers that are successes do not pay for its size.
#[derive(Debug)]
pub struct ApiError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    message: String,
    invalids: Option<Invalids>,
    show_details: bool,
    deployment: Option<DeploymentId>,
    header: Option<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Map<String, Value>>,
}

impl ApiError {
    /// An error with its sentence for users.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Inner {
            status,
            message,
            invalids: None,
            show_details: false,
            deployment: None,
            header: None,
        }))
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401. Says the same whatever was wrong with the token.
    #[must_use]
    pub fn unauthorized() -> Self {
        let error =
            Self::new(StatusCode::UNAUTHORIZED, "a valid token is needed: Authorization: token <secret>");
        error.with_header(WWW_AUTHENTICATE, HeaderValue::from_static("token"))
    }

    /// 403.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 413. The rest of the body is not read, so the connection ends with the answer.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        let message = format!("the body is too large: at most {limit} bytes are accepted here");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
            .with_header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// 415.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    }

    /// 429.
    #[must_use]
    pub fn too_many_requests(seconds: u64) -> Self {
        let message = format!("too many requests: try again in {seconds} s");
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// 422: the deployment exists, in error.
    pub fn no_capacity(deployment: Option<DeploymentId>, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, message);
        error.0.deployment = deployment;
        error
    }

    /// 500; `cause` goes to the log alone.
    #[must_use]
    pub fn internal(cause: &str) -> Self {
        tracing::error!(error.cause = cause, "a request failed for a reason of ours");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// The v2 form: bad fields are listed under `details`.
    #[must_use]
    pub fn with_details(mut self) -> Self {
        self.0.show_details = true;
        self
    }

    /// Its status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    fn details(&self) -> Option<Map<String, Value>> {
        let invalids = self.0.invalids.as_ref().filter(|_| self.0.show_details)?;
        let mut details = Map::new();
        for Invalid { field, problem } in &invalids.0 {
            match details.get_mut(field) {
                Some(Value::String(text)) => {
                    text.push_str("; ");
                    text.push_str(problem);
                }
                _ => {
                    details.insert(field.clone(), Value::String(problem.clone()));
                }
            }
        }
        Some(details)
    }
}

impl From<Invalids> for ApiError {
    fn from(invalids: Invalids) -> Self {
        let mut error = Self::bad_request(invalids.to_string());
        error.0.invalids = Some(invalids);
        error
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        Invalids::from(invalid).into()
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(invalids) => invalids.into(),
            Error::Unauthorized => Self::unauthorized(),
            Error::Forbidden(text) => Self::forbidden(text),
            Error::NotFound(text) => Self::not_found(text),
            Error::Conflict(text) => Self::new(StatusCode::CONFLICT, text),
            Error::Gone(text) => Self::new(StatusCode::GONE, text),
            Error::FailedDependency(text) => Self::new(StatusCode::FAILED_DEPENDENCY, text),
            Error::Unprocessable(text) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, text),
            Error::Unavailable(text) => Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
                .with_header(RETRY_AFTER, HeaderValue::from_static("1")),
            Error::Internal(cause) => Self::internal(&cause),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let request_id = self.0.deployment.map(|id| id.to_string());
        let body = Body { request_id, message: &self.0.message, details: self.details() };
        let mut response = (self.0.status, Json(body)).into_response();
        if let Some((name, value)) = self.0.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Answers a path that does not exist.
pub async fn unknown_path() -> ApiError {
    ApiError::not_found("there is nothing at this address")
}

/// Answers a method that a path does not have. The router adds which ones it has.
pub async fn unknown_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("this address does not know the method; see {ALLOW}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(error: ApiError) -> (u16, String) {
        let response = error.into_response();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn v1_errors_hold_a_message_and_v2_errors_name_the_fields() {
        let mut invalids = Invalids::default();
        invalids.add("users", "must not be empty");
        invalids.add("users", "must be a list");
        let v1 = body(invalids.clone().into()).await;
        assert_eq!(v1, (400, r#"{"message":"users: must not be empty; users: must be a list"}"#.to_owned()));
        let (_, v2) = body(ApiError::from(invalids).with_details()).await;
        assert!(v2.ends_with(r#""details":{"users":"must not be empty; must be a list"}}"#), "{v2}");
    }

    #[tokio::test]
    async fn causes_of_our_own_faults_are_not_shown() {
        let (status, text) = body(Error::Internal("secret path".into()).into()).await;
        assert_eq!((status, text.as_str()), (500, r#"{"message":"internal error"}"#));
    }

    #[tokio::test]
    async fn a_refused_deployment_is_named() {
        let id = DeploymentId::from_random(42);
        let (status, text) = body(ApiError::no_capacity(Some(id), "full")).await;
        assert_eq!((status, text.as_str()), (422, r#"{"request_id":"00000000002a","message":"full"}"#));
    }

    #[test]
    fn engine_errors_have_their_codes() {
        for (error, code) in [
            (Error::Unauthorized, 401),
            (Error::Forbidden(String::new()), 403),
            (Error::NotFound(String::new()), 404),
            (Error::Conflict(String::new()), 409),
            (Error::Gone(String::new()), 410),
            (Error::FailedDependency(String::new()), 424),
            (Error::Unavailable(String::new()), 503),
        ] {
            assert_eq!(ApiError::from(error).status().as_u16(), code);
        }
    }
}
