//! `GET /v1/storage/endpoint/{endpoint_name}/pull-profiles`: lists the pull profiles of an endpoint storage.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::STORAGES_PAGE;
use crate::openapi::params::{PageQuery, StoragePath};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, pull_profile::ProfileListBody};

/// 200 with a page; 404.
///
/// # Errors
/// See above; 400 for a page that is none.
#[utoipa::path(
    get,
    path = "/v1/storage/endpoint/{endpoint_name}/pull-profiles",
    operation_id = "pull-profile-list",
    tag = tag::STORAGE,
    summary = "List the pull profiles of an endpoint storage",
    description = "By name, 10 a page.",
    params(StoragePath, PageQuery),
    responses(
        (status = 200, description = "A page", body = ProfileListBody),
        (status = 404, description = "There is no such storage"),
    ),
)]
pub async fn list_pull_profiles(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(storage): Segments<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let page = parameters.page(STORAGES_PAGE)?;
    let profiles = state.engine().list_profiles(&caller.actor, &path::storage(&storage)?, page).await?;
    Ok(wire::ok(&ProfileListBody::of(&profiles)))
}
