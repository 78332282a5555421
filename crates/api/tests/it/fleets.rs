//! Smart fleets over HTTP: their shapes, their codes, and deployments that come of them.

use axum::http::Method;
use serde_json::{Value, json};

use crate::schemas::check_v1;
use crate::world::{ADMIN, World, version};

fn policy(minimum: u32) -> Value {
    let filters = json!([{"field": "city", "values": ["lyon"], "filter_type": "any"}]);
    json!({
        "name": "eu", "enabled": true, "type": "Location", "minimum": minimum, "maximum": 3, "threshold": 0.5,
        "data": {"filters": filters}
    })
}

async fn seats(world: &World) {
    let mut body = version("seats", "fake/game", "ok");
    body["session_config"] = json!({"kind": "Seat", "sockets": 2});
    world.post("/v1/app/arena/version", &body).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fleets_policies_and_links_are_made_shown_changed_and_deleted_as_specified() {
    let world = World::with_arena().await;
    seats(&world).await;
    let made = world.post("/v1/fleet", &json!({"name": "every where"})).await.expect(200);
    check_v1("FleetPostResponse", &made);
    assert_eq!((&made["name"], &made["enabled"]), (&json!("every where"), &json!(false)));
    check_v1("Error", &world.post("/v1/fleet", &json!({"name": "every where"})).await.expect(409));
    let fleet = "/v1/fleet/every%20where";
    check_v1("FleetGetResponse", &world.get(fleet).await.expect(200));
    let policies = format!("{fleet}/policies");
    let posted = world.post(&policies, &policy(1)).await.expect(200);
    check_v1("FleetPoliciesPostResponse", &posted);
    assert_eq!(posted["data"], policy(1)["data"]);
    check_v1("Error", &world.post(&policies, &policy(1)).await.expect(409));
    let eu = format!("{policies}/eu");
    let got = world.get(&eu).await.expect(200);
    check_v1("FleetPoliciesGetResponse", &got);
    assert_eq!(got, posted);
    // What was read can be sent back.
    let patched = world.patch(&eu, &got).await.expect(200);
    check_v1("FleetPoliciesPatchPayload", &patched);
    let patched =
        world.patch(&eu, &json!({"name": "europe", "minimum": 2, "maximum": null})).await.expect(200);
    assert_eq!((&patched["minimum"], &patched["maximum"]), (&json!(2), &Value::Null));
    check_v1("Error", &world.get(&eu).await.expect(404));
    let list = world.get(&policies).await.expect(200);
    assert_eq!((&list["policies"][0]["name"], &list["pagination"]["number"]), (&json!("europe"), &json!(1)));

    let link = format!("{fleet}/app/arena/version/seats");
    let linked = world.call(Method::PUT, &link, ADMIN, None).await.expect(200);
    check_v1("HorizontalScalerAppVersionLink", &linked);
    assert_eq!(world.call(Method::PUT, &link, ADMIN, None).await.expect(200), linked, "twice is once");
    let links = world.get("/spawnpoint/v1/fleets/every%20where/links").await.expect(200);
    assert_eq!((&links["total_count"], &links["links"][0]), (&json!(1), &linked));
    let plain = world.call(Method::PUT, &format!("{fleet}/app/arena/version/v1"), ADMIN, None).await;
    check_v1("Error", &plain.expect(400));
    for path in
        [format!("{fleet}/app/arena/version/nobody"), "/v1/fleet/nobody/app/arena/version/seats".to_owned()]
    {
        check_v1("Error", &world.call(Method::PUT, &path, ADMIN, None).await.expect(404));
    }

    let renamed = world.patch(fleet, &json!({"name": "all"})).await.expect(200);
    check_v1("FleetPatchResponse", &renamed);
    check_v1("Error", &world.get(fleet).await.expect(404));
    let fleets = world.get("/v1/fleets").await.expect(200);
    check_v1("FleetList", &fleets);
    assert_eq!(fleets["fleets"][0]["name"], "all");
    check_v1("HorizontalScalerConstraintList", &json!({"pagination": fleets["pagination"]}));
    assert_eq!(world.delete("/v1/fleet/all/app/arena/version/seats").await.code, 204);
    check_v1("Error", &world.delete("/v1/fleet/all/app/arena/version/seats").await.expect(404));
    check_v1("FleetDeleteResponse", &world.delete("/v1/fleet/all/policies/europe").await.expect(200));
    check_v1("FleetDeleteResponse", &world.delete("/v1/fleet/all").await.expect(200));
    check_v1("Error", &world.delete("/v1/fleet/all").await.expect(404));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_of_a_fleet_are_ordinary_ones_and_found_by_its_name() {
    let world = World::with_arena().await;
    seats(&world).await;
    world.post("/v1/fleet", &json!({"name": "all", "enabled": true})).await.expect(200);
    world.post("/v1/fleet/all/policies", &policy(2)).await.expect(200);
    world.call(Method::PUT, "/v1/fleet/all/app/arena/version/seats", ADMIN, None).await.expect(200);
    let query = "/v1/deployments?query=%7B%22filters%22%3A%5B%7B%22field%22%3A%22fleet_name%22%2C%22operator%22%3A%22eq%22%2C%22value%22%3A%22all%22%7D%5D%7D";
    let mut ids = Vec::new();
    for round in 0.. {
        let list = world.get(query).await.expect(200);
        ids = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| d["request_id"].as_str().unwrap().to_owned())
            .collect();
        if ids.len() == 2 {
            break;
        }
        assert!(round < 500, "{list}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for id in &ids {
        let status = world.until(id, "READY").await;
        check_v1("Status", &status);
        assert_eq!((&status["location"]["city"], &status["sockets"]), (&json!("lyon"), &json!(2)));
    }
    world.delete("/v1/fleet/all").await.expect(200);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_field_of_a_fleet_is_named() {
    let world = World::with_arena().await;
    world.post("/v1/fleet", &json!({"name": "all"})).await.expect(200);
    let with = |key: &str, value: Value| {
        let mut body = policy(1);
        body[key] = value;
        body
    };
    for (path, body, field) in [
        ("/v1/fleet", json!({}), "name"),
        ("/v1/fleet", json!({"name": "a/b"}), "name"),
        ("/v1/fleet", json!({"name": "a", "enabled": "yes"}), "enabled"),
        ("/v1/fleet/all/policies", with("minimum", json!(0)), "minimum"),
        ("/v1/fleet/all/policies", with("minimum", json!(4)), "maximum"),
        ("/v1/fleet/all/policies", with("threshold", json!(1.5)), "threshold"),
        ("/v1/fleet/all/policies", with("type", json!("Planet")), "type"),
        ("/v1/fleet/all/policies", with("type", json!("Coordinates")), "data"),
        ("/v1/fleet/all/policies", with("data", json!({"latitude": 1, "longitude": 2})), "data"),
        (
            "/v1/fleet/all/policies",
            with("data", json!({"filters": [{"field": "city"}]})),
            "data.filters[0].values",
        ),
    ] {
        let answer = world.post(path, &body).await;
        check_v1("Error", &answer.expect(400));
        assert!(answer.message().contains(field), "{path} {field}: {answer:?}");
    }
    check_v1("Error", &world.post("/v1/fleet/nobody/policies", &policy(1)).await.expect(404));
    assert_eq!(world.get("/v1/fleet/all/policies").await.expect(200)["total_count"], 0);
    world.end().await;
}
