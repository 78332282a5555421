//! `GET /spawnpoint/v1/audit`: checks every invariant now.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use spawnpoint_engine::audit::Finding;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::state::ApiState;
use crate::wire;

#[derive(Serialize)]
struct Body<'a> {
    invariants: Vec<Invariant<'a>>,
    violation_count: usize,
}

#[derive(Serialize)]
struct Invariant<'a> {
    id: &'a str,
    rule: &'a str,
    violations: &'a [String],
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
pub async fn audit(
    State(state): State<ApiState>,
    _caller: Caller<op::Administer>,
) -> Result<Response, ApiError> {
    let findings = state.engine().audit().await?;
    let violation_count = findings.iter().map(|finding| finding.violations.len()).sum();
    Ok(wire::ok(&Body { invariants: findings.iter().map(Invariant::of).collect(), violation_count }))
}
