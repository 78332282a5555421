//! `GET /v1/storage/endpoints`: lists endpoint storages. `X-Fields` is taken and means nothing.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::STORAGES_PAGE;
use crate::openapi::params::{FieldsHeader, PageQuery};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::state::ApiState;
use crate::wire::{self, storage::StorageListBody};

/// 200 with a page.
///
/// # Errors
/// 400 for a page that is none.
#[utoipa::path(
    get,
    path = "/v1/storage/endpoints",
    operation_id = "endpoints-list",
    tag = tag::STORAGE,
    summary = "List endpoint storages",
    description = "By name, 10 a page.",
    params(PageQuery, FieldsHeader),
    responses(
        (status = 200, description = "A page", body = StorageListBody),
    ),
)]
pub async fn list_storages(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let storages = state.engine().list_storages(&caller.actor, parameters.page(STORAGES_PAGE)?).await?;
    Ok(wire::ok(&StorageListBody::of(&storages)))
}
