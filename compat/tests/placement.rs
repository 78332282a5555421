//! Three cities on one machine (the layout of `examples/three-cities.toml`): where players go, and why.

use serde_json::{Value, json};
use spawnpoint_compat::api::{deployment, text};
use spawnpoint_compat::ports::Ports;
use spawnpoint_compat::{Server, say};

/// City, country, continent, latitude, longitude, tag.
const CITIES: [(&str, &str, &str, f64, f64, &str); 3] = [
    ("Chicago", "United States of America", "North America", 41.88, -87.63, "americas"),
    ("Frankfurt am Main", "Germany", "Europe", 50.11, 8.68, "emea"),
    ("Tokyo", "Japan", "Asia", 35.68, 139.69, "apac"),
];

/// The example with pretended engines and room for two deployments of 128 units in each city.
fn three_cities(ports: &Ports) -> String {
    let example = include_str!("../../examples/three-cities.toml");
    let mut text = String::new();
    for (index, (city, country, continent, latitude, longitude, tag)) in (0..).zip(CITIES) {
        // The example moved on without this test, if it does not know the city.
        assert!(example.contains(city) && example.contains(&latitude.to_string()), "{city}");
        text.push_str(&format!(
            "[[site]]\nname = \"{tag}\"\ncity = \"{city}\"\ncountry = \"{country}\"\ncontinent = \"{continent}\"\n\
             timezone = \"UTC\"\nlatitude = {latitude}\nlongitude = {longitude}\ntags = [\"{tag}\"]\n\
             [[site.host]]\nname = \"{tag}-1\"\ndriver = \"fake\"\nport_range = \"{}\"\n\
             capacity = {{ cpu_units = 256, memory_mib = 256 }}\n",
            ports.games(index, 3)
        ));
    }
    text
}

fn world() -> Server {
    let server = Server::start(three_cities);
    server.api.describe("arena", "v1", ("game", "1"), &json!({}));
    server
}

fn at(latitude: f64, longitude: f64) -> Value {
    json!({"user_type": "geo_coordinates", "user_data": {"latitude": latitude, "longitude": longitude}})
}

const BERLIN: (f64, f64) = (52.52, 13.40);
const SEOUL: (f64, f64) = (37.57, 126.98);
const TORONTO: (f64, f64) = (43.65, -79.38);

/// Deploys over v2, says in which city, and stops it again so that room is no matter.
fn city_for(server: &Server, users: &[Value]) -> String {
    let id = server.api.deploy("arena", "v1", &json!({"users": users}));
    let city = city(&server.api.wait_for(&id, "READY"));
    server.api.stop(&id);
    city
}

fn city(status: &Value) -> String {
    text(&status["location"], "city")
}

/// Deploys over v1 with filters; the id if it was taken, the status code and message if not.
fn deploy_v1(server: &Server, fields: &Value) -> Result<String, (u16, String)> {
    let mut body = json!({"app_name": "arena", "version_name": "v1"});
    spawnpoint_compat::api::lay_over(&mut body, fields);
    let answer = server.api.post("/v1/deploy", &body);
    if answer.status == 200 {
        Ok(text(&answer.json(), "request_id"))
    } else {
        Err((answer.status, text(&answer.json(), "message")))
    }
}

#[test]
fn players_in_one_city_get_the_host_near_them() {
    let server = world();
    for (player, expected) in [(BERLIN, "Frankfurt am Main"), (SEOUL, "Tokyo"), (TORONTO, "Chicago")] {
        assert_eq!(city_for(&server, &[at(player.0, player.1)]), expected);
    }
    let crowd = vec![at(BERLIN.0, BERLIN.1); 12];
    assert_eq!(city_for(&server, &crowd), "Frankfurt am Main");
    server.audit();
}

#[test]
fn players_in_two_cities_get_the_host_that_is_fair_to_both() {
    let server = world();
    // Lisbon and Toronto: the Atlantic lies between; most players decide, and nobody sends them to Tokyo.
    let lisbon = at(38.72, -9.14);
    let toronto = at(TORONTO.0, TORONTO.1);
    let mostly_west = [toronto.clone(), toronto.clone(), toronto.clone(), lisbon.clone()];
    assert_eq!(city_for(&server, &mostly_west), "Chicago");
    let mostly_east = [toronto, lisbon.clone(), lisbon.clone(), lisbon];
    assert_eq!(city_for(&server, &mostly_east), "Frankfurt am Main");
    // Mumbai lies nearer to Frankfurt than to Tokyo by a little: with a player in Seoul, Tokyo is fairer.
    assert_eq!(city_for(&server, &[at(19.08, 72.88), at(SEOUL.0, SEOUL.1)]), "Tokyo");
}

#[test]
fn players_without_a_position_are_passed_over_and_capacity_decides_if_nobody_has_one() {
    let server = world();
    let unknown = json!({"user_type": "ip_address", "user_data": {"ip_address": "10.1.2.3"}});
    assert_eq!(city_for(&server, &[unknown.clone(), at(SEOUL.0, SEOUL.1), unknown.clone()]), "Tokyo");
    // Unity sends coordinates under `ip_address` where it does not know its address.
    let unity =
        json!({"user_type": "ip_address", "user_data": {"latitude": BERLIN.0, "longitude": BERLIN.1}});
    assert_eq!(city_for(&server, &[unity]), "Frankfurt am Main");
    // Nobody has one: three deployments go to the three hosts, each the freest in turn.
    let mut cities: Vec<String> = (0..3)
        .map(|_| {
            let id = server.api.deploy("arena", "v1", &json!({"users": [unknown]}));
            city(&server.api.wait_for(&id, "READY"))
        })
        .collect();
    cities.sort();
    assert_eq!(cities, ["Chicago", "Frankfurt am Main", "Tokyo"]);
}

#[test]
fn filters_keep_hosts_in_and_out_whatever_is_near() {
    let server = world();
    let berlin = json!([{"ip": "203.0.113.9", "latitude": BERLIN.0, "longitude": BERLIN.1}]);
    let filter = |field: &str, values: &[&str], kind: &str| json!([{"field": field, "values": values, "filter_type": kind}]);
    for (filters, expected) in [
        (filter("country", &["japan"], "any"), "Tokyo"),
        (filter("city", &["Chicago", "Tokyo"], "any"), "Chicago"),
        (filter("continent", &["Europe"], "not"), "Chicago"),
        (filter("continent", &["Europe", "North America"], "not"), "Tokyo"),
        (filter("location_tags", &["apac"], "all"), "Tokyo"),
        (json!([]), "Frankfurt am Main"),
    ] {
        let id = deploy_v1(&server, &json!({"geo_ip_list": berlin, "filters": filters})).unwrap();
        assert_eq!(city(&server.api.wait_for(&id, "READY")), expected, "{filters}");
        server.api.stop(&id);
    }
    // No place is in two cities, and none is on the moon.
    for filters in
        [filter("city", &["Chicago", "Tokyo"], "all"), filter("city", &["Tranquility Base"], "any")]
    {
        let (status, message) =
            deploy_v1(&server, &json!({"geo_ip_list": berlin, "filters": filters})).unwrap_err();
        assert_eq!(status, 422, "{message}");
    }
    // The old single fields are filters too, and `location` wins over the players.
    let id = deploy_v1(&server, &json!({"geo_ip_list": berlin, "city": "Tokyo"})).unwrap();
    assert_eq!(city(&server.api.wait_for(&id, "READY")), "Tokyo");
    let centroid = json!({"latitude": TORONTO.0, "longitude": TORONTO.1});
    let id = deploy_v1(&server, &json!({"geo_ip_list": berlin, "location": centroid})).unwrap();
    assert_eq!(city(&server.api.wait_for(&id, "READY")), "Chicago");
}

#[test]
fn a_full_city_overflows_to_the_next_and_a_full_world_answers_422_with_an_id_and_says_why() {
    let server = world();
    let berlin = json!({"users": [at(BERLIN.0, BERLIN.1)]});
    let mut ids = Vec::new();
    let mut cities = Vec::new();
    for _ in 0..6 {
        let id = server.api.deploy("arena", "v1", &berlin);
        cities.push(city(&server.api.wait_for(&id, "READY")));
        ids.push(id);
    }
    let (near, far) = (["Frankfurt am Main"; 2], ["Chicago"; 2]);
    assert_eq!(cities[..2], near);
    assert_eq!(cities[2..4], far, "the second nearest takes what the nearest cannot");
    assert_eq!(cities[4..], ["Tokyo"; 2]);

    let refused = server.api.post("/v2/deployments", &deployment("arena", "v1", &berlin));
    let body = refused.expect(422);
    let (id, message) = (text(&body, "request_id"), text(&body, "message"));
    say(&format!("a full world says: {message}"));
    assert!(!message.is_empty());
    let status = server.api.status(&id);
    assert_eq!((&status["current_status"], &status["error"]), (&json!("Status.ERROR"), &json!(true)));
    say(&format!("and the status: {}", status["error_detail"]));
    assert!(text(&status, "error_detail").len() > 10);
    assert_eq!(
        (&status["ports"], &status["location"], &status["public_ip"]),
        (&json!({}), &Value::Null, &json!(""))
    );

    // The freed place is taken again, by the nearest that has one; the one in error holds nothing.
    server.api.stop(&ids[0]);
    let id = server.api.deploy("arena", "v1", &berlin);
    assert_eq!(city(&server.api.wait_for(&id, "READY")), "Frankfurt am Main");
    server.audit();
}

#[test]
fn only_cached_locations_are_taken_where_that_is_asked_for() {
    let server = world();
    server.api.describe("fresh", "v1", ("other-game", "1"), &json!({}));
    let berlin = json!({"users": [at(BERLIN.0, BERLIN.1)], "require_cached_locations": true});
    let refused = server.api.post("/v2/deployments", &deployment("fresh", "v1", &berlin));
    let _ = refused.expect(422);
    // Tokyo has it once it has run there.
    let id = server.api.deploy("fresh", "v1", &json!({"users": [at(SEOUL.0, SEOUL.1)]}));
    assert_eq!(city(&server.api.wait_for(&id, "READY")), "Tokyo");
    let id = server.api.deploy("fresh", "v1", &berlin);
    assert_eq!(city(&server.api.wait_for(&id, "READY")), "Tokyo");
}
