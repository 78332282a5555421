//! Bodies of `POST /v2/deployments`.

use serde_json::{Map, Value, json};
use spawnpoint_engine::Player;

use super::read;

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("an object is needed") };
    object
}

fn with(key: &str, value: Value) -> Map<String, Value> {
    let mut body = object(json!({
        "application": "arena", "version": "v1",
        "users": [{"user_type": "ip_address", "user_data": {"ip_address": "198.51.100.7"}}]
    }));
    body.insert(key.to_owned(), value);
    body
}

fn user(user_type: &str, data: &Value) -> Map<String, Value> {
    with("users", json!([{"user_type": user_type, "user_data": data}]))
}

fn bad_fields(body: &Map<String, Value>) -> Vec<String> {
    read(body).err().map(|e| e.0.into_iter().map(|i| i.field).collect()).unwrap_or_default()
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(bad_fields(&Map::new()), ["application", "version", "users"]);
    for key in ["application", "version", "users"] {
        assert_eq!(bad_fields(&with(key, Value::Null)), [key]);
    }
}

#[test]
fn every_field_refuses_what_it_is_not() {
    let url = format!("https://example.com/{}", "x".repeat(2048));
    let hook = |url: &str| json!({ "url": url });
    for (key, bad, field) in [
        ("application", json!(1), "application"),
        ("application", json!(""), "application"),
        ("application", json!("x".repeat(65)), "application"),
        ("application", json!("a\u{1b}[2J"), "application"),
        ("version", json!(["v1"]), "version"),
        ("version", json!("a/b"), "version"),
        ("users", json!([]), "users"),
        ("users", json!({}), "users"),
        ("users", json!([1]), "users[0]"),
        ("users", json!([{"user_data": {}}]), "users[0].user_type"),
        ("users", json!([{"user_type": "geo_coordinates"}]), "users[0].user_data"),
        ("users", json!([{"user_type": "ip_address", "user_data": "1.2.3.4"}]), "users[0].user_data"),
        ("require_cached_locations", json!("yes"), "require_cached_locations"),
        ("environment_variables", json!("A=1"), "environment_variables"),
        ("environment_variables", json!([{"key": "A"}]), "environment_variables[0].value"),
        (
            "environment_variables",
            json!([{"key": "A", "value": null, "is_hidden": true}]),
            "environment_variables[0].value",
        ),
        ("environment_variables", json!([{"key": "", "value": ""}]), "environment_variables[0].key"),
        (
            "environment_variables",
            json!([{"key": "A", "value": "x".repeat(4097)}]),
            "environment_variables[0].value",
        ),
        (
            "environment_variables",
            json!([{"key": "A", "value": "", "is_hidden": "no"}]),
            "environment_variables[0].is_hidden",
        ),
        ("tags", json!("eu"), "tags"),
        ("tags", json!(["eu", 5]), "tags[1]"),
        ("tags", json!([""]), "tags[0]"),
        ("tags", json!(["x".repeat(41)]), "tags[0]"),
        ("tags", json!(["a\nb"]), "tags[0]"),
        ("tags", json!(vec!["t"; 65]), "tags"),
        ("webhook_on_ready", json!("https://example.com"), "webhook_on_ready"),
        ("webhook_on_ready", json!({}), "webhook_on_ready.url"),
        ("webhook_on_error", hook("ftp://example.com"), "webhook_on_error.url"),
        ("webhook_on_error", hook("example.com/x"), "webhook_on_error.url"),
        ("webhook_on_error", hook(""), "webhook_on_error.url"),
        ("webhook_on_terminated", hook("http://"), "webhook_on_terminated.url"),
        ("webhook_on_terminated", hook("http://a\u{0}b/"), "webhook_on_terminated.url"),
        ("webhook_on_terminated", hook(&url), "webhook_on_terminated.url"),
        ("webhook_on_ready", json!({"url": 5}), "webhook_on_ready.url"),
        ("resources", json!({"cpu_units": 256}), "resources.memory_mib"),
        ("resources", json!({"cpu_units": 256, "memory_mib": 513}), "resources.memory_mib"),
        ("resources", json!({"cpu_units": 99, "memory_mib": 100}), "resources.cpu_units"),
        ("resources", json!({"cpu_units": "256", "memory_mib": 256}), "resources.cpu_units"),
        ("resources", json!([]), "resources"),
    ] {
        assert_eq!(bad_fields(&with(key, bad.clone())), [field], "{bad:.80}");
    }
}

#[test]
fn players_have_an_address_or_a_position() {
    for (user_type, data, field) in [
        ("ip_address", json!({}), "users[0].user_data.ip_address"),
        ("ip_address", json!({"ip_address": "999.1.1.1"}), "users[0].user_data.ip_address"),
        ("ip_address", json!({"ip_address": 5}), "users[0].user_data.ip_address"),
        ("ip_address", json!({"ip_address": "example.com"}), "users[0].user_data.ip_address"),
        ("geo_coordinates", json!({"latitude": 1}), "users[0].user_data.longitude"),
        ("geo_coordinates", json!({"latitude": 91, "longitude": 0}), "users[0].user_data.latitude"),
        ("geo_coordinates", json!({"latitude": 0, "longitude": -181}), "users[0].user_data.longitude"),
        ("geo_coordinates", json!({"latitude": "45", "longitude": 0}), "users[0].user_data.latitude"),
        ("postcode", json!({}), "users[0].user_type"),
    ] {
        assert_eq!(bad_fields(&user(user_type, &data)), [field], "{user_type} {data}");
    }
    let at = |data: Value, user_type| read(&user(user_type, &data)).unwrap().players[0];
    assert!(
        matches!(at(json!({"latitude": 45.5, "longitude": -73}), "geo_coordinates"), Player::At(p) if p.longitude == -73.0)
    );
    assert!(
        matches!(at(json!({"ip_address": "::ffff:1.2.3.4"}), "ip_address"), Player::Address(a) if a.is_ipv4())
    );
    // Unity does this where it cannot find out its own address.
    assert!(matches!(at(json!({"latitude": 0, "longitude": 0}), "ip_address"), Player::At(_)));
}

#[test]
fn at_most_512_players_are_named() {
    let one = json!({"user_type": "ip_address", "user_data": {"ip_address": "1.2.3.4"}});
    assert_eq!(read(&with("users", json!(vec![&one; 512]))).unwrap().players.len(), 512);
    assert_eq!(bad_fields(&with("users", json!(vec![&one; 513]))), ["users"]);
}

#[test]
fn a_whole_request_is_read() {
    let mut body = with("tags", json!(["eu", "ranked", "eu"]));
    body.extend(object(json!({
        "require_cached_locations": true,
        "environment_variables": [{"key": "A", "value": "b=c&d?", "is_hidden": true}],
        "webhook_on_ready": {"url": "https://hooks.example.com/a?token=x%20y"},
        "resources": {"cpu_units": 512, "memory_mib": 1024},
        "something_else": {"ignored": true}
    })));
    let request = read(&body).unwrap();
    assert_eq!(request.tags.len(), 2, "a repeated tag counts once");
    assert!(request.require_cached && request.env[0].hidden);
    assert_eq!(request.env[0].value.as_ref().unwrap().reveal(), "b=c&d?");
    assert_eq!(request.webhooks.on_ready.unwrap().reveal(), "https://hooks.example.com/a?token=x%20y");
    assert!(request.webhooks.on_error.is_none());
    assert_eq!(request.resources.unwrap().memory.0, 1024);
}

#[test]
fn all_bad_fields_are_named_at_once() {
    let body = object(json!({"application": 1, "version": "", "users": [], "tags": [""], "resources": 1}));
    assert_eq!(bad_fields(&body), ["application", "version", "users", "tags[0]", "resources"]);
}
