//! `GET /spawnpoint/v1/webhooks/dead` and `POST /spawnpoint/v1/webhooks/dead/{id}:replay`: webhooks that were given up.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use spawnpoint_engine::webhooks::DeadDelivery;
use spawnpoint_model::webhook::Subject;
use utoipa::ToSchema;

use crate::auth::{Caller, op};
use crate::dates::V2Date;
use crate::error::ApiError;
use crate::limits::APPS_PAGE;
use crate::openapi::params::PageQuery;
use crate::openapi::tag;
use crate::pagination::{Pagination, Parameters};
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, parts::Shown};

#[derive(Serialize, ToSchema)]
#[schema(as = DeadWebhook)]
struct DeadBody<'a> {
    #[schema(example = "msg_1")]
    id: &'a str,
    /// The deployment's id, or the session's.
    #[schema(value_type = String, example = "5d1e07a9c34b")]
    request_id: Shown<Subject>,
    #[schema(example = "ready")]
    event: &'static str,
    #[schema(example = 12)]
    attempts: u32,
    #[schema(example = "the receiver answered 500")]
    last_error: &'a str,
    created_at: V2Date,
}

impl<'a> DeadBody<'a> {
    fn of(dead: &'a DeadDelivery) -> Self {
        Self {
            id: &dead.id,
            request_id: Shown(dead.subject),
            event: dead.event,
            attempts: dead.attempts,
            last_error: &dead.last_error,
            created_at: V2Date(dead.created_at),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeadWebhooks)]
struct DeadListBody<'a> {
    deliveries: Vec<DeadBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

/// 200 with a page.
///
/// # Errors
/// 400 for a page that is none.
#[utoipa::path(
    get,
    path = "/spawnpoint/v1/webhooks/dead",
    operation_id = "spawnpoint-webhooks-dead-list",
    tag = tag::EXTENSIONS,
    summary = "List webhooks that were given up",
    description = "With the last error of each.",
    params(PageQuery),
    responses((status = 200, description = "A page", body = DeadListBody)),
)]
pub async fn list_dead(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let dead = state.engine().dead_deliveries(&caller.actor, parameters.page(APPS_PAGE)?).await?;
    Ok(wire::ok(&DeadListBody {
        deliveries: dead.items.iter().map(DeadBody::of).collect(),
        total_count: dead.total,
        pagination: Pagination::of(&dead),
    }))
}

/// 204: it will be sent again; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    post,
    path = "/spawnpoint/v1/webhooks/dead/{id}:replay",
    operation_id = "spawnpoint-webhooks-dead-replay",
    tag = tag::EXTENSIONS,
    summary = "Send a webhook again",
    description = "It is tried as often as a new one.",
    params(("id" = String, Path, description = "The id of the delivery", example = "msg_1")),
    responses(
        (status = 204, description = "It will be sent again"),
        (status = 404, description = "There is no such delivery"),
    ),
)]
pub async fn replay(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(target): Segments<String>,
) -> Result<StatusCode, ApiError> {
    state.engine().replay_delivery(&caller.actor, path::verb(&target, "replay")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
