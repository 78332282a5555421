//! `GET /spawnpoint/v1/webhooks/dead` and `POST /spawnpoint/v1/webhooks/dead/{id}:replay`: webhooks that were given up.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use spawnpoint_engine::webhooks::DeadDelivery;
use spawnpoint_model::DeploymentId;

use crate::auth::{Caller, op};
use crate::dates::V2Date;
use crate::error::ApiError;
use crate::limits::APPS_PAGE;
use crate::pagination::{Pagination, Parameters};
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, parts::Shown};

#[derive(Serialize)]
struct DeadBody<'a> {
    id: &'a str,
    request_id: Shown<DeploymentId>,
    event: &'static str,
    attempts: u32,
    last_error: &'a str,
    created_at: V2Date,
}

impl<'a> DeadBody<'a> {
    fn of(dead: &'a DeadDelivery) -> Self {
        Self {
            id: &dead.id,
            request_id: Shown(dead.deployment),
            event: dead.event,
            attempts: dead.attempts,
            last_error: &dead.last_error,
            created_at: V2Date(dead.created_at),
        }
    }
}

#[derive(Serialize)]
struct DeadListBody<'a> {
    deliveries: Vec<DeadBody<'a>>,
    total_count: u64,
    pagination: Pagination,
}

/// 200 with a page.
///
/// # Errors
/// 400 for a page that is none.
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
pub async fn replay(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(target): Segments<String>,
) -> Result<StatusCode, ApiError> {
    state.engine().replay_delivery(&caller.actor, path::verb(&target, "replay")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
