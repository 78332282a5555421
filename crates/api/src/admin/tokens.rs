//! `POST`, `GET /spawnpoint/v1/tokens` and `DELETE /spawnpoint/v1/tokens/{id}`: makes, lists and revokes tokens.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::tokens::NewToken;
use spawnpoint_model::token::{Scope, Token};
use spawnpoint_model::{AppName, Invalid, Invalids};

use crate::auth::{Caller, op};
use crate::dates::V2Date;
use crate::error::ApiError;
use crate::fields::{Fields, Problems};
use crate::json::SmallJson;
use crate::path::Segments;
use crate::state::ApiState;
use crate::wire;

/// Characters of a token's name.
const NAME_CHARS_MAX: usize = 64;
/// Applications a token may be bound to.
const APPS_MAX: usize = 64;
/// A hundred years: longer is the same as without an end.
const SECONDS_MAX: i64 = 100 * 365 * 24 * 3600;

#[derive(Serialize)]
struct TokenBody<'a> {
    id: &'a str,
    name: &'a str,
    scope: Scope,
    apps: &'a [AppName],
    created_at: V2Date,
    expires_at: Option<V2Date>,
    revoked_at: Option<V2Date>,
    /// The secret: shown when the token is made, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

impl<'a> TokenBody<'a> {
    fn of(token: &'a Token, secret: Option<&'a str>) -> Self {
        Self {
            id: token.id.as_str(),
            name: &token.name,
            scope: token.scope,
            apps: &token.apps,
            created_at: V2Date(token.created_at),
            expires_at: token.expires_at.map(V2Date),
            revoked_at: token.revoked_at.map(V2Date),
            token: secret,
        }
    }
}

#[derive(Serialize)]
struct TokenListBody<'a> {
    tokens: Vec<TokenBody<'a>>,
}

/// 201 with the token and its secret.
///
/// # Errors
/// 400 names every bad field.
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let new = read(&body.object).map_err(|invalids| ApiError::from(invalids).with_details())?;
    let (token, secret) = state.engine().create_token(&caller.actor, new).await?;
    Ok(wire::json(StatusCode::CREATED, wire::to_json(&TokenBody::of(&token, Some(secret.reveal())))))
}

/// 200 with all tokens, revoked ones too, without secrets.
///
/// # Errors
/// 401, 403.
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
) -> Result<Response, ApiError> {
    let tokens = state.engine().list_tokens(&caller.actor).await?;
    Ok(wire::ok(&TokenListBody { tokens: tokens.iter().map(|token| TokenBody::of(token, None)).collect() }))
}

/// 204; 404.
///
/// # Errors
/// See above.
pub async fn revoke(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(id): Segments<String>,
) -> Result<StatusCode, ApiError> {
    state.engine().revoke_token(&caller.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read(object: &Map<String, Value>) -> Result<NewToken, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("name");
    body.require("scope");
    let name = body.line("name", 1..=NAME_CHARS_MAX).map(str::to_owned);
    let scope = body.parsed("scope", |text| match text {
        "read" => Ok(Scope::Read),
        "deploy" => Ok(Scope::Deploy),
        "admin" => Ok(Scope::Admin),
        _ => Err(Invalid::new("", "must be one of read, deploy, admin")),
    });
    let apps = body.texts("apps", APPS_MAX, AppName::parse).unwrap_or_default();
    let expires_in = body.integer::<u64>("expires_in_seconds", 1..=SECONDS_MAX).map(Duration::from_secs);
    match (name, scope) {
        (Some(name), Some(scope)) if problems.is_empty() => Ok(NewToken { name, scope, apps, expires_in }),
        _ => Err(problems.into_result().err().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(body: Value) -> Vec<String> {
        let Value::Object(object) = body else { panic!("an object is needed") };
        read(&object).err().map(|e| e.0.into_iter().map(|i| i.field).collect()).unwrap_or_default()
    }

    #[test]
    fn every_bad_field_is_named() {
        assert_eq!(
            fields(json!({"name": "ci", "scope": "deploy", "apps": ["arena"], "expires_in_seconds": 60})),
            [""; 0]
        );
        assert_eq!(fields(json!({})), ["name", "scope"]);
        let bad = json!({"name": "a\nb", "scope": "root", "apps": ["a/b"], "expires_in_seconds": 0});
        assert_eq!(fields(bad), ["name", "scope", "apps[0]", "expires_in_seconds"]);
    }
}
