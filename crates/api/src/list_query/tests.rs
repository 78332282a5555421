//! The query language, line by line of its table.

use serde_json::{Value, json};
use spawnpoint_model::query::{Condition, Ordering, SortField, TextMatch};
use spawnpoint_model::{Status, Timestamp};

use super::read;

fn filters(filters: &Value) -> Result<Vec<Condition>, String> {
    let query = json!({ "filters": filters }).to_string();
    read(Some(&query)).map(|query| query.conditions).map_err(|error| format!("{error:?}"))
}

fn one(field: &str, operator: &str, value: &Value) -> Result<Condition, String> {
    filters(&json!([{"field": field, "operator": operator, "value": value}])).map(|mut all| all.remove(0))
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|t| (*t).to_owned()).collect()
}

#[test]
fn without_a_query_everything_is_listed() {
    for query in [
        None,
        Some(""),
        Some("  "),
        Some("{}"),
        Some(r#"{"filters":[],"order_by":[]}"#),
        Some(r#"{"filters":null}"#),
    ] {
        let read = read(query).unwrap();
        assert!(read.conditions.is_empty() && read.order_by.is_empty(), "{query:?}");
    }
}

#[test]
fn every_field_and_operator_is_understood() {
    let id = "5d1e07a9c34b".parse().unwrap();
    let at = Timestamp(1_790_726_400_000_000);
    for (field, operator, value, expected) in [
        ("status", "eq", json!("ready"), Condition::Status(Status::Ready, true)),
        ("status", "neq", json!("Status.ERROR"), Condition::Status(Status::Error, false)),
        ("request_id", "eq", json!("5d1e07a9c34b"), Condition::Id(vec![id], true)),
        ("request_id", "nin", json!(["5d1e07a9c34b", "nonsense"]), Condition::Id(vec![id], false)),
        ("tags", "eq", json!("eu"), Condition::Tags(texts(&["eu"]), true)),
        ("tags", "in", json!(["eu", "us"]), Condition::Tags(texts(&["eu", "us"]), true)),
        ("tags", "neq", json!("eu"), Condition::Tags(texts(&["eu"]), false)),
        ("application", "eq", json!("arena"), Condition::Application(TextMatch::In(texts(&["arena"])))),
        ("version", "nin", json!(["v1"]), Condition::Version(TextMatch::NotIn(texts(&["v1"])))),
        ("fleet_name", "ilike", json!("eu-%"), Condition::Fleet(TextMatch::Like("eu-%".into()))),
        ("host_name", "neq", json!("h1"), Condition::Host(TextMatch::NotIn(texts(&["h1"])))),
        ("created_at", "gte", json!("2026-09-30T00:00:00Z"), Condition::CreatedAt(Ordering::Gte, at)),
        ("created_at", "lte", json!("2026-09-30 00:00:00.000000"), Condition::CreatedAt(Ordering::Lte, at)),
        ("is_joinable_by_session", "eq", json!(true), Condition::Joinable(true)),
        ("is_joinable_by_session", "eq", json!("false"), Condition::Joinable(false)),
        ("is_joinable_by_session", "neq", json!(true), Condition::Joinable(false)),
        ("available_session_sockets", "gte", json!(2), Condition::AvailableSockets(Ordering::Gte, 2)),
        ("available_session_sockets", "lt", json!(9), Condition::AvailableSockets(Ordering::Lt, 9)),
    ] {
        assert_eq!(one(field, operator, &value), Ok(expected), "{field} {operator} {value}");
    }
}

#[test]
fn mistakes_are_named_by_their_path() {
    for (field, operator, value, path) in [
        ("colour", "eq", json!("red"), "filters[0].field"),
        ("status", "in", json!(["ready"]), "filters[0].operator"),
        ("status", "eq", json!("sleeping"), "filters[0].value"),
        ("tags", "ilike", json!("e%"), "filters[0].operator"),
        ("tags", "in", json!("eu"), "filters[0].value"),
        ("tags", "eq", json!(["eu"]), "filters[0].value"),
        ("tags", "in", json!(["eu", 1]), "filters[0].value[1]"),
        ("application", "eq", json!("a\u{0}b"), "filters[0].value"),
        ("application", "like", json!("a"), "filters[0].operator"),
        ("created_at", "in", json!(["2026"]), "filters[0].operator"),
        ("created_at", "eq", json!("yesterday"), "filters[0].value"),
        ("created_at", "eq", json!(5), "filters[0].value"),
        ("is_joinable_by_session", "eq", json!("maybe"), "filters[0].value"),
        ("available_session_sockets", "eq", json!("2"), "filters[0].value"),
        ("status", "eq", json!(null), "filters[0].value"),
    ] {
        let error = one(field, operator, &value).unwrap_err();
        assert!(error.contains(&format!("\"{path}\"")), "{field} {operator} {value}: {error}");
    }
}

#[test]
fn a_field_may_be_filtered_once() {
    let error = filters(&json!([
        {"field": "status", "operator": "neq", "value": "error"},
        {"field": "status", "operator": "neq", "value": "ready"},
    ]));
    assert!(error.unwrap_err().contains("filters[1].field"));
}

#[test]
fn what_is_not_a_query_is_refused() {
    let many = json!({"filters": vec![json!({}); 33]}).to_string();
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(9_000));
    for bad in [
        "[]",
        "{",
        "null",
        "ready",
        r#"{"filters":{}}"#,
        r#"{"filters":[1]}"#,
        r#"{"order_by":"x"}"#,
        &many,
        &long,
    ] {
        assert_eq!(read(Some(bad)).unwrap_err().status(), 400, "{bad:.40}");
    }
}

#[test]
fn lists_are_sorted_as_asked() {
    let query =
        r#"{"order_by":[{"field":"available_session_sockets","order":"desc"},{"field":"created_at"}]}"#;
    let order = read(Some(query)).unwrap().order_by;
    assert_eq!(order, [(SortField::AvailableSockets, true), (SortField::CreatedAt, false)]);
    for bad in [
        r#"{"order_by":[{"field":"status","order":"asc"}]}"#,
        r#"{"order_by":[{"field":"created_at","order":"up"}]}"#,
        r#"{"order_by":[{"order":"asc"}]}"#,
        r#"{"order_by":[{"field":"created_at"},{"field":"created_at"}]}"#,
    ] {
        assert_eq!(read(Some(bad)).unwrap_err().status(), 400, "{bad}");
    }
}
