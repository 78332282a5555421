//! Readers and arbitrary JSON: they never panic, and whatever they refuse they name.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use spawnpoint_api::list_query;
use spawnpoint_api::wire::{
    app, available, bulk_stop, deploy_v1, deploy_v2, lookup, report, tags, telemetry, version_body,
};

/// Any JSON, as deep as a body would be.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|f| json!(f)),
        any::<String>().prop_map(Value::from),
        prop_oneof![
            Just("ip_address"),
            Just("geo_coordinates"),
            Just("UDP"),
            Just("eq"),
            Just("in"),
            Just("status"),
            Just("created_at"),
            Just("198.51.100.7"),
            Just("https://example.com/"),
            Just("any"),
            Just("city"),
            Just("Seat"),
            Just("always"),
            Just("deployment_tags"),
            Just("not"),
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(any_key(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Mostly keys that mean something somewhere.
fn any_key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "name",
        "key",
        "value",
        "is_hidden",
        "is_secret",
        "user_type",
        "user_data",
        "ip_address",
        "latitude",
        "longitude",
        "ip",
        "url",
        "field",
        "values",
        "filter_type",
        "operator",
        "order",
        "port",
        "protocol",
        "to_check",
        "tls_upgrade",
        "kind",
        "sockets",
        "enabled",
        "endpoint_storage",
        "cpu_units",
        "memory_mib",
        "optimal_ping",
        "rejected_ping",
    ]);
    prop_oneof![9 => known.prop_map(str::to_owned), 1 => any::<String>()]
}

fn any_body(keys: &'static [&'static str]) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map(prop::sample::select(keys).prop_map(str::to_owned), any_json(), 0..keys.len())
        .prop_map(|map| map.into_iter().collect())
}

const V2: &[&str] = &[
    "application",
    "version",
    "users",
    "require_cached_locations",
    "environment_variables",
    "tags",
    "webhook_on_ready",
    "webhook_on_error",
    "webhook_on_terminated",
    "resources",
];
const V1: &[&str] = &[
    "app_name",
    "version_name",
    "ip_list",
    "geo_ip_list",
    "location",
    "filters",
    "env_vars",
    "tags",
    "webhook_url",
    "command",
    "arguments",
    "container_log_storage",
    "city",
    "ap_sort_strategy",
    "telemetry_profile_uuid_list",
];
const VERSION: &[&str] = &[
    "name",
    "docker_repository",
    "docker_image",
    "docker_tag",
    "private_username",
    "private_token",
    "req_cpu",
    "req_memory",
    "req_video",
    "max_duration",
    "ports",
    "envs",
    "session_config",
    "probe",
    "dns_config",
    "command",
    "restart_policy",
    "termination_grace_period_seconds",
    "time_to_deploy",
    "cache_min_hour",
    "endpoint_storage",
    "build_type",
];
const DEPLOYMENT: &[&str] = &[
    "name",
    "filters",
    "reason",
    "metadata",
    "app_name",
    "app_version",
    "minimum_sockets",
    "ip_list",
    "location",
    "latitude",
    "longitude",
    "addresses",
    "deployments",
    "ips",
    "webhook_url",
];
const QUERY: &[&str] = &["filters", "order_by"];

fn all_named(refused: Option<spawnpoint_model::Invalids>) -> bool {
    refused.is_none_or(|invalids| {
        !invalids.0.is_empty()
            && invalids.0.iter().all(|i| !i.field.is_empty() && !i.problem.contains(char::is_control))
    })
}

proptest! {
    #[test]
    fn deploy_bodies_are_read_or_refused_by_name(v2 in any_body(V2), v1 in any_body(V1)) {
        prop_assert!(all_named(deploy_v2::read(&v2).err()));
        prop_assert!(all_named(deploy_v1::read(&v1).err()));
    }

    #[test]
    fn version_and_application_bodies_are_read_or_refused_by_name(body in any_body(VERSION)) {
        prop_assert!(all_named(version_body::read_new(&body).err()));
        prop_assert!(all_named(version_body::read_patch(&body).err()));
        prop_assert!(all_named(app::read_new(&body).err()));
        prop_assert!(all_named(app::read_patch(&body).err()));
    }

    #[test]
    fn bodies_about_deployments_are_read_or_refused_by_name(body in any_body(DEPLOYMENT)) {
        prop_assert!(all_named(tags::read_name(&body).err()));
        prop_assert!(all_named(report::read(&body).err()));
        prop_assert!(all_named(available::read(&body).err()));
        prop_assert!(all_named(lookup::read(&body).err()));
        prop_assert!(all_named(telemetry::read(&body).err()));
        let stops = bulk_stop::read(&body);
        let whole = stops.iter().all(|filters| !filters.is_empty() && filters.iter().all(|f| !f.values.is_empty()));
        prop_assert!(whole);
        prop_assert!(all_named(stops.err()));
    }

    #[test]
    fn queries_are_read_or_refused(query in any_body(QUERY), text in any::<String>()) {
        for query in [Value::Object(query).to_string(), text] {
            if let Err(error) = list_query::read(Some(&query)) {
                prop_assert_eq!(error.status(), 400);
            }
        }
    }
}
