//! `GET /spawnpoint/v1/audit`: checks every invariant now.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use spawnpoint_engine::audit::Finding;
use utoipa::ToSchema;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire;

#[derive(Serialize, ToSchema)]
#[schema(as = Audit)]
struct Body<'a> {
    invariants: Vec<Invariant<'a>>,
    #[schema(example = 0)]
    violation_count: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AuditedInvariant)]
struct Invariant<'a> {
    #[schema(example = "I1")]
    id: &'a str,
    #[schema(example = "one live row, one container; none without a row")]
    rule: &'a str,
    #[schema(example = json!([]))]
    violations: &'a [String],
    /// Why it could not be checked.
    #[schema(required, example = json!(null))]
    skipped: Option<&'a str>,
}

impl<'a> Invariant<'a> {
    fn of(finding: &'a Finding) -> Self {
        let Finding { id, rule, violations, skipped } = finding;
        Self { id, rule, violations, skipped: skipped.as_deref() }
    }
}

/// 200 with each invariant and what breaks it.
///
/// # Errors
/// 401, 403.
#[utoipa::path(
    get,
    path = "/spawnpoint/v1/audit",
    operation_id = "spawnpoint-audit",
    tag = tag::EXTENSIONS,
    summary = "Check every invariant now",
    description = "What `spawnpoint audit` prints.",
    responses((status = 200, description = "Each invariant and what breaks it", body = Body)),
)]
pub async fn audit(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
) -> Result<Response, ApiError> {
    state.engine().need_unbound(&caller.actor)?;
    let findings = state.engine().audit().await?;
    let violation_count = findings.iter().map(|finding| finding.violations.len()).sum();
    Ok(wire::ok(&Body { invariants: findings.iter().map(Invariant::of).collect(), violation_count }))
}
