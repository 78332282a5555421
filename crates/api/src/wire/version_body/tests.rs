//! Bodies of versions: every field, missing, wrong, too long, odd.

use serde_json::{Map, Value, json};
use spawnpoint_engine::versions::VersionInput;
use spawnpoint_model::Protocol;
use spawnpoint_model::app::{RestartPolicy, SessionKind};

use super::{read_new, read_patch};

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("an object is needed") };
    object
}

fn minimal() -> Value {
    json!({
        "name": "v1", "docker_repository": "docker.io", "docker_image": "studio/arena", "docker_tag": "1.0",
        "req_cpu": 256, "req_memory": 256
    })
}

/// The minimal body with `key` set.
fn with(key: &str, value: Value) -> Map<String, Value> {
    let mut body = object(minimal());
    body.insert(key.to_owned(), value);
    body
}

fn bad_fields(body: &Map<String, Value>) -> Vec<String> {
    read_new(body).err().map(|e| e.0.into_iter().map(|i| i.field).collect()).unwrap_or_default()
}

fn patch(value: Value) -> VersionInput {
    read_patch(&object(value)).unwrap()
}

#[test]
fn what_a_version_needs_is_named_when_it_is_missing() {
    let needed = ["name", "docker_repository", "docker_image", "docker_tag", "req_cpu", "req_memory"];
    assert_eq!(bad_fields(&Map::new()), needed);
    for key in needed {
        let mut body = object(minimal());
        body.remove(key);
        assert_eq!(bad_fields(&body), [key]);
        assert_eq!(bad_fields(&with(key, Value::Null)), [key], "null");
    }
    assert!(bad_fields(&object(minimal())).is_empty());
}

#[test]
fn every_field_refuses_the_wrong_type() {
    let texts = [
        "name",
        "docker_repository",
        "docker_image",
        "docker_tag",
        "private_username",
        "private_token",
        "command",
        "arguments",
        "restart_policy",
        "endpoint_storage",
        "build_type",
    ];
    for key in texts {
        for bad in [json!(5), json!(true), json!([]), json!({})] {
            assert_eq!(bad_fields(&with(key, bad)), [key]);
        }
    }
    let numbers = [
        "req_cpu",
        "req_memory",
        "req_video",
        "max_duration",
        "time_to_deploy",
        "termination_grace_period_seconds",
        "cache_min_hour",
        "cache_max_hour",
    ];
    for key in numbers {
        for bad in [json!("5"), json!(true), json!(5.5), json!([]), json!(1e300), json!(u64::MAX)] {
            assert_eq!(bad_fields(&with(key, bad.clone())), [key], "{key} {bad}");
        }
    }
    let flags = [
        "is_active",
        "verify_image",
        "force_cache",
        "whitelisting_active",
        "use_telemetry",
        "inject_context_env",
        "enable_all_locations",
        "will_deploy_in_mainland_china",
    ];
    for key in flags {
        for bad in [json!("true"), json!(1), json!([])] {
            assert_eq!(bad_fields(&with(key, bad)), [key]);
        }
    }
    for key in ["ports", "envs"] {
        assert_eq!(bad_fields(&with(key, json!({}))), [key]);
        assert_eq!(bad_fields(&with(key, json!(["x"]))), [format!("{key}[0]")]);
    }
    for key in ["session_config", "probe"] {
        assert_eq!(bad_fields(&with(key, json!("x"))), [key]);
    }
}

#[test]
fn every_field_has_its_bounds() {
    let long = "x".repeat(5000);
    for (key, bad) in [
        ("name", json!("")),
        ("name", json!("x".repeat(65))),
        ("name", json!("v\u{0}1")),
        ("docker_repository", json!("-v")),
        ("docker_repository", json!("a b")),
        ("docker_repository", json!("a\u{1b}[0m")),
        ("docker_image", json!("")),
        ("docker_image", json!("Studio/Arena")),
        ("docker_image", json!("--privileged")),
        ("docker_image", json!("a//b")),
        ("docker_image", json!("../etc")),
        ("docker_tag", json!("")),
        ("docker_tag", json!("x".repeat(129))),
        ("docker_tag", json!("a b")),
        ("docker_tag", json!("sha256:xyz")),
        ("private_username", json!("a\nb")),
        ("private_token", json!("a\u{0}b")),
        ("command", json!(long)),
        ("command", json!("a\u{0}")),
        ("arguments", json!("\u{202e}")),
        ("endpoint_storage", json!("x".repeat(65))),
        ("build_type", json!("x".repeat(65))),
        ("dns_config", json!({"a": long})),
        ("restart_policy", json!("sometimes")),
        ("req_cpu", json!(99)),
        ("req_cpu", json!(-256)),
        ("req_memory", json!(99)),
        ("req_memory", json!(513)),
        ("req_video", json!(-1)),
        ("max_duration", json!(3_000_000_000_u64)),
        ("time_to_deploy", json!(0)),
        ("time_to_deploy", json!(3601)),
        ("termination_grace_period_seconds", json!(4)),
        ("termination_grace_period_seconds", json!(3601)),
        ("cache_min_hour", json!(24)),
        ("ports", json!(vec![json!({"port": 1, "protocol": "UDP"}); 65])),
        ("envs", json!(vec![json!({"key": "A", "value": "1"}); 257])),
    ] {
        assert_eq!(bad_fields(&with(key, bad.clone())), [key], "{key} {bad:.60}");
    }
}

#[test]
fn mistakes_inside_lists_are_named_by_their_place() {
    for (key, value, field) in [
        ("ports", json!([{"port": 7777, "protocol": "UDP"}, {"protocol": "UDP"}]), "ports[1].port"),
        ("ports", json!([{"port": 7777}]), "ports[0].protocol"),
        ("ports", json!([{"port": 60_000, "protocol": "UDP"}]), "ports[0].port"),
        ("ports", json!([{"port": 1, "protocol": "QUIC"}]), "ports[0].protocol"),
        ("ports", json!([{"port": 0, "protocol": "UDP"}]), "ports[0].name"),
        ("ports", json!([{"port": 1, "protocol": "UDP", "tls_upgrade": true}]), "ports[0].tls_upgrade"),
        ("ports", json!([{"port": 1, "protocol": "UDP", "to_check": "yes"}]), "ports[0].to_check"),
        ("ports", json!([{"port": 1, "protocol": "UDP", "name": "a\u{7}"}]), "ports[0].name"),
        ("ports", json!([{"port": 1, "protocol": "UDP"}, {"port": 1, "protocol": "TCP"}]), "ports[1].name"),
        ("envs", json!([{"value": "1"}]), "envs[0].key"),
        ("envs", json!([{"key": "A"}]), "envs[0].value"),
        ("envs", json!([{"key": "A", "value": 1}]), "envs[0].value"),
        ("envs", json!([{"key": "A", "value": "a\u{0}"}]), "envs[0].value"),
        ("envs", json!([{"key": "A", "value": "x".repeat(4097)}]), "envs[0].value"),
        ("envs", json!([{"key": "ARBITRIUM_X", "value": ""}]), "envs[0].key"),
        ("envs", json!([{"key": "x".repeat(256), "value": ""}]), "envs[0].key"),
        ("envs", json!([{"key": "A", "value": "", "is_hidden": 1}]), "envs[0].is_hidden"),
        ("envs", json!([{"key": "A", "value": "1"}, {"key": "A", "value": "2"}]), "envs[1].key"),
        ("session_config", json!({"kind": "Seat"}), "session_config.sockets"),
        ("session_config", json!({"kind": "Team", "sockets": 1}), "session_config.kind"),
        ("session_config", json!({"kind": "Seat", "sockets": 0}), "session_config.sockets"),
        ("session_config", json!({"kind": "Seat", "sockets": 1, "empty_ttl": 0}), "session_config.empty_ttl"),
        (
            "session_config",
            json!({"kind": "Seat", "sockets": 1, "session_max_duration": 59}),
            "session_config.session_max_duration",
        ),
        ("probe", json!({"optimal_ping": 60}), "probe.rejected_ping"),
        ("probe", json!({"optimal_ping": 0, "rejected_ping": 1}), "probe.optimal_ping"),
    ] {
        assert_eq!(bad_fields(&with(key, value.clone())), [field], "{value:.80}");
    }
}

#[test]
fn all_environment_together_is_bounded() {
    let variable = |i: usize| json!({"key": format!("K{i}"), "value": "x".repeat(4000)});
    let envs: Vec<Value> = (0..40).map(variable).collect();
    assert_eq!(bad_fields(&with("envs", json!(envs))), ["envs"]);
}

#[test]
fn a_registry_is_its_host() {
    let registry = |text: &str| read_new(&with("docker_repository", json!(text))).unwrap().registry.unwrap();
    assert_eq!(registry("https://registry.example.com:5000/"), "registry.example.com:5000");
    assert_eq!(registry("docker.io"), "docker.io");
    assert_eq!(registry(""), "");
}

#[test]
fn unknown_fields_are_ignored_and_known_ones_without_meaning_are_kept() {
    let body = with("is_public_app", json!([1]));
    assert!(read_new(&body).unwrap().extras.is_none());
    let extras = json!({
        "probe": {"optimal_ping": 60, "rejected_ping": 180}, "use_telemetry": true, "cache_min_hour": 3,
        "dns_config": {"a": [1]}, "build_type": "unity", "will_deploy_in_mainland_china": false
    });
    let mut body = object(minimal());
    body.extend(object(extras.clone()));
    assert_eq!(read_new(&body).unwrap().extras, Some(object(extras)));
}

#[test]
fn all_fields_are_read() {
    let mut body = object(minimal());
    body.extend(object(json!({
        "private_username": "bob", "private_token": "s3cret", "req_video": 1024, "max_duration": 0,
        "time_to_deploy": 30, "termination_grace_period_seconds": 60, "restart_policy": "on_failure", "is_active": false,
        "verify_image": true, "force_cache": true, "whitelisting_active": true, "endpoint_storage": "s3",
        "command": "./run", "arguments": "-a b",
        "session_config": {"kind": "Seat", "sockets": 10, "autodeploy": true, "empty_ttl": 5},
        "ports": [{"port": 7777, "protocol": "Websocket", "to_check": false, "name": ""}],
        "envs": [{"key": "MY KEY", "value": "1", "is_secret": true}]
    })));
    let input = read_new(&body).unwrap();
    assert_eq!(input.username, Some(Some("bob".to_owned())));
    assert_eq!(input.token.unwrap().unwrap().reveal(), "s3cret");
    assert_eq!(
        (input.gpu, input.max_duration_minutes, input.time_to_deploy_seconds),
        (Some(1024), Some(0), Some(30))
    );
    assert_eq!((input.grace_seconds, input.restart_policy), (Some(60), Some(RestartPolicy::OnFailure)));
    assert_eq!(
        (input.is_active, input.verify_image, input.force_cache),
        (Some(false), Some(true), Some(true))
    );
    assert_eq!((input.access_list_active, input.endpoint_storage), (Some(true), Some(Some("s3".to_owned()))));
    assert_eq!((input.command, input.arguments), (Some(Some("./run".into())), Some(Some("-a b".into()))));
    let session = input.session.unwrap().unwrap();
    assert_eq!((session.kind, session.sockets), (Some(SessionKind::Seat), Some(10)));
    assert_eq!((session.empty_ttl_minutes, session.session_max_duration_minutes), (Some(Some(5)), None));
    let port = &input.ports.unwrap()[0];
    assert_eq!((port.protocol, port.to_check, &port.name), (Protocol::Ws, false, &None));
    let env = &input.env.unwrap()[0];
    assert_eq!((env.key.as_str(), env.hidden), ("MY_KEY", true));
}

#[test]
fn a_change_leaves_absent_fields_and_clears_what_null_can_clear() {
    let nothing = patch(json!({}));
    assert!(
        nothing.name.is_none()
            && nothing.ports.is_none()
            && nothing.command.is_none()
            && nothing.token.is_none()
    );
    let nulls = patch(json!({
        "name": null, "ports": null, "envs": null, "req_cpu": null, "command": null, "arguments": null,
        "endpoint_storage": null, "session_config": null
    }));
    assert!(nulls.name.is_none() && nulls.ports.is_none() && nulls.env.is_none() && nulls.cpu.is_none());
    assert_eq!((nulls.command, nulls.arguments), (Some(None), Some(None)));
    assert_eq!((nulls.endpoint_storage, nulls.session), (Some(None), Some(None)));
}

#[test]
fn secrets_that_come_back_masked_stay_as_they_are() {
    for token in [json!("********"), json!(""), json!(null)] {
        assert!(patch(json!({"private_username": "bob", "private_token": token})).token.is_none());
    }
    assert!(
        matches!(patch(json!({"private_username": null})).token, Some(None)),
        "it goes with the user's name"
    );
    let env = patch(json!({"envs": [{"key": "A", "value": null, "is_hidden": true}]})).env.unwrap();
    assert!(env[0].value.is_none() && env[0].hidden);
    let body = object(json!({"envs": [{"key": "A", "value": null, "is_hidden": false}]}));
    assert!(read_patch(&body).is_err(), "a variable that is not hidden has no value to keep");
}
