//! The exact sequences of requests that clients in the field send, as their code does it: what each looks at in an answer is
//! what is compared here.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::{deployment, external, text};
use spawnpoint_compat::http::{Answer, encode};
use spawnpoint_compat::ports::Ports;
use spawnpoint_compat::webhooks::Receiver;
use spawnpoint_compat::{PATIENCE, Server, eventually, server};

/// Unity reads the content type before anything else; without one it throws.
fn unity_can_read(answer: &Answer) {
    if answer.status != 204 {
        assert_eq!(answer.header("content-type"), Some("application/json"), "{}", answer.head);
    }
    if answer.status >= 400 {
        assert!(answer.json()["message"].is_string(), "{}", answer.text());
    }
}

/// The version as the plugin's "Build and push" sends it, retired fields and all.
fn unity_version() -> Value {
    json!({
        "name": "25.11.21-10.15.00-utc", "is_active": true, "docker_repository": "registry.example.com",
        "docker_image": "games/arena", "docker_tag": "25.11.21", "private_username": "robot$games+unity",
        "private_token": "secret", "req_cpu": 512, "req_memory": 512, "req_video": 0, "max_duration": 60,
        "use_telemetry": true, "inject_context_env": true, "whitelisting_active": false, "force_cache": false,
        "cache_min_hour": 0, "cache_max_hour": 23, "time_to_deploy": 120, "enable_all_locations": false,
        "is_public_app": false, "session_config": null, "command": null, "arguments": null, "envs": [],
        "termination_grace_period_seconds": 5, "verify_image": false, "endpoint_storage": null,
        "probe": {"optimal_ping": 60, "rejected_ping": 180},
        "ports": [{"port": 7777, "protocol": "UDP", "to_check": true, "tls_upgrade": false, "name": "gameport"}],
    })
}

#[test]
fn the_unity_plugin_logs_in_upserts_its_version_deploys_and_stops_until_410() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "registry-secret\n").unwrap();
    std::fs::set_permissions(secret.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let registry = |ports: &Ports| {
        let file = secret.path().display();
        let text = "url = \"registry.example.com\"\nproject = \"games\"\nusername = \"robot$games\"";
        format!("[registry]\n{text}\ntoken_file = \"{file}\"\n{}", server::fake(ports))
    };
    let server = Server::start(registry);
    let api = &server.api;

    let hello = api.post("/v1/wizard/init-quick-start", &json!({"source": "unity"}));
    assert_eq!((hello.status, hello.body.len()), (204, 0));
    let credentials = api.get("/v1/wizard/registry-credentials").expect(200);
    let expected = json!({
        "registry_url": "registry.example.com", "project": "games", "username": "robot$games", "token": "registry-secret",
    });
    assert_eq!(credentials, expected);

    // The application is made if it is not there. Anything but 200 means that.
    unity_can_read(&api.get("/v1/app/arena"));
    assert_eq!(api.get("/v1/app/arena").status, 404);
    let made = api.post("/v1/app", &json!({"name": "arena", "is_active": true, "image": ""}));
    unity_can_read(&made);
    assert_eq!(text(&made.expect(200), "name"), "arena");
    assert_eq!(api.get("/v1/app/arena").status, 200);

    // Its upsert is PATCH, then POST whatever PATCH said.
    let version = unity_version();
    let name = text(&version, "name");
    let path = format!("/v1/app/arena/version/{}", encode(&name));
    let first = [api.patch(&path, &version), api.post("/v1/app/arena/version", &version)];
    assert_eq!(first.each_ref().map(|answer| answer.status), [404, 200]);
    let mut changed = version.clone();
    changed["docker_tag"] = json!("25.11.22");
    let again = [api.patch(&path, &changed), api.post("/v1/app/arena/version", &version)];
    assert_eq!(again.each_ref().map(|answer| answer.status), [200, 409]);
    first.iter().chain(&again).for_each(unity_can_read);
    let stored = api.get(&path).expect(200);
    assert_eq!(text(&stored, "docker_tag"), "25.11.22", "the refused POST has changed something");
    assert_eq!(api.get("/v1/app/arena/versions").expect(200)["versions"].as_array().unwrap().len(), 1);

    let own_address = text(&api.get("/v1/ip").expect(200), "public_ip");
    let users = json!([{"user_type": "ip_address", "user_data": {"ip_address": own_address}}]);
    let deployed =
        api.post("/v2/deployments", &json!({"application": "arena", "version": name, "users": users}));
    unity_can_read(&deployed);
    let id = text(&deployed.expect(202), "request_id");
    let ready = eventually("Unity sees READY", PATIENCE, || {
        let status = api.get(&format!("/v1/status/{id}"));
        unity_can_read(&status);
        let status = status.expect(200);
        assert_eq!(status.get("message"), None, "Unity takes it for a failure");
        // It slices the word off behind `Status.` and compares.
        (&text(&status, "current_status")[7..] == "READY").then_some(status)
    });
    assert!(
        ready["elapsed_time"].is_u64() && ready["start_time"].is_string() && ready["public_ip"].is_string()
    );
    let link = text(&ready["ports"]["gameport"], "link");
    assert_eq!(link, format!("{}:{}", text(&ready, "fqdn"), external(&ready, "gameport")));

    let mut codes = Vec::new();
    eventually("DELETE is answered 410", PATIENCE, || {
        let answer = api.delete(&format!("/v1/stop/{id}"));
        unity_can_read(&answer);
        codes.push(answer.status);
        (answer.status == 410).then_some(())
    });
    assert!(codes.len() >= 2 && codes[..codes.len() - 1].iter().all(|code| *code == 200), "{codes:?}");
}

#[test]
fn without_a_registry_the_wizard_says_so_and_still_takes_the_token() {
    let server = Server::start(server::fake);
    assert_eq!(server.api.post("/v1/wizard/init-quick-start", &json!({"source": "mcp"})).status, 204);
    unity_can_read(&server.api.get("/v1/wizard/registry-credentials"));
    let stranger = spawnpoint_compat::Api { token: "nobody".to_owned(), ..server.api.clone() };
    assert_eq!(stranger.post("/v1/wizard/init-quick-start", &json!({"source": "unity"})).status, 401);
}

#[test]
fn nakama_deploys_with_callbacks_walks_its_list_and_drops_what_is_in_error() {
    let server = Server::start(server::fake);
    let api = &server.api;
    api.describe("arena", "v1", ("game", "1"), &json!({}));
    api.describe("broken", "v1", ("game", "start-error"), &json!({"time_to_deploy": 1}));
    let receiver = Receiver::open();
    let callback = |event: &str| receiver.url(&format!("/v2/rpc/edgegap_{event}?http_key=k%3D1&unwrap"));
    let hook = |event: &str| json!({"url": callback(event)});
    let body = |app: &str, match_id: &str| {
        let fields = json!({
            "tags": ["nakama", match_id],
            "environment_variables": [
                {"key": "NAKAMA_CONNECTION_EVENT_URL", "value": callback("connection"), "is_hidden": true},
                {"key": "NAKAMA_INSTANCE_METADATA", "value": "{\"EdgegapDeploymentID\":\"\"}", "is_hidden": false},
            ],
            "webhook_on_ready": hook("ready"), "webhook_on_error": hook("error"), "webhook_on_terminated": hook("end"),
        });
        deployment(app, "v1", &fields)
    };
    // It sends the token as its operator wrote it: with the word or without.
    let bare = |path: &str, body: &Value| {
        let bytes = body.to_string();
        let headers = [("authorization", api.token.as_str()), ("content-type", "application/json")];
        let request = spawnpoint_compat::http::request("POST", path, &headers, Some(bytes.as_bytes()));
        spawnpoint_compat::http::send_raw(api.address, &request).unwrap()
    };
    let mut ids = BTreeSet::new();
    for number in 0..45 {
        let answer = bare("/v2/deployments", &body("arena", &format!("match-{number}")));
        assert!(ids.insert(text(&answer.expect(202), "request_id")));
    }
    let broken = text(&bare("/v2/deployments", &body("broken", "match-x")).expect(202), "request_id");

    let first = ids.first().unwrap();
    let ready = receiver.wait_for(first, "READY");
    assert_eq!(ready.path, "/v2/rpc/edgegap_ready?http_key=k%3D1&unwrap");
    let instance = ready.json();
    assert!(
        external(&instance, "game") > 0 && instance["fqdn"].is_string() && instance["public_ip"].is_string()
    );
    let error = receiver.wait_for(&broken, "ERROR").json();
    assert!(!text(&error, "error_detail").is_empty());
    ids.iter().for_each(|id| drop(receiver.wait_for(id, "READY")));

    let query = encode(r#"{"filters":[{"field":"tags","operator":"eq","value":"nakama"}]}"#);
    let (mut page, mut seen, mut failed) = (json!(1), Vec::new(), Vec::new());
    loop {
        let list = api.get(&format!("/v1/deployments?query={query}&page={page}&limit=10")).expect(200);
        assert_eq!(list["total_count"], json!(46));
        for item in list["data"].as_array().unwrap() {
            let drop_it = text(item, "status") == "Status.ERROR";
            (if drop_it { &mut failed } else { &mut seen }).push(text(item, "request_id"));
        }
        if list["pagination"]["has_next"] != json!(true) {
            assert_eq!(list["pagination"]["next_page_number"], Value::Null);
            break;
        }
        page = list["pagination"]["next_page_number"].clone();
    }
    assert_eq!((page, seen.len(), failed), (json!(5), 45, vec![broken]), "a gap, or one twice");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), ids);
    let end = api.delete(&format!("/v1/stop/{first}"));
    assert_eq!(end.status, 200);
    assert_eq!(receiver.wait_for(first, "TERMINATED").path, "/v2/rpc/edgegap_end?http_key=k%3D1&unwrap");
}

#[test]
fn the_unreal_kit_reads_its_list_without_a_limit_and_waits_when_it_was_too_fast() {
    let hasty = |ports: &Ports| {
        format!("[limits]\nlist_per_second = 2\nstatus_per_second = 0\n{}", server::fake(ports))
    };
    let server = Server::start(hasty);
    let api = &server.api;
    api.describe("arena", "v1", ("game", "1"), &json!({}));
    let ids: Vec<String> = (0..21).map(|_| api.deploy("arena", "v1", &json!({}))).collect();
    ids.iter().for_each(|id| drop(api.wait_for(id, "READY")));
    let order = r#"{"filters":[{"field":"status","operator":"eq","value":"ready"}],"order_by":[{"field":"created_at","order":"asc"}]}"#;
    let path = format!("/v1/deployments?query={}", encode(order));
    let list = api.get(&path).expect(200);
    let items = list["data"].as_array().unwrap();
    assert_eq!((items.len(), &list["total_count"]), (20, &json!(21)), "its page has 20");
    for (item, id) in items.iter().zip(&ids) {
        assert_eq!(text(item, "request_id"), *id, "oldest first");
        assert!(item["is_joinable_by_session"].is_boolean() && item["ready"] == json!(true));
        assert_eq!((&item["sockets"], &item["sockets_usage"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(list.get("message"), None, "an array breaks one client, a text another");

    let refused = eventually("too many lists are refused", Duration::from_secs(5), || {
        Some(api.get(&path)).filter(|answer| answer.status == 429)
    });
    unity_can_read(&refused);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    std::thread::sleep(Duration::from_secs(wait));
    let _ = api.get(&path).expect(200);
    // Other calls have limits of their own.
    let _ = api.get(&format!("/v1/status/{}", ids[0])).expect(200);
}

#[test]
fn the_mcp_server_clones_a_version_by_posting_back_what_it_read() {
    let server = Server::start(server::fake);
    let api = &server.api;
    let fields = json!({
        "private_username": "robot", "private_token": "secret", "restart_policy": "never", "max_duration": -1,
        "ports": [{"name": "web", "port": 8080, "protocol": "Websocket", "tls_upgrade": true}],
        "envs": [{"key": "A", "value": "1", "is_hidden": false}],
        "dns_config": {"x": [1]}, "will_deploy_in_mainland_china": false,
    });
    api.describe("arena", "v1", ("game", "1"), &fields);
    let mut read = api.get("/v1/app/arena/version/v1").expect(200);
    assert_eq!((&read["ports"][0]["protocol"], &read["restart_policy"]), (&json!("WS"), &json!("never")));
    assert_ne!(read["private_token"], json!("secret"));
    read["name"] = json!("v2");
    let cloned = api.post("/v1/app/arena/version", &read).expect(200)["version"].take();
    for key in ["ports", "envs", "dns_config", "max_duration", "docker_image", "private_username", "req_cpu"]
    {
        assert_eq!(cloned[key], read[key], "{key}");
    }
    let names = api.get("/v1/app/arena/versions?page=1&limit=100").expect(200);
    assert_eq!((&names["total_count"], &names["pagination"]["has_next"]), (&json!(2), &json!(false)));
}

#[test]
fn old_v1_clients_deploy_the_version_made_last_and_slashes_at_the_end_do_not_matter() {
    let server = Server::start(server::fake);
    let api = &server.api;
    for version in ["v1", "v3", "v2"] {
        api.describe("arena", version, ("game", "1"), &json!({}));
    }
    let receiver = Receiver::open();
    // The published example sends both lists.
    let body = json!({
        "app_name": "arena", "ip_list": ["1.1.1.1"], "geo_ip_list": [{"ip": "1.1.1.1", "latitude": 1.5, "longitude": 2}],
        "telemetry_profile_uuid_list": [], "is_public_app": false, "skip_telemetry": true, "ap_sort_strategy": "basic",
        "webhook_url": receiver.url("/"), "command": null, "arguments": null,
    });
    let answer = api.post("/v1/deploy/", &body).expect(200);
    assert_eq!(
        (text(&answer, "request_version"), &answer["request_user_count"]),
        ("v2".to_owned(), &json!(1))
    );
    assert_eq!(answer["container_log_storage"], json!({"enabled": false, "endpoint_storage": null}));
    assert_eq!(answer["filters"], json!([]));
    let id = text(&answer, "request_id");
    let status = receiver.wait_for(&id, "READY").json();
    assert_eq!(text(&answer, "request_dns"), text(&status, "fqdn"));
    assert_eq!(api.get(&format!("/v1/status/{id}/")).status, 200);
    assert_eq!(api.delete(&format!("/v1/stop/{id}/?container_log_storage=false")).status, 200);
}
