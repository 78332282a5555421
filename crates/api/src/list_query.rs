//! The query language of `GET /v1/deployments`: `{"filters":[{"field","operator","value"}],"order_by":[{"field","order"}]}`.
//!
//! Filters are ANDed; each field may be filtered once. Every mistake is noted under its path in the query.

use serde_json::Value;
use spawnpoint_model::limits::{FILTER_VALUES_MAX, FILTERS_MAX};
use spawnpoint_model::query::{Condition, ListQuery, Ordering, SortField, TextMatch};
use spawnpoint_model::{Invalid, Status};

use crate::dates;
use crate::error::ApiError;
use crate::fields::{Fields, Problems};
use crate::limits::LIST_QUERY_BYTES_MAX;

/// Characters of a value that is compared.
const VALUE_CHARS_MAX: usize = 255;

/// Reads the `query` parameter; without one, everything is listed.
///
/// # Errors
/// 400, naming every mistake.
pub fn read(query: Option<&str>) -> Result<ListQuery, ApiError> {
    let Some(text) = query.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(ListQuery::default());
    };
    if text.len() > LIST_QUERY_BYTES_MAX {
        return Err(Invalid::new("query", format!("must have at most {LIST_QUERY_BYTES_MAX} bytes")).into());
    }
    let object = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return Err(Invalid::new("query", "must be a JSON object").into()),
        Err(error) => return Err(Invalid::new("query", format!("is not valid JSON: {error}")).into()),
    };
    let problems = Problems::new();
    let fields = Fields::new(&object, &problems);
    let conditions = conditions(&fields);
    let order_by = order(&fields);
    problems.into_result()?;
    Ok(ListQuery { conditions, order_by, apps: Vec::new() })
}

fn conditions(query: &Fields<'_>) -> Vec<Condition> {
    let mut seen: Vec<&str> = Vec::new();
    let mut conditions = Vec::new();
    for filter in query.objects("filters", FILTERS_MAX).unwrap_or_default() {
        for key in ["field", "operator", "value"] {
            filter.require(key);
        }
        let (Some(field), Some(operator)) = (filter.text("field"), filter.text("operator")) else { continue };
        if seen.contains(&field) {
            filter.note("field", format!("there is another filter on {field}; one is allowed"));
            continue;
        }
        seen.push(field);
        conditions.extend(condition(&filter, field, operator));
    }
    conditions
}

fn condition(filter: &Fields<'_>, field: &str, operator: &str) -> Option<Condition> {
    match field {
        "status" => {
            let positive = one_of(filter, operator, &[("eq", true), ("neq", false)])?;
            Some(Condition::Status(filter.parsed("value", status)?, positive))
        }
        "request_id" => {
            // What cannot be an id simply belongs to no deployment.
            let (ids, positive) = set(filter, operator)?;
            Some(Condition::Id(ids.iter().filter_map(|id| id.parse().ok()).collect(), positive))
        }
        "tags" => set(filter, operator).map(|(tags, positive)| Condition::Tags(tags, positive)),
        "application" => text_match(filter, operator).map(Condition::Application),
        "version" => text_match(filter, operator).map(Condition::Version),
        "fleet_name" => text_match(filter, operator).map(Condition::Fleet),
        "host_name" => text_match(filter, operator).map(Condition::Host),
        "created_at" => {
            let ordering = ordering(filter, operator)?;
            Some(Condition::CreatedAt(ordering, filter.parsed("value", dates::parse)?))
        }
        "is_joinable_by_session" => {
            let positive = one_of(filter, operator, &[("eq", true), ("neq", false)])?;
            Some(Condition::Joinable(truth(filter)? == positive))
        }
        "available_session_sockets" => {
            let ordering = ordering(filter, operator)?;
            Some(Condition::AvailableSockets(ordering, filter.integer("value", 0..=i64::from(i32::MAX))?))
        }
        _ => {
            let allowed = "status, request_id, tags, application, version, fleet_name, host_name, created_at, \
                           is_joinable_by_session, available_session_sockets";
            filter.note("field", format!("must be one of {allowed}"));
            None
        }
    }
}

/// What `operator` stands for, or a note of what is allowed.
fn one_of<T: Copy>(filter: &Fields<'_>, operator: &str, allowed: &[(&str, T)]) -> Option<T> {
    let found = allowed.iter().find(|(name, _)| *name == operator).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let names: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
        filter.note("operator", format!("must be one of {} for this field", names.join(", ")));
    }
    found
}

fn ordering(filter: &Fields<'_>, operator: &str) -> Option<Ordering> {
    let allowed = [
        ("eq", Ordering::Eq),
        ("neq", Ordering::Neq),
        ("lt", Ordering::Lt),
        ("lte", Ordering::Lte),
        ("gt", Ordering::Gt),
        ("gte", Ordering::Gte),
    ];
    one_of(filter, operator, &allowed)
}

/// How many values an operator takes, and whether they are to be or not to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    One(bool),
    Many(bool),
    Pattern,
}

const SET: [(&str, Shape); 4] = [
    ("eq", Shape::One(true)),
    ("neq", Shape::One(false)),
    ("in", Shape::Many(true)),
    ("nin", Shape::Many(false)),
];

/// One text or several, and whether the field is to be one of them.
fn set(filter: &Fields<'_>, operator: &str) -> Option<(Vec<String>, bool)> {
    values(filter, one_of(filter, operator, &SET)?)
}

fn values(filter: &Fields<'_>, shape: Shape) -> Option<(Vec<String>, bool)> {
    let checked = |text: &str| {
        spawnpoint_model::names::check_text(text, 0..=VALUE_CHARS_MAX)?;
        Ok(text.to_owned())
    };
    match shape {
        Shape::One(positive) => Some((vec![filter.parsed("value", checked)?], positive)),
        Shape::Many(positive) => Some((filter.texts("value", FILTER_VALUES_MAX, checked)?, positive)),
        Shape::Pattern => Some((vec![filter.parsed("value", checked)?], true)),
    }
}

fn text_match(filter: &Fields<'_>, operator: &str) -> Option<TextMatch> {
    let [one, not_one, many, none] = SET;
    let shape = one_of(filter, operator, &[one, not_one, many, none, ("ilike", Shape::Pattern)])?;
    let (mut texts, positive) = values(filter, shape)?;
    Some(match (shape, positive) {
        (Shape::Pattern, _) => TextMatch::Like(texts.pop().unwrap_or_default()),
        (_, true) => TextMatch::In(texts),
        (_, false) => TextMatch::NotIn(texts),
    })
}

/// `true`, `false`, or either as a text.
fn truth(filter: &Fields<'_>) -> Option<bool> {
    match filter.value("value")? {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) if text == "true" => Some(true),
        Value::String(text) if text == "false" => Some(false),
        _ => {
            filter.note("value", "must be true or false");
            None
        }
    }
}

/// `ready`, `READY`, `Status.READY`.
fn status(text: &str) -> Result<Status, Invalid> {
    let word = text.trim();
    let word = word.strip_prefix("Status.").unwrap_or(word);
    Status::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(word)).ok_or_else(|| {
        let words: Vec<String> = Status::ALL.iter().map(|s| s.as_str().to_ascii_lowercase()).collect();
        Invalid::new("", format!("must be one of {}", words.join(", ")))
    })
}

fn order(query: &Fields<'_>) -> Vec<(SortField, bool)> {
    let mut keys: Vec<(SortField, bool)> = Vec::new();
    for item in query.objects("order_by", FILTERS_MAX).unwrap_or_default() {
        item.require("field");
        let field = item.parsed("field", |text| match text {
            "created_at" => Ok(SortField::CreatedAt),
            "available_session_sockets" => Ok(SortField::AvailableSockets),
            _ => Err(Invalid::new("", "must be one of created_at, available_session_sockets")),
        });
        let descending = item.parsed("order", |text| match text.to_ascii_lowercase().as_str() {
            "asc" => Ok(false),
            "desc" => Ok(true),
            _ => Err(Invalid::new("", "must be asc or desc")),
        });
        let Some(field) = field else { continue };
        if keys.iter().any(|(other, _)| *other == field) {
            item.note("field", "is sorted by already");
            continue;
        }
        keys.push((field, descending.unwrap_or(false)));
    }
    keys
}

#[cfg(test)]
mod tests;
