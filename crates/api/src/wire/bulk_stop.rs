//! The body and the answer of `POST /v1/deployments/bulk-stop`.
//!
//! Whoever sends less than is meant must not stop more: each filter needs its field, its type and at least one value.

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::bulk_stop::{StopField, StopFilter};
use spawnpoint_model::filter::FilterType;
use spawnpoint_model::limits::{BULK_STOP_VALUES_MAX, FILTERS_MAX};
use spawnpoint_model::{DeploymentId, Invalid, Invalids};
use utoipa::ToSchema;

use super::deploy_v1::FilterKind;
use super::parts::Shown;
use crate::fields::{Fields, Problems};

/// Characters of a value of a filter.
const VALUE_CHARS_MAX: usize = 255;

/// Whom to stop.
#[derive(ToSchema)]
#[schema(as = BulkStop)]
pub struct BulkStopBody {
    /// Filters; all of them must match.
    #[schema(min_items = 1, max_items = 32)]
    pub filters: Vec<StopFilterBody>,
}

/// A filter on who is stopped.
#[derive(ToSchema)]
#[schema(as = BulkStopFilter)]
pub struct StopFilterBody {
    /// What of a deployment is compared.
    pub field: StopFieldBody,
    /// With what, without the blanks around it. What is no deployment's id matches none.
    #[schema(min_items = 1, max_items = 1000, example = json!(["ranked"]))]
    pub values: Vec<StopValue>,
    /// How.
    pub filter_type: FilterKind,
}

/// What of a deployment is compared.
#[derive(ToSchema)]
#[schema(as = BulkStopField, rename_all = "snake_case", example = "deployment_tags")]
pub enum StopFieldBody {
    /// Its id.
    RequestId,
    /// Its tags.
    DeploymentTags,
}

/// A value of a filter.
#[derive(ToSchema)]
#[schema(as = BulkStopValue, value_type = String, min_length = 1, max_length = 255, format = "filled-line", example = "ranked")]
pub struct StopValue(pub String);

/// Reads the filters.
///
/// # Errors
/// Every bad field.
pub fn read(object: &Map<String, Value>) -> Result<Vec<StopFilter>, Invalids> {
    let fields = [("request_id", StopField::Id), ("deployment_tags", StopField::Tags)];
    read_filters(object, &fields, |field, values, filter_type| StopFilter { field, values, filter_type })
}

/// Reads the filters of a bulk stop by fields of these names.
///
/// # Errors
/// Every bad field.
pub(super) fn read_filters<F: Copy, T>(
    object: &Map<String, Value>,
    fields: &[(&str, F)],
    make: impl Fn(F, Vec<String>, FilterType) -> T,
) -> Result<Vec<T>, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("filters");
    if body.is_empty_list("filters") {
        body.note("filters", "must not be empty");
    }
    let items = body.objects("filters", FILTERS_MAX).unwrap_or_default();
    let read = items.iter().filter_map(|item| {
        let (field, values, filter_type) = filter(item, fields)?;
        Some(make(field, values, filter_type))
    });
    let filters = read.collect();
    problems.into_result()?;
    Ok(filters)
}

fn filter<F: Copy>(item: &Fields<'_>, fields: &[(&str, F)]) -> Option<(F, Vec<String>, FilterType)> {
    for key in ["field", "values", "filter_type"] {
        item.require(key);
    }
    let field = item.parsed("field", |text| {
        fields.iter().find(|(name, _)| *name == text).map(|(_, field)| *field).ok_or_else(|| {
            let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
            Invalid::new("", format!("must be one of {}", names.join(", ")))
        })
    });
    let bare = |invalid: Invalid| Invalid::new("", invalid.problem);
    let filter_type = item.parsed("filter_type", |text| FilterType::parse(text).map_err(bare));
    let values = item.texts("values", BULK_STOP_VALUES_MAX, |text| {
        let text = text.trim();
        spawnpoint_model::names::check_text(text, 1..=VALUE_CHARS_MAX)?;
        Ok(text.to_owned())
    });
    if item.is_empty_list("values") {
        item.note("values", "must not be empty");
    }
    Some((field?, values?, filter_type?))
}

/// The answer: whom it stops.
#[derive(Serialize, ToSchema)]
#[schema(as = BulkStopped)]
pub struct StoppedBody {
    processable: Vec<Processable>,
}

/// A deployment that is stopped.
#[derive(Serialize, ToSchema)]
#[schema(as = BulkStoppedDeployment)]
struct Processable {
    #[schema(value_type = String, format = "deployment-id")]
    request_id: Shown<DeploymentId>,
}

impl StoppedBody {
    /// Of these deployments.
    #[must_use]
    pub fn of(ids: Vec<DeploymentId>) -> Self {
        let processable = ids.into_iter().map(|id| Processable { request_id: Shown(id) });
        Self { processable: processable.collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_filters(filters: Value) -> Result<Vec<StopFilter>, Invalids> {
        let Value::Object(object) = json!({ "filters": filters }) else { unreachable!("an object") };
        read(&object)
    }

    #[test]
    fn values_are_read_without_the_blanks_around_them() {
        let filters = read_filters(
            json!([{"field": "request_id", "values": [" 61b1be8f54d9", "a b "], "filter_type": "ANY"}]),
        );
        let expected = StopFilter {
            field: StopField::Id,
            values: vec!["61b1be8f54d9".into(), "a b".into()],
            filter_type: FilterType::Any,
        };
        assert_eq!(filters.unwrap(), [expected]);
    }

    #[test]
    fn whatever_could_mean_everything_is_refused_by_its_field() {
        let good = || json!({"field": "deployment_tags", "values": ["a"], "filter_type": "not"});
        let with = |key: &str, value: Value| {
            let mut filter = good();
            filter[key] = value;
            json!([good(), filter])
        };
        let many: Vec<&str> = vec!["a"; BULK_STOP_VALUES_MAX + 1];
        for (filters, field) in [
            (json!([]), "filters"),
            (Value::Null, "filters"),
            (json!({}), "filters"),
            (json!("all"), "filters"),
            (json!([[]]), "filters[0]"),
            (json!([{}]), "filters[0].field"),
            (with("values", json!([])), "filters[1].values"),
            (with("values", Value::Null), "filters[1].values"),
            (with("values", json!("a")), "filters[1].values"),
            (with("values", json!(["a", " "])), "filters[1].values[1]"),
            (with("values", json!([""])), "filters[1].values[0]"),
            (with("values", json!([7])), "filters[1].values[0]"),
            (with("values", json!(["a\u{0}"])), "filters[1].values[0]"),
            (with("values", json!(["x".repeat(256)])), "filters[1].values[0]"),
            (with("values", json!(many)), "filters[1].values"),
            (with("field", json!("status")), "filters[1].field"),
            (with("field", json!("")), "filters[1].field"),
            (with("filter_type", json!("none")), "filters[1].filter_type"),
            (with("filter_type", Value::Null), "filters[1].filter_type"),
            (json!(vec![good(); FILTERS_MAX + 1]), "filters"),
        ] {
            let problems = read_filters(filters.clone()).expect_err("it is refused");
            assert_eq!(
                problems.0.first().map(|invalid| invalid.field.as_str()),
                Some(field),
                "{filters:.80}"
            );
        }
        assert!(read(&Map::new()).is_err());
    }
}
