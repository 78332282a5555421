//! The body of `POST /v1/deployments/{request_id}:report`.

use serde_json::{Map, Value};
use spawnpoint_engine::report::Report;
use spawnpoint_model::Invalids;
use spawnpoint_model::limits::{REPORT_METADATA_BYTES_MAX, REPORT_REASON_CHARS_MAX};

use utoipa::ToSchema;

use crate::fields::{Fields, Problems};

/// A report.
#[derive(ToSchema)]
#[schema(as = DeploymentReport)]
pub struct ReportBody {
    /// What is wrong.
    #[schema(
        min_length = 1,
        max_length = 255,
        format = "prose",
        example = "players are thrown out after a minute"
    )]
    pub reason: String,
    /// Whatever else is known; at most 8 KiB as JSON.
    #[schema(value_type = Option<Object>, example = json!({"map": "dust"}))]
    pub metadata: Option<Map<String, Value>>,
}

/// Reads a report.
///
/// # Errors
/// Every bad field.
pub fn read(object: &Map<String, Value>) -> Result<Report, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("reason");
    let reason = body.prose("reason", REPORT_REASON_CHARS_MAX).unwrap_or_default().to_owned();
    if body.value("reason").is_some_and(|value| value.as_str().is_some_and(|text| text.is_empty())) {
        body.note("reason", format!("must have 1 to {REPORT_REASON_CHARS_MAX} characters"));
    }
    let _ = body.object("metadata");
    let metadata = body.value("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    let bytes = super::to_json(&metadata).len();
    if bytes > REPORT_METADATA_BYTES_MAX {
        body.note(
            "metadata",
            format!("must have at most {REPORT_METADATA_BYTES_MAX} bytes as JSON, not {bytes}"),
        );
    }
    problems.into_result()?;
    Ok(Report { reason, metadata })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_body(body: Value) -> Result<Report, Invalids> {
        let Value::Object(object) = body else { unreachable!("an object") };
        read(&object)
    }

    #[test]
    fn a_report_has_a_reason_and_perhaps_more() {
        let report = read_body(json!({"reason": "it lags\nbadly", "metadata": {"fps": [1, 2]}})).unwrap();
        assert_eq!((report.reason.as_str(), report.metadata.len()), ("it lags\nbadly", 1));
        assert!(read_body(json!({"reason": "é".repeat(255), "metadata": null})).unwrap().metadata.is_empty());
    }

    #[test]
    fn bad_fields_are_named() {
        for (body, field) in [
            (json!({}), "reason"),
            (json!({"reason": null}), "reason"),
            (json!({"reason": ""}), "reason"),
            (json!({"reason": 5}), "reason"),
            (json!({"reason": "a\u{1b}"}), "reason"),
            (json!({"reason": "x".repeat(256)}), "reason"),
            (json!({"reason": "a", "metadata": []}), "metadata"),
            (json!({"reason": "a", "metadata": "b"}), "metadata"),
            (json!({"reason": "a", "metadata": {"b": "x".repeat(REPORT_METADATA_BYTES_MAX)}}), "metadata"),
        ] {
            let problems = read_body(body.clone()).expect_err("it is refused");
            assert_eq!(
                problems.0.iter().map(|i| i.field.as_str()).collect::<Vec<_>>(),
                [field],
                "{body:.60}"
            );
        }
    }
}
