//! Bodies of `POST /v1/deploy`.

use serde_json::{Map, Value, json};
use spawnpoint_engine::{DeployRequest, Player};
use spawnpoint_model::filter::{FilterType, LocationField};

use super::read;

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("an object is needed") };
    object
}

fn with(key: &str, value: Value) -> Map<String, Value> {
    let mut body = object(json!({"app_name": "arena", "ip_list": ["198.51.100.7"]}));
    body.insert(key.to_owned(), value);
    body
}

fn bad_fields(body: &Map<String, Value>) -> Vec<String> {
    read(body).err().map(|e| e.0.into_iter().map(|i| i.field).collect()).unwrap_or_default()
}

fn request(value: Value) -> DeployRequest {
    read(&object(value)).unwrap().0
}

#[test]
fn a_place_for_the_players_is_needed() {
    assert_eq!(bad_fields(&Map::new()), ["app_name", "ip_list"]);
    assert_eq!(bad_fields(&object(json!({"app_name": "arena"}))), ["ip_list"]);
    assert_eq!(bad_fields(&object(json!({"app_name": "arena", "ip_list": []}))), ["ip_list"]);
    assert_eq!(bad_fields(&object(json!({"app_name": "arena", "geo_ip_list": []}))), ["geo_ip_list"]);
    assert!(
        bad_fields(&object(json!({"app_name": "arena", "location": {"latitude": 1, "longitude": 2}})))
            .is_empty()
    );
}

#[test]
fn location_wins_over_positions_and_positions_over_addresses() {
    let both = request(json!({
        "app_name": "arena", "ip_list": ["1.2.3.4", "1.2.3.5"], "geo_ip_list": [{"ip": "1.2.3.4", "latitude": 1, "longitude": 2}]
    }));
    assert!(matches!(both.players[..], [Player::At(p)] if p.latitude == 1.0));
    let all = request(json!({
        "app_name": "arena", "ip_list": ["1.2.3.4"], "location": {"latitude": 3, "longitude": 4}
    }));
    assert_eq!(all.centroid.unwrap().latitude, 3.0);
    assert_eq!(all.players.len(), 1);
}

#[test]
fn every_field_refuses_what_it_is_not() {
    for (key, bad, field) in [
        ("app_name", json!(1), "app_name"),
        ("app_name", json!("x".repeat(65)), "app_name"),
        ("version_name", json!(""), "version_name"),
        ("version_name", json!("a\u{0}"), "version_name"),
        ("ip_list", json!("1.2.3.4"), "ip_list"),
        ("ip_list", json!(["1.2.3"]), "ip_list[0]"),
        ("ip_list", json!([1]), "ip_list[0]"),
        ("ip_list", json!(vec!["1.2.3.4"; 513]), "ip_list"),
        ("geo_ip_list", json!([{"latitude": 1, "longitude": 2}]), "geo_ip_list[0].ip"),
        ("geo_ip_list", json!([{"ip": "1.2.3.4", "latitude": 1}]), "geo_ip_list[0].longitude"),
        ("geo_ip_list", json!([{"ip": "x", "latitude": 1, "longitude": 2}]), "geo_ip_list[0].ip"),
        ("location", json!({"latitude": 1}), "location.longitude"),
        ("location", json!({"latitude": 100, "longitude": 1}), "location.latitude"),
        ("location", json!("Lyon"), "location"),
        ("filters", json!({}), "filters"),
        ("filters", json!([{"field": "city", "filter_type": "any"}]), "filters[0].values"),
        ("filters", json!([{"field": "city", "values": ["a"]}]), "filters[0].filter_type"),
        ("filters", json!([{"field": "colour", "values": ["a"], "filter_type": "any"}]), "filters[0].field"),
        (
            "filters",
            json!([{"field": "city", "values": ["a"], "filter_type": "some"}]),
            "filters[0].filter_type",
        ),
        ("filters", json!([{"field": "city", "values": "a", "filter_type": "any"}]), "filters[0].values"),
        ("filters", json!([{"field": "city", "values": [], "filter_type": "any"}]), "filters[0].values"),
        ("filters", json!([{"field": "city", "values": [5], "filter_type": "any"}]), "filters[0].values[0]"),
        (
            "filters",
            json!(vec![json!({"field": "city", "values": ["a"], "filter_type": "any"}); 33]),
            "filters",
        ),
        ("env_vars", json!([{"key": "A", "value": 1}]), "env_vars[0].value"),
        ("env_vars", json!([{"key": "arbitrium_x", "value": ""}]), "env_vars[0].key"),
        ("tags", json!(["x".repeat(41)]), "tags[0]"),
        ("webhook_url", json!("nonsense"), "webhook_url"),
        ("webhook_url", json!(1), "webhook_url"),
        ("command", json!(["ls"]), "command"),
        ("command", json!("a\u{0}"), "command"),
        ("arguments", json!("x".repeat(4097)), "arguments"),
        ("container_log_storage", json!(true), "container_log_storage"),
        ("container_log_storage", json!({}), "container_log_storage.enabled"),
        (
            "container_log_storage",
            json!({"enabled": true, "endpoint_storage": 5}),
            "container_log_storage.endpoint_storage",
        ),
        ("city", json!(5), "city"),
        ("country", json!("a\u{7}"), "country"),
        ("is_public_app", json!("no"), "is_public_app"),
        ("skip_telemetry", json!(0), "skip_telemetry"),
        ("telemetry_profile_uuid_list", json!("x"), "telemetry_profile_uuid_list"),
        ("ap_sort_strategy", json!("best"), "ap_sort_strategy"),
    ] {
        assert_eq!(bad_fields(&with(key, bad.clone())), [field], "{key}: {bad:.80}");
    }
}

#[test]
fn single_place_fields_are_filters() {
    let filters = request(json!({
        "app_name": "arena", "ip_list": ["1.2.3.4"], "city": "Lyon", "region": "", "country": null,
        "filters": [{"field": "continent", "values": ["Europe", "Asia"], "filter_type": "not"}]
    }))
    .filters;
    assert_eq!(filters.len(), 2);
    assert_eq!((filters[0].field, filters[0].filter_type), (LocationField::Continent, FilterType::Not));
    assert_eq!((filters[1].field, filters[1].filter_type), (LocationField::City, FilterType::Any));
    assert_eq!(filters[1].values, ["Lyon"]);
}

#[test]
fn one_webhook_hears_of_ready_and_of_error() {
    let with =
        |url: &str| request(json!({"app_name": "a", "ip_list": ["1.2.3.4"], "webhook_url": url})).webhooks;
    let hooks = with("https://example.com/hook");
    assert!(hooks.on_ready.is_some() && hooks.on_error.is_some() && hooks.on_terminated.is_none());
    assert!(with("").on_ready.is_none());
}

#[test]
fn the_rest_of_a_request_is_read() {
    let (request, repeated) = read(&object(json!({
        "app_name": "arena", "version_name": "v1", "ip_list": ["1.2.3.4"], "tags": ["a"], "command": "./run",
        "arguments": null, "container_log_storage": {"enabled": true, "endpoint_storage": "s3"},
        "ap_sort_strategy": "basic", "is_public_app": false, "unknown": 1
    })))
    .unwrap();
    assert_eq!(request.version.unwrap().as_str(), "v1");
    assert_eq!((request.command.as_deref(), request.arguments), (Some("./run"), None));
    let storage = request.log_storage.unwrap();
    assert_eq!((storage.enabled, storage.endpoint_storage.as_deref()), (true, Some("s3")));
    assert!(repeated.tags);
    assert_eq!(repeated.ap_sort_strategy.as_deref(), Some("basic"));
}
