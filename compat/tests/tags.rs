//! Tags on running containers: they are seen at once by everybody but the container's environment, lists filter by them,
//! and a bulk stop by a tag ends those that carry it and nobody else.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::BTreeSet;

use serde_json::json;
use spawnpoint_compat::api::{external, text};
use spawnpoint_compat::http::encode;
use spawnpoint_compat::player::ask_udp;
use spawnpoint_compat::runtime::Details;
use spawnpoint_compat::{Api, PATIENCE, Runtime, eventually};

spawnpoint_compat::on_each_runtime!(
    tags_change_on_a_running_container_and_a_bulk_stop_by_tag_ends_its_bearers_alone,
);

/// The ids of the deployments that carry a tag.
fn carrying(api: &Api, tag: &str) -> BTreeSet<String> {
    let query = json!({"filters": [{"field": "tags", "operator": "eq", "value": tag}]}).to_string();
    let list = api.get(&format!("/v1/deployments?query={}", encode(&query))).expect(200);
    list["data"].as_array().unwrap().iter().map(|item| text(item, "request_id")).collect()
}

fn tags_change_on_a_running_container_and_a_bulk_stop_by_tag_ends_its_bearers_alone(runtime: &Runtime) {
    let (server, installation) = runtime.start();
    let api = &server.api;
    api.describe("arena", "v1", runtime.image(), &json!({}));
    let ids: Vec<String> = (0..3).map(|_| api.deploy("arena", "v1", &json!({"tags": ["eu"]}))).collect();
    let ports: Vec<u16> = ids.iter().map(|id| external(&api.wait_for(id, "READY"), "game")).collect();
    let [old, older, stays] = &ids[..] else { unreachable!("three were deployed") };
    let before: Vec<Details> = ids.iter().map(|id| installation.container(id)).collect();

    for id in [old, older] {
        let tag = api.post(&format!("/v1/deployments/{id}/tags"), &json!({"name": "old, very"})).expect(200);
        assert_eq!(text(&tag, "name"), "old, very");
    }
    let _ = api.patch(&format!("/v1/deployments/{stays}/tags/eu"), &json!({"name": "us"})).expect(200);
    assert_eq!(api.delete(&format!("/v1/deployments/{older}/tags/eu")).status, 204);
    assert_eq!(carrying(api, "eu"), BTreeSet::from([old.clone()]));
    assert_eq!(carrying(api, "old, very"), BTreeSet::from([old.clone(), older.clone()]));

    // The game asks for its context, and learns of it; what it was started with stays.
    let context = ask_udp(ports[0], "http-context");
    assert!(context.contains(r#""tags":["eu","old, very"]"#), "{context}");
    for (id, port) in ids.iter().zip(&ports) {
        assert_eq!(ask_udp(*port, "env ARBITRIUM_DEPLOYMENT_TAGS"), "eu", "{id}");
    }
    assert_eq!(ids.iter().map(|id| installation.container(id)).collect::<Vec<_>>(), before);

    let filters =
        json!({"filters": [{"field": "deployment_tags", "values": [" old, very "], "filter_type": "any"}]});
    let stopped = api.post("/v1/deployments/bulk-stop", &filters).expect(202);
    let named: BTreeSet<String> =
        stopped["processable"].as_array().unwrap().iter().map(|item| text(item, "request_id")).collect();
    assert_eq!(named, BTreeSet::from([old.clone(), older.clone()]));
    for id in [old, older] {
        let _ = api.wait_for(id, "TERMINATED");
    }
    eventually("one container is left", PATIENCE, || {
        let left: Vec<String> =
            installation.containers().into_iter().map(|container| container.deployment).collect();
        (left == [stays.clone()]).then_some(())
    });
    assert_eq!(ask_udp(ports[2], "ping"), format!("pong {stays}"));
    assert_eq!(installation.container(stays), before[2]);
    api.stop(stays);
    server.audit();
}
