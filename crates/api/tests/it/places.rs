//! Where one can deploy and who is near: locations, beacons, addresses, telemetry.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::schemas::check_v1;
use crate::world::{World, version};

fn cities(list: &Value) -> Vec<&str> {
    list["locations"].as_array().unwrap().iter().map(|place| place["city"].as_str().unwrap()).collect()
}

async fn locations(world: &World, query: &str) -> Value {
    let list = world.get(&format!("/v1/locations{query}")).await.expect(200);
    check_v1("Locations", &list);
    list
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locations_are_the_sites_of_the_configuration_in_pages() {
    let world = World::new().await;
    let list = locations(&world, "").await;
    assert_eq!(cities(&list), ["lyon", "montreal", "tokyo"]);
    assert_eq!((&list["total_count"], &list["messages"]), (&json!(3), &json!([])));
    let lyon = &list["locations"][0];
    assert_eq!((&lyon["type"], &lyon["latitude"]), (&json!("standard"), &json!(45.75)));
    assert!(lyon.get("tags").is_none(), "they were not asked for");

    let second = locations(&world, "?page=2&limit=1").await;
    assert_eq!((cities(&second), &second["total_count"]), (vec!["montreal"], &json!(3)));
    assert_eq!(second["pagination"]["next_page_number"], 3);
    assert_eq!(cities(&locations(&world, "?page=9").await), Vec::<&str>::new());

    let tagged = locations(&world, "?tags=true&type=standard").await;
    assert_eq!(tagged["locations"][2]["tags"], json!([{"key": "edge", "value": "edge"}]));
    let none = locations(&world, "?type=metal").await;
    assert_eq!((&none["total_count"], none["messages"].as_array().unwrap().len()), (&json!(0), 1));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_application_only_locations_that_have_room_for_it_are_listed() {
    let world = World::with_arena().await;
    let mut large = version("large", "fake/game", "ok");
    large["req_cpu"] = json!(3584);
    large["req_memory"] = json!(3584);
    world.post("/v1/app/arena/version", &large).await.expect(200);
    let mut huge = version("huge", "fake/game", "ok");
    huge["req_cpu"] = json!(5000);
    world.post("/v1/app/arena/version", &huge).await.expect(200);
    let room_for = "?app=arena&version=large";
    assert_eq!(locations(&world, room_for).await["total_count"], 3);

    // One of v1 in Lyon leaves too little there for a large one.
    world.deploy_ready("v1").await;
    let list = locations(&world, room_for).await;
    assert_eq!(cities(&list), ["montreal", "tokyo"]);
    assert_eq!(list["messages"], json!(["1 location has no room for this now"]));
    assert_eq!(locations(&world, "?app=arena&version=v1").await["total_count"], 3);
    assert_eq!(locations(&world, "?app=arena&version=huge").await["total_count"], 0);
    assert_eq!(locations(&world, "?app=arena").await["total_count"], 0, "without a version: the last one");
    assert_eq!(locations(&world, "?app=&version=").await["total_count"], 3, "empty parameters are absent");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_parameters_of_locations_are_named() {
    let world = World::with_arena().await;
    for (query, field) in [
        ("app=nobody", "app"),
        ("app=a%00b", "app"),
        ("app=arena&version=none", "version"),
        ("version=v1", "app"),
        ("tags=perhaps", "tags"),
        ("page=0", "page"),
        ("limit=x", "limit"),
    ] {
        let answer = world.get(&format!("/v1/locations?{query}")).await;
        check_v1("Error", &answer.expect(400));
        assert!(answer.message().starts_with(&format!("{field}: ")), "{query}: {answer:?}");
    }
    let bound = world.token("read", &["other"]).await;
    let foreign = world.call(Method::GET, "/v1/locations?app=arena", &bound, None).await;
    assert_eq!(foreign.code, 403);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beacons_are_listed_with_the_ports_that_they_have() {
    let world = World::new().await;
    let list = world.get("/v1/locations/beacons").await.expect(200);
    check_v1("LocationBeaconList", &list);
    assert_eq!(list["count"], 2, "the third city has none");
    let [lyon, montreal] = &list["locations"].as_array().unwrap()[..] else { panic!("{list}") };
    assert_eq!((&lyon["host"], &lyon["fqdn"]), (&json!("203.0.113.9"), &json!("203.0.113.9")));
    assert_eq!((&lyon["udp_port"], &lyon["tcp_port"]), (&json!(8090), &json!(8091)));
    assert_eq!(lyon["location"]["city"], "lyon");
    assert!(montreal.get("tcp_port").is_none() && montreal["location"]["longitude"].is_number());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_looked_up_one_by_one_and_together() {
    let world = World::new().await;
    let known = world.get("/v1/ip/203.0.113.10/lookup").await.expect(200);
    check_v1("IPAddressLookupResponse", &known);
    let expected = json!({
        "type": "ipv4", "ip_address": "203.0.113.10",
        "location": {
            "continent": {"code": "EU", "name": "Europe"}, "country": {"code": "FR", "name": "France"},
            "latitude": 45.75, "longitude": 4.85,
        },
    });
    assert_eq!(known, expected);
    assert_eq!(world.get("/v1/ip/::ffff:203.0.113.10/lookup").await.expect(200), expected);
    for (address, kind) in
        [("10.1.2.3", "ipv4"), ("2001:db8::1", "ipv6"), ("203.0.113.99", "ipv4"), ("%3A%3A1", "ipv6")]
    {
        let unknown = world.get(&format!("/v1/ip/{address}/lookup")).await.expect(200);
        check_v1("IPAddressLookupResponse", &unknown);
        assert_eq!((&unknown["type"], &unknown["location"]), (&json!(kind), &Value::Null));
    }
    for bad in ["nowhere", "1.2.3", "1.2.3.4:80", "1.2.3.0%2F24", "%20"] {
        let answer = world.get(&format!("/v1/ip/{bad}/lookup")).await;
        check_v1("Error", &answer.expect(400));
        assert!(answer.message().starts_with("ip: "), "{bad}: {answer:?}");
    }

    let body = json!({"addresses": ["203.0.113.30", "10.0.0.1", "203.0.113.10", "2001:db8::1"]});
    let list = world.post("/v1/ips/lookup", &body).await.expect(200);
    check_v1("IPAddressesLookupResponse", &list);
    let shown: Vec<_> = list["addresses"].as_array().unwrap().iter().map(|a| &a["ip_address"]).collect();
    assert_eq!(json!(shown), body["addresses"], "in the order of the request");
    assert_eq!(list["addresses"][2], expected);
    let many = world.post("/v1/ips/lookup", &json!({"addresses": vec!["10.0.0.1"; 21]})).await;
    assert!(many.code == 400 && many.message().contains("at most 20"), "{many:?}");
    world.end().await;
}

/// Deploys near one of the cities (0 to 2).
async fn deploy_near(world: &World, city: usize) -> String {
    let (latitude, longitude) = [(45.75, 4.85), (45.5, -73.57), (35.68, 139.69)][city];
    let data = json!({"latitude": latitude, "longitude": longitude});
    let users = json!([{"user_type": "geo_coordinates", "user_data": data}]);
    let body = json!({"application": "arena", "version": "v1", "users": users});
    let answer = world.post("/v2/deployments", &body).await.expect(202);
    let id = answer["request_id"].as_str().unwrap().to_owned();
    world.until(&id, "READY").await;
    id
}

const TELEMETRY: &str = "/v1/telemetry/active-deployments";

async fn order(world: &World, deployments: &[&str], ips: &[&str]) -> (Vec<String>, Value) {
    let body = json!({"deployments": deployments, "ips": ips});
    let ticket = world.post(TELEMETRY, &body).await.expect(200);
    check_v1("ActiveDeploymentTelemetryResponse", &ticket);
    let key = ticket["retrieval_key"].as_str().unwrap();
    let result = world.get(&format!("{TELEMETRY}/{key}")).await.expect(200);
    check_v1("ActiveDeploymentTelemetryGetResult", &result);
    assert_eq!(result["retrieval_key"], key);
    let scores = result["scores"].as_array().unwrap();
    let ids = scores.iter().map(|score| score["request_id"].as_str().unwrap().to_owned()).collect();
    (ids, result["partial_result"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telemetry_puts_the_deployment_that_is_best_for_the_players_first() {
    let world = World::with_arena().await;
    let mut ids = Vec::new();
    for city in 0..3 {
        ids.push(deploy_near(&world, city).await);
    }
    let [lyon, montreal, tokyo] = [0, 1, 2].map(|city| ids[city].as_str());
    for (ips, expected) in [
        (&["203.0.113.30"][..], [tokyo, lyon, montreal]),
        (&["203.0.113.20"], [montreal, lyon, tokyo]),
        (&["203.0.113.10", "203.0.113.10", "203.0.113.20", "10.0.0.1"], [lyon, montreal, tokyo]),
    ] {
        let (found, partial) = order(&world, &[tokyo, montreal, lyon], ips).await;
        assert_eq!((found, partial), (expected.map(str::to_owned).to_vec(), json!(false)), "{ips:?}");
    }
    let named = [montreal, tokyo, lyon, montreal];
    let (found, _) = order(&world, &named, &["10.0.0.1"]).await;
    assert_eq!(found, named[..3], "nobody's position is known: as they were named, each once");

    world.delete(&format!("/v1/stop/{lyon}")).await;
    world.until(lyon, "TERMINATED").await;
    let asked = [lyon, "0123456789ab", tokyo];
    let (found, partial) = order(&world, &asked, &["203.0.113.10"]).await;
    assert_eq!((found, partial), (vec![tokyo.to_owned()], json!(true)), "one has ended, one never was");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_telemetry_result_can_be_fetched_for_a_quarter_of_an_hour() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    let body = json!({"deployments": [id], "ips": ["203.0.113.10"]});
    let ticket = world.post(TELEMETRY, &body).await.expect(200);
    assert_eq!(ticket["expire"].as_str().unwrap().len(), "2026-04-11 08:30:12.004211".len());
    let path = format!("{TELEMETRY}/{}", ticket["retrieval_key"].as_str().unwrap());
    world.clock.advance(Duration::from_secs(899));
    world.get(&path).await.expect(200);
    world.clock.advance(Duration::from_secs(1));
    check_v1("Error", &world.get(&path).await.expect(404));
    for bad in ["0123456789abcdef0123456789abcdef", "x", "%00", &"a".repeat(5000)] {
        check_v1("Error", &world.get(&format!("{TELEMETRY}/{bad}")).await.expect(404));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telemetry_tells_nothing_of_what_a_token_may_not_see() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    let (reader, stranger) = (world.token("read", &[]).await, world.token("admin", &["other"]).await);
    let body = json!({"deployments": [id], "ips": ["203.0.113.10"]});
    let refused = world.call(Method::POST, TELEMETRY, &stranger, Some(&body)).await;
    check_v1("Error", &refused.expect(422));
    let ticket = world.call(Method::POST, TELEMETRY, &reader, Some(&body)).await.expect(200);
    let path = format!("{TELEMETRY}/{}", ticket["retrieval_key"].as_str().unwrap());
    assert_eq!(world.call(Method::GET, &path, &stranger, None).await.code, 404);
    assert_eq!(world.get(&path).await.expect(200)["scores"][0]["request_id"], id.as_str());

    let mut hooked = body.clone();
    hooked["webhook_url"] = json!("http://127.0.0.1:9/");
    assert_eq!(
        world.call(Method::POST, TELEMETRY, &reader, Some(&hooked)).await.code,
        403,
        "it makes a call"
    );
    hooked["webhook_url"] = json!("http://169.254.169.254/");
    let denied = world.post(TELEMETRY, &hooked).await;
    assert!(denied.code == 400 && denied.message().starts_with("webhook_url: "), "{denied:?}");
    world.end().await;
}
