//! `POST /v1/deployments/bulk-stop`: who is stopped by which filters, and that a mistake stops nobody.

use axum::http::Method;
use serde_json::{Value, json};

use crate::schemas::check_v1;
use crate::world::{ADMIN, World, deployment};

const PATH: &str = "/v1/deployments/bulk-stop";

async fn tagged(world: &World, tags: &[&str]) -> String {
    let mut body = deployment("v1");
    body["tags"] = json!(tags);
    let id =
        world.post("/v2/deployments", &body).await.expect(202)["request_id"].as_str().unwrap().to_owned();
    world.until(&id, "READY").await;
    id
}

fn filter(field: &str, filter_type: &str, values: &[&str]) -> Value {
    json!({"field": field, "values": values, "filter_type": filter_type})
}

/// Stops by filters; the ids that the answer names, sorted.
async fn stop(world: &World, filters: &[Value]) -> Vec<String> {
    let answer = world.post(PATH, &json!({ "filters": filters })).await.expect(202);
    check_v1("DeploymentBulkStopResponse", &answer);
    let ids = answer["processable"].as_array().unwrap().iter();
    let mut ids: Vec<String> = ids.map(|item| item["request_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn sorted(ids: &[&String]) -> Vec<String> {
    let mut ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_are_anded_and_any_all_and_not_mean_what_they_say() {
    let world = World::with_arena().await;
    let (a, b) = (tagged(&world, &["eu", "ranked"]).await, tagged(&world, &["eu"]).await);
    let (c, d) = (tagged(&world, &["us", "ranked"]).await, tagged(&world, &[]).await);
    let none: &[&String] = &[];
    let tags = |how: &str, values: &[&str]| filter("deployment_tags", how, values);
    let ids = |how: &str, values: &[&str]| filter("request_id", how, values);
    // Those that stop nobody come first, so that everybody is there for the others.
    for (filters, expected) in [
        (vec![tags("any", &["asia"])], none),
        (vec![tags("any", &["EU"])], none),
        (vec![tags("all", &["eu", "us"])], none),
        (vec![tags("any", &["eu"]), tags("not", &["eu"])], none),
        (vec![ids("any", &["000000000000", "nonsense"])], none),
        (vec![ids("all", &[&a, &b])], none),
        (vec![ids("all", &[&a, "nonsense"])], none),
        (vec![ids("any", &[&a]), tags("any", &["us"])], none),
        (vec![tags("all", &["ranked", "eu"]), ids("not", &[&b])], &[&a]),
        (vec![ids("all", &[&format!(" {b} "), &b])], &[&b]),
        (vec![tags("any", &[" us", "asia"]), tags("not", &["eu"])], &[&c]),
        (vec![tags("not", &["eu", "us"]), ids("any", &[&d, "nonsense"])], &[&d]),
    ] {
        assert_eq!(stop(&world, &filters).await, sorted(expected), "{filters:?}");
    }
    for id in [&a, &b, &c, &d] {
        world.until(id, "TERMINATED").await;
    }
    assert_eq!(stop(&world, &[ids("any", &[&a])]).await, sorted(none), "what has ended is not stopped again");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_could_mean_everything_is_refused_and_nobody_is_stopped() {
    let world = World::with_arena().await;
    let id = tagged(&world, &["eu"]).await;
    let good = filter("deployment_tags", "any", &["eu"]);
    for filters in [
        json!([]),
        json!(null),
        json!({}),
        json!([{}]),
        json!([good, {"field": "deployment_tags", "filter_type": "any"}]),
        json!([good, filter("deployment_tags", "not", &[])]),
        json!([good, filter("deployment_tags", "not", &[""])]),
        json!([good, filter("status", "any", &["ready"])]),
        json!([good, filter("deployment_tags", "some", &["eu"])]),
        json!([good, {"field": "deployment_tags", "filter_type": "any", "values": "eu"}]),
    ] {
        let answer = world.post(PATH, &json!({ "filters": filters })).await;
        check_v1("Error", &answer.expect(400));
        assert!(answer.message().starts_with("filters"), "{filters}: {answer:?}");
    }
    world.post(PATH, &json!({"filter": [good]})).await.expect(400);
    assert_eq!(world.get(&format!("/v1/status/{id}")).await.expect(200)["current_status"], "Status.READY");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_token_stops_its_own_deployments_alone() {
    let world = World::with_arena().await;
    world.create_app("other").await;
    world.create_version("other", "v1", "fake/game", "ok").await;
    let mut body = deployment("v1");
    body["application"] = json!("other");
    body["tags"] = json!(["eu"]);
    let foreign =
        world.post("/v2/deployments", &body).await.expect(202)["request_id"].as_str().unwrap().to_owned();
    let own = tagged(&world, &["eu"]).await;
    world.until(&foreign, "READY").await;
    let token = world.token("deploy", &["arena"]).await;
    for filters in [
        json!([filter("request_id", "any", &[&foreign])]),
        json!([filter("request_id", "not", &[&own])]),
        json!([filter("deployment_tags", "any", &["eu"])]),
    ] {
        let answer = world.call(Method::POST, PATH, &token, Some(&json!({ "filters": filters }))).await;
        let stopped = answer.expect(202)["processable"].clone();
        assert!(!stopped.to_string().contains(&foreign), "{stopped}");
    }
    world.until(&own, "TERMINATED").await;
    assert_eq!(
        world.get(&format!("/v1/status/{foreign}")).await.expect(200)["current_status"],
        "Status.READY"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_are_stopped_in_every_state_and_told_as_a_single_stop_tells() {
    let world = World::with_arena().await;
    world.create_version("arena", "slow", "fake/game", "listen-delay-400ms").await;
    world.create_version("arena", "deaf", "fake/game", "ignore-term").await;
    world.create_version("arena", "bad", "fake/game", "image-missing").await;
    let (slow, deaf) = (world.deploy("slow").await, world.deploy_ready("deaf").await);
    let failed = world.deploy("bad").await;
    world.until(&failed, "ERROR").await;
    world.delete(&format!("/v1/stop/{deaf}")).await.expect(200);
    world.until(&deaf, "TERMINATING").await;
    let everybody = [filter("request_id", "not", &["000000000000"])];
    assert_eq!(stop(&world, &everybody).await, sorted(&[&slow, &deaf, &failed]));
    world.until(&slow, "TERMINATED").await;
    world.until(&failed, "TERMINATED").await;
    assert_eq!(
        world.get(&format!("/v1/status/{deaf}")).await.expect(200)["current_status"],
        "Status.TERMINATING"
    );
    let single = world.call(Method::DELETE, &format!("/v1/stop/{slow}"), ADMIN, None).await;
    assert_eq!(single.code, 410);
    world.end().await;
}
