//! Private fleets over HTTP: deploys to named hosts, the list of a fleet's hosts, and what operators say of hosts.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::schemas::{check_openapi, check_openapi_of};
use crate::world::{ADMIN, World, deployment};

const DEPLOY: &str = "/v2/private-fleets/deployments";
const FORMER: &str = "/v2/private-fleets:deploy";
const HOSTS: &str = "/v2/private-fleets/tournament/hosts";

fn naming(hosts: &Value) -> Value {
    let mut body = deployment("v1");
    body["private_host_ids"] = hosts.clone();
    body
}

fn check(code: u16, body: &Value) {
    check_openapi("private-fleet-deploy.json", "/private-fleets/deployments", code, body);
}

/// The host as the fleet lists it.
async fn listed(world: &World, id: &str) -> Option<Value> {
    let list = world.get(HOSTS).await.expect(200);
    check_openapi_of("private-fleet-hosts.json", "get", "/private-fleets/{fleet-name}/hosts", 200, &list);
    list["data"].as_array().unwrap().iter().find(|host| host["host_id"] == id).cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_addresses_deploy_to_named_hosts_and_answer_as_published() {
    let world = World::with_arena().await;
    let mut ids = Vec::new();
    for path in [DEPLOY, FORMER] {
        let accepted = world.post(path, &naming(&json!(["nobody", "kyoto-1"]))).await.expect(202);
        check(202, &accepted);
        ids.push(accepted["request_id"].as_str().unwrap().to_owned());
    }
    for id in &ids {
        assert_eq!(world.until(id, "READY").await["location"]["city"], "kyoto");
    }
    for _ in 0..18 {
        world.post(DEPLOY, &naming(&json!(["osaka-1", "kyoto-1"]))).await.expect(202);
    }
    let refused = world.post(DEPLOY, &naming(&json!(["kyoto-1"]))).await.expect(422);
    check(422, &refused);
    let id = refused["request_id"].as_str().unwrap();
    assert_eq!(world.get(&format!("/v1/status/{id}")).await.expect(200)["current_status"], "Status.ERROR");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_idempotency_key_is_one_deployment_under_either_address() {
    let world = World::with_arena().await;
    let body = naming(&json!(["kyoto-1"])).to_string();
    let ask = async |path: &str| {
        let request = Request::post(path).header("authorization", ADMIN).header("idempotency-key", "order-7");
        world.send(request.body(Body::from(body.clone())).unwrap()).await.expect(202)
    };
    assert_eq!(ask(DEPLOY).await, ask(FORMER).await);
    assert_eq!(world.count().await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_hosts_are_named_beside_other_bad_fields_and_nothing_is_created() {
    let world = World::with_arena().await;
    let many: Vec<String> = (0..65).map(|n| format!("host-{n}")).collect();
    for (hosts, field) in [
        (Value::Null, "private_host_ids"),
        (json!([]), "private_host_ids"),
        (json!("kyoto-1"), "private_host_ids"),
        (json!({"0": "kyoto-1"}), "private_host_ids"),
        (json!(["kyoto-1", "kyoto-1"]), "private_host_ids"),
        (json!(many), "private_host_ids"),
        (json!(["kyoto-1", null]), "private_host_ids[1]"),
        (json!(["\u{1b}[31m"]), "private_host_ids[0]"),
        (json!(["x".repeat(9000)]), "private_host_ids[0]"),
        (json!(["nobody", "neither"]), "private_host_ids"),
    ] {
        for path in [DEPLOY, FORMER] {
            let answer = world.post(path, &naming(&hosts)).await;
            let error = answer.expect(400);
            check(400, &error);
            assert!(error["details"][field].is_string(), "{hosts:.60}: {error}");
            assert!(!answer.text.contains("\\u001b"), "nothing is repeated: {answer:?}");
        }
    }
    let details = world.post(DEPLOY, &json!({})).await.expect(400)["details"].clone();
    let named: Vec<&String> = details.as_object().unwrap().keys().collect();
    assert_eq!(named, ["application", "private_host_ids", "users", "version"]);
    assert_eq!(world.post(DEPLOY, &json!([])).await.code, 400);
    assert_eq!(world.count().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_lists_its_hosts_with_every_published_field() {
    let world = World::with_arena().await;
    let deployed = world.post(DEPLOY, &naming(&json!(["kyoto-1"]))).await.expect(202);
    world.until(deployed["request_id"].as_str().unwrap(), "READY").await;
    let host = listed(&world, "kyoto-1").await.unwrap();
    let expected = json!({
        "host_id": "kyoto-1", "status": "ACTIVE", "ip_address": "203.0.113.1",
        "latitude": 35.01, "longitude": 135.77, "city": "kyoto", "country": "somewhere", "continent": null,
        "allocated_cpu_units": 1024, "allocated_memory_mb": 512,
        "allocatable_cpu_units": 4096, "allocatable_memory_mb": 4096,
        "beacon": {"tcp_port": 8091, "udp_port": 8090, "ip_address": "203.0.113.9"},
        "created_at": "2026-09-21T14:13:20.000000Z", "updated_at": "2026-09-21T14:13:20.000000Z",
        "centroid": {"label": "Kansai", "latitude": 35.0, "longitude": 135.5, "radius_km": 100.0, "desired_host_count": 2},
        "delete_schedule": null,
        "fleet_host_specifications": {"cpu_units": 4096, "memory_mb": 4096, "base_clock_speed_mhz": 2000},
    });
    assert_eq!(host, expected);
    assert_eq!(
        listed(&world, "osaka-1").await.unwrap()["beacon"],
        Value::Null,
        "it does not answer over TCP"
    );
    let page = world.get(&format!("{HOSTS}?page=2&limit=1")).await.expect(200);
    assert_eq!((&page["total_count"], &page["data"][0]["host_id"]), (&json!(2), &json!("osaka-1")));
    assert_eq!(page["pagination"]["previous_page_number"], 1);
    let unknown = world.get("/v2/private-fleets/nobody%1b/hosts").await.expect(400);
    check_openapi_of("private-fleet-hosts.json", "get", "/private-fleets/{fleet-name}/hosts", 400, &unknown);
    assert!(unknown["details"]["fleet-name"].is_string(), "{unknown}");
    assert_eq!(world.get(&format!("{HOSTS}?page=0")).await.code, 400);
    assert_eq!(world.get("/v2/private-fleets/a%ff/hosts").await.code, 400);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_says_of_a_host_is_answered_listed_and_followed() {
    let world = World::with_arena().await;
    let host = "/spawnpoint/v1/hosts/kyoto-1";
    let say = async |method: Method, verb: &str, body: Option<Value>| {
        world.call(method, &format!("{host}/{verb}"), ADMIN, body.as_ref()).await
    };
    let status = async || listed(&world, "kyoto-1").await.unwrap()["status"].clone();

    let cordoned = say(Method::POST, "cordon", None).await.expect(200);
    assert_eq!((&cordoned["cordoned"], &cordoned["drain"]), (&json!(true), &Value::Null));
    assert_eq!((world.get(host).await.expect(200), status().await), (cordoned, json!("PENDING")));
    let went = world.post(DEPLOY, &naming(&json!(["kyoto-1", "osaka-1"]))).await.expect(202);
    let went = world.until(went["request_id"].as_str().unwrap(), "READY").await;
    assert_eq!(went["location"]["city"], "osaka");

    let drained = say(Method::POST, "drain", Some(json!({}))).await.expect(200);
    assert_eq!((&drained["drain"], &drained["drained"]), (&json!("wait"), &json!(true)));
    let stops = say(Method::POST, "drain", Some(json!({"deployments": "stop"}))).await.expect(200);
    assert_eq!(stops["drain"], "stop");
    let open = say(Method::POST, "uncordon", None).await.expect(200);
    assert_eq!((&open["cordoned"], status().await), (&json!(false), json!("ACTIVE")));

    let at = json!({"scheduled_at": "2026-12-24T18:00:00Z"});
    let scheduled = say(Method::PUT, "delete-schedule", Some(at)).await.expect(200);
    assert_eq!(scheduled["delete_schedule"]["scheduled_at"], "2026-12-24T18:00:00.000000Z");
    assert_eq!(listed(&world, "kyoto-1").await.unwrap()["delete_schedule"], scheduled["delete_schedule"]);
    assert_eq!(
        say(Method::DELETE, "delete-schedule", None).await.expect(200)["delete_schedule"],
        Value::Null
    );
    assert_eq!(say(Method::DELETE, "delete-schedule", None).await.code, 404);

    let past = json!({"scheduled_at": "2020-01-01T00:00:00Z"});
    let retired = say(Method::PUT, "delete-schedule", Some(past)).await.expect(200);
    assert_eq!((&retired["retired"], listed(&world, "kyoto-1").await), (&json!(true), None));
    assert_eq!(say(Method::POST, "uncordon", None).await.code, 409);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_about_a_host_is_named() {
    let world = World::new().await;
    let nobody = "/spawnpoint/v1/hosts/nobody";
    for (method, verb, body) in [
        (Method::GET, "", None),
        (Method::POST, "/cordon", None),
        (Method::POST, "/uncordon", None),
        (Method::POST, "/drain", Some(json!({}))),
        (Method::PUT, "/delete-schedule", Some(json!({"scheduled_at": "2026-12-24T18:00:00Z"}))),
        (Method::DELETE, "/delete-schedule", None),
    ] {
        let answer = world.call(method.clone(), &format!("{nobody}{verb}"), ADMIN, body.as_ref()).await;
        assert_eq!((answer.code, answer.message().is_empty()), (404, false), "{method} {verb}: {answer:?}");
    }
    let host = "/spawnpoint/v1/hosts/kyoto-1";
    for (method, verb, body, field) in [
        (Method::POST, "drain", json!({"deployments": "kill"}), "deployments"),
        (Method::POST, "drain", json!({"deployments": 5}), "deployments"),
        (Method::PUT, "delete-schedule", json!({}), "scheduled_at"),
        (Method::PUT, "delete-schedule", json!({"scheduled_at": "soon"}), "scheduled_at"),
        (Method::PUT, "delete-schedule", json!({"scheduled_at": "2226-12-24T18:00:00Z"}), "scheduled_at"),
    ] {
        let answer = world.call(method, &format!("{host}/{verb}"), ADMIN, Some(&body)).await;
        assert_eq!(answer.code, 400, "{body}: {answer:?}");
        assert!(answer.message().starts_with(field), "{body}: {answer:?}");
    }
    assert_eq!(world.get(host).await.expect(200)["cordoned"], false, "nothing of that did anything");
    for path in ["/spawnpoint/v1/hosts", "/spawnpoint/v1/private-fleets"] {
        assert_eq!(world.get(&format!("{path}?limit=x")).await.code, 400);
    }
    let hosts = world.get("/spawnpoint/v1/hosts?limit=2").await.expect(200);
    assert_eq!((&hosts["total_count"], hosts["data"].as_array().unwrap().len()), (&json!(5), 2));
    let fleets = world.get("/spawnpoint/v1/private-fleets").await.expect(200);
    assert_eq!(fleets["data"][0]["host_ids"], json!(["kyoto-1", "osaka-1"]));
    assert_eq!(fleets["data"][0]["active_hosts"], 2);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_and_a_host_are_added_used_and_removed() {
    let world = World::with_arena().await;
    let (fleets, hosts) = ("/spawnpoint/v1/private-fleets", "/spawnpoint/v1/hosts");
    let fleet = world.post(fleets, &json!({"name": "cup"})).await.expect(201);
    assert_eq!((&fleet["declared"], &fleet["host_ids"]), (&json!("api"), &json!([])));
    let new = json!({"host_id": "annex-1", "site": "lyon", "driver": "fake", "private_fleet": "cup"});
    let host = world.post(hosts, &new).await.expect(201);
    assert_eq!(
        (&host["declared"], &host["healthy"], &host["private_fleet"]),
        (&json!("api"), &json!(true), &json!("cup"))
    );
    assert_eq!(world.get(&format!("{hosts}/annex-1")).await.expect(200), host);
    assert_eq!(world.get(&format!("{hosts}/kyoto-1")).await.expect(200)["declared"], "config");
    assert_eq!(world.get(&format!("{fleets}/cup")).await.expect(200)["host_ids"], json!(["annex-1"]));
    let list = world.get("/v2/private-fleets/cup/hosts").await.expect(200);
    check_openapi_of("private-fleet-hosts.json", "get", "/private-fleets/{fleet-name}/hosts", 200, &list);
    assert_eq!(list["data"][0]["status"], "ACTIVE");
    let deployed = world.post(DEPLOY, &naming(&json!(["annex-1"]))).await.expect(202);
    let id = deployed["request_id"].as_str().unwrap().to_owned();
    assert_eq!(world.until(&id, "READY").await["location"]["city"], "lyon");

    let delete = async |path: String| world.call(Method::DELETE, &path, ADMIN, None).await;
    for (path, why) in [
        (format!("{hosts}/annex-1"), "in use"),
        (format!("{hosts}/kyoto-1"), "configuration"),
        (format!("{fleets}/cup"), "has hosts"),
        (format!("{fleets}/tournament"), "configuration"),
    ] {
        let refused = delete(path.clone()).await;
        assert_eq!(refused.code, 409, "{path}: {refused:?}");
        assert!(refused.message().contains(why), "{path}: {refused:?}");
    }
    for (path, body) in
        [(hosts, &new), (fleets, &json!({"name": "tournament"})), (fleets, &json!({"name": "cup"}))]
    {
        assert_eq!(world.post(path, body).await.code, 409, "{body}");
    }
    world.call(Method::DELETE, &format!("/v1/stop/{id}"), ADMIN, None).await.expect(200);
    let mut gone = delete(format!("{hosts}/annex-1")).await;
    for _ in 0..500 {
        if gone.code == 204 {
            break;
        }
        world.clock.advance(std::time::Duration::from_millis(100));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        gone = delete(format!("{hosts}/annex-1")).await;
    }
    assert_eq!(gone.code, 204, "{gone:?}");
    assert_eq!(delete(format!("{fleets}/cup")).await.code, 204);
    for path in [format!("{hosts}/annex-1"), format!("{fleets}/cup")] {
        assert_eq!((world.get(&path).await.code, delete(path.clone()).await.code), (404, 404), "{path}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_about_a_new_host_or_fleet_is_named_and_adds_nothing() {
    let world = World::new().await;
    let new = |field: &str, value: Value| {
        let mut body = json!({"host_id": "annex-1", "site": "lyon", "driver": "fake"});
        body[field] = value;
        body
    };
    for (field, value) in [
        ("host_id", Value::Null),
        ("host_id", json!("..")),
        ("host_id", json!("a b")),
        ("site", json!(5)),
        ("site", json!("atlantis")),
        ("private_fleet", json!("nobody")),
        ("driver", json!("kubernetes")),
        ("endpoint", json!("\u{1b}")),
        ("public_address", json!("example.com")),
        ("capacity", json!({"cpu_units": 5})),
        ("port_range", json!("1-2")),
        ("beacon", json!({"udp_port": 0})),
        ("base_clock_mhz", json!(-1)),
        ("security", json!("none")),
    ] {
        let answer = world.post("/spawnpoint/v1/hosts", &new(field, value.clone())).await;
        assert_eq!(answer.code, 400, "{field} = {value}: {answer:?}");
        assert!(answer.message().starts_with(field), "{field} = {value}: {answer:?}");
    }
    for (field, body) in [
        ("name", json!({})),
        ("name", json!({"name": "a/b"})),
        ("centroid", json!({"name": "cup", "centroid": 5})),
        ("centroid.longitude", json!({"name": "cup", "centroid": {"latitude": 5}})),
        ("centroid.latitude", json!({"name": "cup", "centroid": {"latitude": 95, "longitude": 5}})),
    ] {
        let answer = world.post("/spawnpoint/v1/private-fleets", &body).await;
        assert_eq!(answer.code, 400, "{body}: {answer:?}");
        assert!(answer.message().starts_with(field), "{body}: {answer:?}");
    }
    let hosts = world.get("/spawnpoint/v1/hosts").await.expect(200);
    assert_eq!(hosts["total_count"], 5, "nothing of that did anything");
    assert_eq!(world.get("/spawnpoint/v1/private-fleets").await.expect(200)["total_count"], 1);
    world.end().await;
}
