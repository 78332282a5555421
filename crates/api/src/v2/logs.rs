//! `GET /v2/deployments/{request_id}/logs`: a deployment's log as plain text; with `?follow=true` as server-sent events.
//!
//! | event | data |
//! |---|---|
//! | `stdout`, `stderr` | `{"time", "stream", "log"}`: one line; JSON, so that whatever a line holds stays one line |
//! | `restart` | `{"attempt"}`: the container was started anew |
//! | `end` | `{"status"}`: the deployment has ended; nothing follows |
//!
//! Each line has its time as event id. An `EventSource` that reconnects sends it back, and goes on behind it.
//! A comment every [`FOLLOW_HEARTBEAT`] shows that somebody is there. The stream ends when the server shuts down.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use serde_json::json;
use spawnpoint_engine::follow::Followed;
use spawnpoint_model::{Invalid, Timestamp};

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::followers::Slot;
use crate::limits::{FOLLOW_BATCH_MAX, FOLLOW_HEARTBEAT, LOG_ANSWER_BYTES_MAX};
use crate::openapi::params::{DeploymentPath, FollowQuery};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, logs::LineBody, parts::status_name};

/// 200; 404; 429 if the token, or all together, follow too many logs.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v2/deployments/{request_id}/logs",
    operation_id = "deployment-logs",
    tag = tag::EXTENSIONS,
    summary = "The log of a deployment as text, or as it is written",
    description = "The end of its log, at most 1 MiB. With `follow=true` server-sent events: `stdout` and `stderr` with one line each as JSON (`time`, `stream`, `log`), `restart`, and `end` when the deployment has ended.",
    params(DeploymentPath, FollowQuery),
    responses(
        (status = 200, description = "The log", content(
            (String = "text/plain", example = "listening on 7777\n"),
            (wire::logs::StreamedEvent = "text/event-stream"),
        )),
        (status = 404, description = "There is no such deployment"),
    ),
)]
pub async fn logs(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(id): Segments<String>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = path::deployment(&id)?;
    if !follow(&parameters).map_err(ApiError::with_details)? {
        let log = state.engine().log_tail(&caller.actor, id).await?;
        return Ok(answer(
            Body::from(wire::logs::plain(&log, LOG_ANSWER_BYTES_MAX)),
            "text/plain; charset=utf-8",
        ));
    }
    let followed = state.engine().follow_logs(&caller.actor, id, last_seen(&headers)).await?;
    let slot = state.followers().take(&caller.actor.token)?;
    let events = events(followed, slot).take_until(state.closing());
    Ok(answer(Body::from_stream(events.map(Ok::<_, std::convert::Infallible>)), "text/event-stream"))
}

fn answer(body: Body, content_type: &'static str) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A proxy that gathers an answer before it sends it on would hold the lines back.
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn follow(parameters: &Parameters) -> Result<bool, ApiError> {
    match parameters.get("follow").map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(Invalid::new("follow", "must be true or false").into()),
    }
}

/// The time of the last line that an `EventSource` has seen. Anything else in the header is none of ours.
fn last_seen(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get("last-event-id")?.to_str().ok()?;
    text.trim().parse().ok().filter(|micros| *micros > 0).map(Timestamp)
}

/// What flows, as bytes: what is there at once in one piece, a comment when nothing is there for long.
fn events(followed: impl Stream<Item = Followed> + Send, slot: Slot) -> impl Stream<Item = Bytes> + Send {
    let begin = stream::once(async { Bytes::from_static(b"retry: 2000\n\n") });
    let lines = stream::unfold((Box::pin(followed.fuse()), slot), |(mut followed, slot)| async move {
        let first = match tokio::time::timeout(FOLLOW_HEARTBEAT, followed.next()).await {
            Err(_) => return Some((Bytes::from_static(b": still here\n\n"), (followed, slot))),
            Ok(item) => item?,
        };
        let mut text = String::new();
        write(&first, &mut text);
        while text.len() < FOLLOW_BATCH_MAX
            && let Some(Some(item)) = followed.next().now_or_never()
        {
            write(&item, &mut text);
        }
        Some((Bytes::from(text), (followed, slot)))
    });
    begin.chain(lines)
}

fn write(item: &Followed, into: &mut String) {
    let mut put = |event: &str, data: &str| {
        for part in ["event: ", event, "\ndata: ", data, "\n\n"] {
            into.push_str(part);
        }
    };
    match item {
        Followed::Line(line) => {
            put(wire::logs::stream(line), &wire::to_json(&LineBody::of(line)));
            if let Some(at) = line.at {
                into.pop();
                into.push_str(&format!("id: {}\n\n", at.micros()));
            }
        }
        Followed::Restarted(attempt) => put("restart", &json!({ "attempt": attempt }).to_string()),
        Followed::End(status) => put("end", &json!({ "status": status_name(*status) }).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use spawnpoint_engine::log_text::LogLine;
    use spawnpoint_model::deployment::Status;

    use super::*;

    #[test]
    fn a_line_stays_one_line_whatever_it_holds() {
        let mut text = String::new();
        let line = "a\r\nevent: end\u{2028}\u{0}\"";
        write(
            &Followed::Line(LogLine { at: Some(Timestamp(5)), stderr: true, text: line.to_owned() }),
            &mut text,
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[2], lines[3]), (4, "event: stderr", "id: 5", ""));
        let data: serde_json::Value = serde_json::from_str(lines[1].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((&data["log"], &data["stream"]), (&line.into(), &"stderr".into()));
    }

    #[test]
    fn the_end_is_told_with_the_status() {
        let mut text = String::new();
        write(&Followed::Restarted(2), &mut text);
        write(&Followed::End(Status::Terminated), &mut text);
        assert_eq!(
            text,
            "event: restart\ndata: {\"attempt\":2}\n\nevent: end\ndata: {\"status\":\"Status.TERMINATED\"}\n\n"
        );
    }

    #[test]
    fn following_is_asked_for_by_name() {
        let read = |query: &str| follow(&Parameters::read(Some(query)));
        assert!(!read("").unwrap() && !read("follow=").unwrap() && !read("follow=False").unwrap());
        assert!(read("follow=true").unwrap() && read("follow=1").unwrap());
        assert_eq!(read("follow=yes").unwrap_err().status(), 400);
    }
}
