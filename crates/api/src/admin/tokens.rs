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
use utoipa::ToSchema;

use crate::auth::{Caller, op};
use crate::dates::V2Date;
use crate::error::ApiError;
use crate::fields::{Fields, Problems};
use crate::json::SmallJson;
use crate::openapi::tag;
use crate::path::Segments;
use crate::state::ApiState;
use crate::wire;

/// Characters of a token's name.
const NAME_CHARS_MAX: usize = 64;
/// Applications a token may be bound to.
const APPS_MAX: usize = 64;
/// A hundred years: longer is the same as without an end.
const SECONDS_MAX: i64 = 100 * 365 * 24 * 3600;

#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
struct TokenBody<'a> {
    #[schema(example = "tok_1")]
    id: &'a str,
    #[schema(example = "ci")]
    name: &'a str,
    #[schema(value_type = ScopeName)]
    scope: Scope,
    /// The applications that it is bound to; none for all.
    #[schema(value_type = Vec<String>, example = json!(["arena"]))]
    apps: &'a [AppName],
    created_at: V2Date,
    #[schema(required)]
    expires_at: Option<V2Date>,
    #[schema(required, example = json!(null))]
    revoked_at: Option<V2Date>,
    /// The secret: shown when the token is made, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "a secret")]
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

/// What a token may do.
#[derive(ToSchema)]
#[schema(as = TokenScope, rename_all = "lowercase", example = "deploy")]
pub enum ScopeName {
    /// Look.
    Read,
    /// Look, deploy and stop.
    Deploy,
    /// Everything.
    Admin,
}

/// A new token, as [`read`] reads it.
#[derive(ToSchema)]
#[schema(as = NewToken)]
pub struct NewTokenBody {
    /// Its name, for people.
    #[schema(min_length = 1, max_length = 64, format = "line", example = "ci")]
    pub name: String,
    /// What it may do.
    pub scope: ScopeName,
    /// The applications that it is bound to; none for all.
    #[schema(max_items = 64)]
    pub apps: Option<Vec<AppNameText>>,
    /// Seconds until it expires; without them it does not.
    #[schema(minimum = 1, maximum = 3_153_600_000_u64, example = 86400)]
    pub expires_in_seconds: Option<u64>,
}

/// The name of an application.
#[derive(ToSchema)]
#[schema(as = ApplicationName, value_type = String, min_length = 1, max_length = 64, format = "name", example = "arena")]
pub struct AppNameText(pub String);

#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
struct TokenListBody<'a> {
    tokens: Vec<TokenBody<'a>>,
}

/// 201 with the token and its secret.
///
/// # Errors
/// 400 names every bad field.
#[utoipa::path(
    post,
    path = "/spawnpoint/v1/tokens",
    operation_id = "spawnpoint-tokens-create",
    tag = tag::EXTENSIONS,
    summary = "Create an API token",
    description = "The secret is shown in this answer alone.",
    request_body = NewTokenBody,
    responses((status = 201, description = "The token and its secret", body = TokenBody)),
)]
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
#[utoipa::path(
    get,
    path = "/spawnpoint/v1/tokens",
    operation_id = "spawnpoint-tokens-list",
    tag = tag::EXTENSIONS,
    summary = "List API tokens",
    description = "Revoked ones too; never their secrets.",
    responses((status = 200, description = "All tokens", body = TokenListBody)),
)]
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
#[utoipa::path(
    delete,
    path = "/spawnpoint/v1/tokens/{id}",
    operation_id = "spawnpoint-tokens-revoke",
    tag = tag::EXTENSIONS,
    summary = "Revoke an API token",
    description = "It is refused from now on.",
    params(("id" = String, Path, description = "The id of the token", example = "tok_1")),
    responses(
        (status = 204, description = "It is revoked"),
        (status = 404, description = "There is no such token"),
    ),
)]
pub async fn revoke(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(id): Segments<String>,
) -> Result<StatusCode, ApiError> {
    state.engine().revoke_token(&caller.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) fn read(object: &Map<String, Value>) -> Result<NewToken, Invalids> {
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
