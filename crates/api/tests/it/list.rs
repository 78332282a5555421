//! `GET /v1/deployments`: the query language and paging over real rows.

use std::time::Duration;

use serde_json::{Value, json};

use crate::schemas::check_v1;
use crate::world::{World, deployment};

/// The query, percent-encoded whole.
fn encoded(query: &Value) -> String {
    query.to_string().bytes().map(|b| format!("%{b:02x}")).collect()
}

fn filter(field: &str, operator: &str, value: &Value) -> Value {
    json!({"filters": [{"field": field, "operator": operator, "value": value}]})
}

async fn ids(world: &World, query: &Value) -> Vec<String> {
    let answer = world.get(&format!("/v1/deployments?query={}", encoded(query))).await.expect(200);
    check_v1("Deployments", &answer);
    let data = answer["data"].as_array().unwrap();
    assert_eq!(answer["total_count"], data.len(), "{answer}");
    data.iter().map(|item| item["request_id"].as_str().unwrap().to_owned()).collect()
}

async fn tagged(world: &World, version: &str, tags: &Value) -> String {
    let mut body = deployment(version);
    body["tags"] = tags.clone();
    world.clock.advance(Duration::from_secs(1));
    world.post("/v2/deployments", &body).await.expect(202)["request_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_is_written_as_clients_expect_it() {
    let world = World::with_arena().await;
    let id = tagged(&world, "v1", &json!(["ranked", "eu"])).await;
    let status = world.until(&id, "READY").await;
    let list = world.get("/v1/deployments").await.expect(200);
    let expected = json!({
        "request_id": id, "fqdn": format!("{id}.games.test"), "start_time": status["start_time"], "ready": true,
        "status": "Status.READY", "public_ip": "203.0.113.1", "ports": status["ports"], "tags": ["ranked", "eu"],
        "sockets": null, "sockets_usage": null, "is_joinable_by_session": false
    });
    assert_eq!(list["data"], json!([expected]));
    assert!(list.get("message").is_none(), "an array breaks one known client, a text another");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_filter_finds_what_it_says() {
    let world = World::with_arena().await;
    world.create_version("arena", "v2", "fake/game", "ok").await;
    world.create_version("arena", "bad", "fake/game", "image-missing").await;
    let a = tagged(&world, "v1", &json!(["eu", "ranked"])).await;
    let b = tagged(&world, "v2", &json!(["us"])).await;
    let bad = tagged(&world, "bad", &json!([])).await;
    for (id, word) in [(&a, "READY"), (&b, "READY"), (&bad, "ERROR")] {
        world.until(id, word).await;
    }
    let (none, all) = (vec![], vec![&bad, &b, &a]);
    for (field, operator, value, expected) in [
        ("status", "eq", json!("ready"), vec![&b, &a]),
        ("status", "neq", json!("error"), vec![&b, &a]),
        ("status", "eq", json!("Status.ERROR"), vec![&bad]),
        ("status", "eq", json!("terminated"), none.clone()),
        ("request_id", "eq", json!(a), vec![&a]),
        ("request_id", "eq", json!("nonsense"), none.clone()),
        ("request_id", "in", json!([a, b, "nonsense"]), vec![&b, &a]),
        ("request_id", "nin", json!([a, "nonsense"]), vec![&bad, &b]),
        ("request_id", "nin", json!(["nonsense"]), all.clone()),
        ("tags", "eq", json!("eu"), vec![&a]),
        ("tags", "neq", json!("eu"), vec![&bad, &b]),
        ("tags", "in", json!(["ranked", "us"]), vec![&b, &a]),
        ("tags", "nin", json!(["ranked", "us"]), vec![&bad]),
        ("tags", "in", json!([]), none.clone()),
        ("application", "eq", json!("arena"), all.clone()),
        ("application", "neq", json!("arena"), none.clone()),
        ("version", "in", json!(["v2", "bad"]), vec![&bad, &b]),
        ("version", "nin", json!(["v2"]), vec![&bad, &a]),
        ("version", "ilike", json!("V%"), vec![&b, &a]),
        ("host_name", "ilike", json!("LYON%"), all.clone()),
        ("host_name", "ilike", json!("%_%"), none.clone()),
        ("fleet_name", "eq", json!("none"), none.clone()),
        ("created_at", "gte", json!("2026-09-21T14:13:22Z"), vec![&bad, &b]),
        ("created_at", "lte", json!("2026-09-21 14:13:21"), vec![&a]),
        ("created_at", "eq", json!("2026-09-21T14:13:22Z"), vec![&b]),
        ("is_joinable_by_session", "eq", json!(false), all.clone()),
        ("is_joinable_by_session", "eq", json!("true"), none.clone()),
        ("available_session_sockets", "gte", json!(0), none.clone()),
    ] {
        let found = ids(&world, &filter(field, operator, &value)).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{field} {operator} {value}");
    }
    let both = json!({
        "filters": [
            {"field": "tags", "operator": "in", "value": ["eu", "us"]}, {"field": "version", "operator": "eq", "value": "v1"}
        ],
        "order_by": [{"field": "created_at", "order": "asc"}]
    });
    assert_eq!(ids(&world, &both).await, std::slice::from_ref(&a));
    let oldest_first = json!({"order_by": [{"field": "created_at", "order": "asc"}]});
    assert_eq!(ids(&world, &oldest_first).await, [a, b, bad]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_hold_every_deployment_once() {
    let world = World::with_arena().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, tagged(&world, "v1", &json!([])).await);
    }
    let mut found = Vec::new();
    let mut next = Some(1);
    while let Some(number) = next {
        let page = world.get(&format!("/v1/deployments?limit=2&page={number}")).await.expect(200);
        check_v1("Deployments", &page);
        assert_eq!(
            (&page["total_count"], &page["pagination"]["paginator"]["num_pages"]),
            (&json!(5), &json!(3))
        );
        found.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["request_id"].as_str().unwrap().to_owned()),
        );
        next = page["pagination"]["next_page_number"].as_u64();
        assert_eq!(page["pagination"]["has_next"], next.is_some());
    }
    assert_eq!(found, made, "newest first, each once");
    let beyond = world.get("/v1/deployments?page=9").await.expect(200);
    assert_eq!((&beyond["data"], &beyond["pagination"]["has_next"]), (&json!([]), &json!(false)));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_queries_are_400_and_name_the_mistake() {
    let world = World::new().await;
    for (query, word) in [
        (json!([]), "query"),
        (filter("colour", "eq", &json!("red")), "filters[0].field"),
        (filter("status", "like", &json!("ready")), "filters[0].operator"),
        (filter("status", "eq", &json!("sleeping")), "filters[0].value"),
        (json!({"filters": [{"field": "status"}]}), "filters[0].operator"),
        (json!({"order_by": [{"field": "status", "order": "asc"}]}), "order_by[0].field"),
    ] {
        let answer = world.get(&format!("/v1/deployments?query={}", encoded(&query))).await;
        check_v1("Error", &answer.expect(400));
        assert!(answer.message().contains(word), "{query}: {answer:?}");
    }
    for raw in ["query=%7B", "query=x", "query=%ff", "page=0", "limit=abc"] {
        assert_eq!(world.get(&format!("/v1/deployments?{raw}")).await.code, 400, "{raw}");
    }
    let injection = filter("application", "in", &json!(["x') OR 1=1 --", "%", "_"]));
    assert_eq!(ids(&world, &injection).await, Vec::<String>::new());
    world.end().await;
}
