//! A typed client that nobody here wrote: the crate `edgegap` 0.1.0, generated from Edgegap's own API description. What it
//! cannot parse, its users could not either.
//!
//! Every operation that it has and that is served is driven in every state of its subject; [`NOT_SERVED`] lists the others.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

#[path = "support/typed.rs"]
mod typed;

use edgegap::apis::applications_api as applications;
use edgegap::apis::container_registry_api as images;
use edgegap::apis::context_api as context;
use edgegap::apis::deployment_tags_api as tags;
use edgegap::apis::deployments_api as deployments;
use edgegap::apis::endpoint_storage_api as storages;
use edgegap::apis::{Error, ip_lookup_api, locations_api, metrics_api, monitoring_api, telemetry_api};
use edgegap::models;
use serde_json::{Value, json};
use spawnpoint_compat::registry::Registry;
use spawnpoint_compat::runtime::Installation;
use spawnpoint_compat::{PATIENCE, Runtime, Server, eventually, game, player, server};
use typed::{client, code, wait_for};

spawnpoint_compat::on_each_runtime!(
    the_edgegap_crate_deploys_a_real_container_that_answers_and_that_knows_its_context,
    the_edgegap_crate_is_a_real_container_that_asks_and_stops_itself_in_every_state,
);

fn new_version(image: (&str, &str)) -> models::AppVersionPayload {
    models::AppVersionPayload {
        ports: Some(vec![models::AppVersionPort {
            to_check: Some(true),
            name: Some("game".to_owned()),
            ..models::AppVersionPort::new(7777, "UDP".to_owned())
        }]),
        envs: Some(vec![models::AppVersionEnv::new("MAP".to_owned(), "dust".to_owned())]),
        max_duration: Some(60),
        time_to_deploy: Some(30),
        termination_grace_period_seconds: Some(5),
        probe: Some(Box::new(models::AppVersionProbe { optimal_ping: 60, rejected_ping: 180 })),
        ..models::AppVersionPayload::new(
            "v1".to_owned(),
            "localhost".to_owned(),
            image.0.to_owned(),
            image.1.to_owned(),
            128,
            128,
        )
    }
}

/// From an application to the end of a deployment of it; returns the status in which players could join.
fn the_whole_walk(server: &Server, image: (&str, &str)) -> models::Status {
    let client = client(server);
    let app = models::ApplicationPost::new("arena".to_owned(), true, String::new());
    assert_eq!(applications::application_post(&client, app).unwrap().name, "arena");
    let made = applications::app_version_post(&client, "arena", new_version(image)).unwrap();
    assert_eq!(made.success, Some(true));
    assert_eq!(made.version.unwrap().docker_image, image.0);

    let request = models::DeployModel {
        version_name: Some("v1".to_owned()),
        ip_list: Some(vec!["192.0.2.1".to_owned(), "198.51.100.2".to_owned()]),
        tags: Some(vec!["ranked".to_owned()]),
        env_vars: Some(vec![models::DeployEnvModel::new("MODE".to_owned(), "duel".to_owned())]),
        ..models::DeployModel::new("arena".to_owned())
    };
    let deployed = deployments::deploy(&client, request).unwrap();
    assert_eq!((deployed.request_app.as_str(), deployed.request_version.as_str()), ("arena", "v1"));
    assert_eq!((deployed.request_user_count, deployed.tags), (2, Some(vec!["ranked".to_owned()])));
    let id = deployed.request_id;

    let status = wait_for(&client, &id, "READY");
    assert!(status.running && status.fqdn == deployed.request_dns);
    assert_eq!(status.location.as_ref().unwrap().city, "Montreal");
    let listed = deployments::deployments_get(&client, None).unwrap();
    let item = listed.data.unwrap().into_iter().find(|item| item.request_id == id).unwrap();
    assert!(item.ready && listed.total_count == Some(1));
    assert_eq!(item.ports.unwrap()["game"].external, status.ports.as_ref().unwrap()["game"].external);
    let page = Some(r#"{"filters":[{"field":"tags","operator":"eq","value":"casual"}]}"#);
    assert_eq!(deployments::deployments_get(&client, page).unwrap().data, Some(Vec::new()));

    let stopped = deployments::deployment_delete(&client, &id, None).unwrap();
    assert_eq!(stopped.deployment_summary.unwrap().request_id, id);
    let ended = wait_for(&client, &id, "TERMINATED");
    assert!(!ended.running && ended.removal_time.is_some());
    assert_eq!(code(deployments::deployment_delete(&client, &id, None)), 410);
    assert_eq!(code(deployments::deployment_status_get(&client, "000000000000")), 400);
    status
}

#[test]
fn the_edgegap_crate_runs_apps_versions_deploy_status_list_and_stop_to_410() {
    let server = Server::start(server::fake);
    let _ = the_whole_walk(&server, ("fake-game", "1"));
    server.audit();
}

#[test]
fn the_edgegap_crate_gets_changes_and_deletes_apps_and_versions() {
    let server = Server::start(server::fake);
    let client = client(&server);
    let app = |name: &str| models::ApplicationPost::new(name.to_owned(), true, "aW1hZ2U=".to_owned());
    applications::application_post(&client, app("arena")).unwrap();
    assert_eq!(code(applications::application_post(&client, app("arena"))), 409);
    let patch = models::ApplicationPatch { is_active: Some(false), ..models::ApplicationPatch::default() };
    assert!(!applications::application_patch(&client, "arena", patch).unwrap().is_active);
    let read = applications::application_get(&client, "arena").unwrap();
    assert_eq!((read.is_active, read.image.as_deref()), (false, Some("aW1hZ2U=")));
    assert_eq!(applications::applications_get(&client).unwrap().applications.unwrap(), vec![read]);

    applications::app_version_post(&client, "arena", new_version(("game", "1"))).unwrap();
    assert_eq!(code(applications::app_version_post(&client, "arena", new_version(("game", "1")))), 409);
    let patch = models::AppVersionUpdatePayload {
        docker_tag: Some("2".to_owned()),
        force_cache: Some(true),
        ..models::AppVersionUpdatePayload::default()
    };
    let changed = applications::app_versions_patch(&client, "arena", "v1", patch).unwrap();
    assert_eq!(changed.success, Some(true));
    let read = applications::app_version_get(&client, "arena", "v1").unwrap();
    assert_eq!((read.docker_tag.as_str(), read.force_cache, read.req_cpu), ("2", Some(true), 128));
    // What was read can be posted back as another version: that is how versions are cloned.
    let clone = models::AppVersionPayload { name: "v2".to_owned(), ..read };
    applications::app_version_post(&client, "arena", clone).unwrap();
    let names = applications::app_versions_get(&client, "arena").unwrap();
    assert_eq!(names.versions.unwrap().len(), 2);
    assert_eq!(applications::app_version_delete(&client, "arena", "v1").unwrap().success, Some(true));
    assert_eq!(code(applications::app_version_get(&client, "arena", "v1")), 404);
    applications::application_delete(&client, "arena").unwrap();
    assert_eq!(code(applications::application_get(&client, "arena")), 404);
    assert_eq!(code(applications::app_versions_get(&client, "arena")), 404);
}

#[test]
fn the_edgegap_crate_lists_and_deletes_tags_of_images_in_a_real_registry() {
    let Some(registry) = Registry::start() else { return };
    let game = game::build();
    registry.push(&game, "games/arena", "v1");
    registry.push(&game, "games/arena", "latest");
    let own = registry.as_own("games");
    let server = Server::start(|ports| format!("{}{own}", server::fake(ports)));
    let client = client(&server);
    for name in ["arena", "games/arena"] {
        let list = images::registry_image_tag_list(&client, name).unwrap().data.unwrap();
        let tags: Vec<&str> = list.iter().map(|tag| tag.tag.as_str()).collect();
        assert_eq!(tags, ["latest", "v1"], "{name}");
        assert_eq!(list[0].artifact.remaining_tags, ["latest", "v1"]);
        assert!(list[0].artifact.size_mb > 0.0 && list[0].artifact.image_hash.starts_with("sha256:"));
    }
    for (name, is_last) in [("latest", false), ("v1", true)] {
        let gone = images::image_tag_delete(&client, "games/arena", name).unwrap();
        assert_eq!(gone.deleted_tag.as_deref(), Some(name));
        assert_eq!(gone.artifact.unwrap().artifact_deleted, Some(is_last));
        assert_eq!(code(images::image_tag_delete(&client, "arena", name)), 404);
    }
    assert_eq!(images::registry_image_tag_list(&client, "arena").unwrap().data, Some(Vec::new()));
    assert_eq!(code(images::registry_image_tag_list(&client, "nothing")), 404);
    server.audit();
}

#[test]
fn the_edgegap_crate_reads_monitor_and_ip() {
    let server = Server::start(server::fake);
    let client = client(&server);
    assert!(!monitoring_api::monitoring(&client).unwrap().version.is_empty());
    assert_eq!(ip_lookup_api::i_p(&client).unwrap().public_ip, "127.0.0.1");
}

fn the_edgegap_crate_deploys_a_real_container_that_answers_and_that_knows_its_context(runtime: &Runtime) {
    let (server, _installation) = runtime.start();
    let status = the_whole_walk(&server, runtime.image());

    let client = client(&server);
    let request = models::DeployModel {
        version_name: Some("v1".to_owned()),
        ip_list: Some(vec!["192.0.2.1".to_owned()]),
        ..models::DeployModel::new("arena".to_owned())
    };
    let id = deployments::deploy(&client, request).unwrap().request_id;
    assert_ne!(id, status.request_id);
    let status = wait_for(&client, &id, "READY");
    let port = u16::try_from(status.ports.unwrap()["game"].external.unwrap()).unwrap();
    assert_eq!(player::ask_udp(port, "ping"), format!("pong {id}"));

    // The two calls of a game server, with what was injected into it, from the crate's typed client.
    let variable = |name: &str| player::ask_udp(port, &format!("env {name}"));
    let last_number = |url: &str| url.rsplit('/').next().unwrap().parse::<i32>().unwrap();
    let number = last_number(&variable("ARBITRIUM_CONTEXT_URL"));
    let token = variable("ARBITRIUM_CONTEXT_TOKEN");
    let seen = context::context_get(&client, &id, number, &token).unwrap();
    assert_eq!(
        (seen.request_id.as_str(), seen.status.as_str(), seen.ready),
        (id.as_str(), "Status.READY", true)
    );
    let tag = models::ContextCreateDeploymentTagRequest { name: Some("full".to_owned()) };
    assert_eq!(
        context::context_create_deployment_tag(&client, &id, number, &token, tag).unwrap().name,
        "full"
    );
    assert_eq!(
        context::context_get(&client, &id, number, &token).unwrap().tags,
        Some(vec!["full".to_owned()])
    );
    context::context_delete_deployment_tag(&client, "full", &id, number, &token).unwrap();
    assert_eq!(code(context::context_get(&client, &id, number, "0123456789abcdef0123456789abcdef")), 401);

    let number = last_number(&variable("ARBITRIUM_DELETE_URL"));
    let token = variable("ARBITRIUM_DELETE_TOKEN");
    assert_eq!(code(deployments::self_deployment_delete(&client, &id, number, "wrong", None)), 401);
    assert_eq!(
        code(deployments::self_deployment_delete(&client, &id, number % 999_999 + 1, &token, None)),
        403
    );
    let stopped = deployments::self_deployment_delete(&client, &id, number, &token, None).unwrap();
    assert_eq!(stopped.deployment_summary.unwrap().request_id, id);
    let _ = wait_for(&client, &id, "TERMINATED");
    assert_eq!(code(deployments::self_deployment_delete(&client, &id, number, &token, None)), 410);
    server.audit();
}

/// What the crate has and Spawnpoint has not: the functions, an address of theirs, and why. A row whose address is served by
/// now has to go, and its functions have to be driven.
const NOT_SERVED: [(&str, &str, &str, &str); 3] = [
    ("lobby_*", "GET", "/v1/lobbies", "retired by Edgegap; another product"),
    (
        "*_matchmaker*, *_component*, *_release*, *_env*",
        "GET",
        "/v1/aom/matchmakers",
        "retired by Edgegap; another product",
    ),
    ("relay_*", "GET", "/v1/relays/sessions", "another product: relays carry players' packets"),
];

#[test]
fn what_the_crate_has_and_is_not_served_is_not_there_indeed() {
    let server = Server::start(server::fake);
    for (functions, method, path, why) in NOT_SERVED {
        let answer = server.api.call(method, path, Some(&json!({})));
        assert_eq!(answer.status, 404, "{functions} ({why}): {}", answer.text());
        assert!(answer.text().contains("nothing at this address"), "{functions}: {}", answer.text());
    }
}

/// The states of a deployment as a subject of calls.
const STATES: [&str; 6] = ["unknown", "DEPLOYING", "READY", "TERMINATING", "TERMINATED", "ERROR"];

/// The application `arena` with versions that stay in a state, on a fake host.
fn describe_states(server: &Server) {
    for (version, tag) in
        [("hangs", "never-listens"), ("runs", "ok"), ("deaf", "ignore-term"), ("bad", "image-missing")]
    {
        let fields = json!({"time_to_deploy": 3600, "termination_grace_period_seconds": 3600,
            "session_config": {"kind": "Seat", "sockets": 5}});
        server.api.describe("arena", version, ("fake", tag), &fields);
    }
}

/// One deployment in each of [`STATES`], with the tag `eu`.
fn in_every_state(server: &Server) -> [String; 6] {
    let client = client(server);
    let deploy = |version: &str| {
        let request = models::DeployModel {
            version_name: Some(version.to_owned()),
            ip_list: Some(vec!["192.0.2.1".to_owned()]),
            tags: Some(vec!["eu".to_owned()]),
            ..models::DeployModel::new("arena".to_owned())
        };
        deployments::deploy(&client, request).unwrap().request_id
    };
    let [deploying, ready, terminating, terminated, error] =
        ["hangs", "runs", "deaf", "runs", "bad"].map(deploy);
    for id in [&ready, &terminating, &terminated] {
        let _ = wait_for(&client, id, "READY");
    }
    for (id, state) in [(&terminating, "TERMINATING"), (&terminated, "TERMINATED")] {
        deployments::deployment_delete(&client, id, None).unwrap();
        let _ = wait_for(&client, id, state);
    }
    let subjects = ["0123456789ab".to_owned(), deploying, ready, terminating, terminated, error];
    for (state, id) in STATES.into_iter().zip(&subjects).skip(1) {
        let _ = server.api.wait_for(id, state);
    }
    subjects
}

/// 200 for an answer that the crate could read, else the status of the refusal, which must say why.
fn told<T: std::fmt::Debug, E: std::fmt::Debug>(answer: Result<T, Error<E>>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(Error::ResponseError(content)) => {
            let body: Value = serde_json::from_str(&content.content).unwrap();
            assert!(body["message"].is_string(), "{body}");
            content.status.as_u16()
        }
        Err(other) => panic!("not understood: {other:?}"),
    }
}

/// Drives a call on the subject in each state.
fn each(name: &str, subjects: &[String; 6], expected: [u16; 6], call: impl Fn(&str) -> u16) {
    for ((state, id), expected) in STATES.into_iter().zip(subjects).zip(expected) {
        assert_eq!(call(id), expected, "{name}, {state}");
    }
}

#[test]
fn the_edgegap_crate_reads_and_tags_deployments_in_every_state() {
    let server = Server::start(server::fake);
    describe_states(&server);
    let (client, ids) = (client(&server), in_every_state(&server));
    each("status", &ids, [400, 200, 200, 200, 200, 200], |id| {
        told(deployments::deployment_status_get(&client, id))
    });
    let query =
        |id: &str| json!({"filters": [{"field": "request_id", "operator": "eq", "value": id}]}).to_string();
    for (state, id) in STATES.into_iter().zip(&ids) {
        let listed = deployments::deployments_get(&client, Some(&query(id))).unwrap().data.unwrap();
        assert_eq!(listed.len(), usize::from(!["unknown", "TERMINATED"].contains(&state)), "{state}");
    }
    let name = |name: &str| models::DeploymentTagPayload { name: name.to_owned() };
    let kept = [404, 200, 200, 200, 200, 200];
    let changed = [404, 200, 200, 200, 404, 200];
    each("list tags", &ids, kept, |id| told(tags::deployments_tags_list(&client, id)));
    each("read a tag", &ids, kept, |id| told(tags::deployments_tags_read(&client, id, "eu")));
    each("read no tag", &ids, [404; 6], |id| told(tags::deployments_tags_read(&client, id, "us")));
    each("create a tag", &ids, changed, |id| told(tags::deployments_tags_create(&client, id, name("a/b"))));
    each("create it again", &ids, [404, 409, 409, 409, 404, 409], |id| {
        told(tags::deployments_tags_create(&client, id, name("a/b")))
    });
    each("create a bad one", &ids, [400; 6], |id| told(tags::deployments_tags_create(&client, id, name(""))));
    each("rename a tag", &ids, changed, |id| {
        told(tags::deployments_tags_update(&client, id, "a/b", name("c,d")))
    });
    each("rename it onto another", &ids, [404, 409, 409, 409, 404, 409], |id| {
        told(tags::deployments_tags_update(&client, id, "c,d", name("eu")))
    });
    let listed = tags::deployments_tags_list(&client, &ids[2]).unwrap();
    assert_eq!((listed.tags.unwrap()[1].name.as_str(), listed.count), ("c,d", Some(2)));
    each("delete a tag", &ids, changed, |id| told(tags::deployments_tags_delete(&client, id, "c,d")));
    each("delete it again", &ids, [404; 6], |id| told(tags::deployments_tags_delete(&client, id, "c,d")));
    let payload = || models::DeploymentUpdatePayload { is_joinable_by_session: Some(true) };
    each("let sessions join", &ids, changed, |id| {
        told(deployments::deployment_update(&client, id, payload()))
    });
    server.audit();
}

#[test]
fn the_edgegap_crate_finds_room_in_ready_deployments_alone() {
    let server = Server::start(server::fake);
    describe_states(&server);
    let (client, ids) = (client(&server), in_every_state(&server));
    let available = |version: &str| {
        let payload = models::DeploymentAvailablePayload {
            minimum_sockets: Some(2),
            ip_list: Some(vec!["192.0.2.1".to_owned()]),
            ..models::DeploymentAvailablePayload::new("arena".to_owned(), version.to_owned())
        };
        deployments::deployments_available(&client, payload)
    };
    let update = |id: &str, joinable: bool| {
        let payload = models::DeploymentUpdatePayload { is_joinable_by_session: Some(joinable) };
        deployments::deployment_update(&client, id, payload).unwrap().is_joinable_by_session
    };
    assert!(!update(&ids[2], false));
    assert_eq!(available("runs").unwrap().data, [], "nobody may join");
    for id in [&ids[1], &ids[2], &ids[3], &ids[5]] {
        assert!(update(id, true));
    }
    for version in ["hangs", "deaf", "bad"] {
        assert_eq!(available(version).unwrap().data, [], "{version}");
    }
    let found = available("runs").unwrap();
    assert_eq!((found.data.len(), found.data[0].available_sockets), (1, 5));
    assert_eq!((&found.data[0].request_id, found.pagination.number), (&ids[2], Some(1)));
    assert_eq!(told(available("nothing")), 400);
}

#[test]
fn the_edgegap_crate_stops_deployments_in_every_state_alone_and_in_bulk() {
    let server = Server::start(server::fake);
    describe_states(&server);
    let (client, ids) = (client(&server), in_every_state(&server));
    let bulk = |how: models::deployment_bulk_stop_filters_payload::FilterType, values: Vec<String>| {
        use models::deployment_bulk_stop_filters_payload::Field::RequestId;
        let filter = models::DeploymentBulkStopFiltersPayload::new(RequestId, values, how);
        deployments::deployments_bulk_delete(&client, models::DeploymentBulkStopPayload::new(vec![filter]))
    };
    use models::deployment_bulk_stop_filters_payload::FilterType::{All, Any, Not};
    assert_eq!(told(bulk(Any, Vec::new())), 400);
    assert_eq!(bulk(All, ids[..2].to_vec()).unwrap().processable, []);
    assert_eq!(bulk(Not, ids.to_vec()).unwrap().processable, []);
    assert_eq!(server.api.status(&ids[2])["current_status"], "Status.READY");
    for (state, id) in STATES.into_iter().zip(&ids) {
        let named = bulk(Any, vec![format!(" {id}")]).unwrap().processable.len();
        assert_eq!(named, usize::from(!["unknown", "TERMINATED"].contains(&state)), "{state}");
    }
    let _ = server.api.wait_for(&ids[2], "TERMINATED");
    let _ = server.api.wait_for(&ids[5], "TERMINATED");

    let (again, wrong) = (in_every_state(&server), "0123456789abcdef0123456789abcdef");
    let stop = |id: &str| told(deployments::deployment_delete(&client, id, Some("false")));
    each("self-stop with a bad token", &again, [401; 6], |id| {
        told(deployments::self_deployment_delete(&client, id, 17, wrong, None))
    });
    each("context with a bad token", &again, [401; 6], |id| {
        told(context::context_get(&client, id, 17, wrong))
    });
    let tag = || models::ContextCreateDeploymentTagRequest { name: Some("full".to_owned()) };
    each("a tag with a bad token", &again, [401; 6], |id| {
        told(context::context_create_deployment_tag(&client, id, 17, wrong, tag()))
    });
    each("no tag with a bad token", &again, [401; 6], |id| {
        told(context::context_delete_deployment_tag(&client, "eu", id, 17, wrong))
    });
    let deferred = deployments::deployment_delete(&client, &again[1], None).unwrap();
    assert!(deferred.deployment_summary.is_none(), "{deferred:?}");
    each("stop", &again, [404, 200, 200, 200, 410, 200], stop);
    for id in [&again[2], &again[5]] {
        let _ = server.api.wait_for(id, "TERMINATED");
        assert_eq!(stop(id), 410);
    }
    server.audit();
}

#[test]
fn the_edgegap_crate_asks_for_logs_and_figures_in_every_state() {
    let server = Server::start(server::fake);
    describe_states(&server);
    let (client, ids) = (client(&server), in_every_state(&server));
    let logs = |id: &str| told(deployments::deployment_get_logs(&client, id));
    each("logs", &ids, [404, 200, 200, 200, 200, 200], logs);
    let metrics =
        |id: &str| told(metrics_api::deployment_metrics_get(&client, id, None, None, Some("1m"), None));
    each("metrics", &ids, [404, 200, 200, 200, 200, 200], metrics);
}

/// Makes, reads, changes, links, unlinks and deletes. What the deletion of a storage answers has no body (204, see
/// docs/compatibility.md), and the crate wants one: it reports an error after the storage has gone.
#[test]
fn the_edgegap_crate_keeps_storages_and_pull_profiles() {
    let server = Server::start(server::fake);
    let client = client(&server);
    server.api.describe("arena", "v1", ("fake", "ok"), &json!({}));
    let storage = || {
        let [name, key, address, bucket, secret] =
            ["s3", "key", "https://s3.example.com", "bucket", "secret"];
        models::EndpointStoragePostPayload::new(
            name.into(),
            key.into(),
            address.into(),
            bucket.into(),
            secret.into(),
        )
    };
    assert_eq!(storages::endpoint_create(&client, storage()).unwrap().endpoint, "https://s3.example.com");
    assert_eq!(code(storages::endpoint_create(&client, storage())), 409);
    let patch = || models::EndpointStoragePatchPayload {
        bucket: Some("other".to_owned()),
        ..models::EndpointStoragePatchPayload::default()
    };
    assert_eq!(storages::endpoint_update(&client, "s3", patch()).unwrap().bucket.as_deref(), Some("other"));
    assert_eq!(storages::endpoint_get(&client, "s3").unwrap().bucket, "other");
    assert_eq!(storages::endpoints_list(&client, None, None, None).unwrap().endpoints.unwrap().len(), 1);

    let kind = models::pull_profile_post_payload::SourceType::File;
    let profile =
        || models::PullProfilePostPayload::new("p".into(), "maps/dust".into(), kind, "/maps".into());
    assert_eq!(storages::pull_profile_create(&client, "s3", profile()).unwrap().destination, "/maps");
    assert_eq!(code(storages::pull_profile_create(&client, "s3", profile())), 409);
    let moved = || models::PullProfilePatchPayload {
        destination: Some("/data".to_owned()),
        ..models::PullProfilePatchPayload::default()
    };
    assert_eq!(
        storages::pull_profile_update(&client, "s3", "p", moved()).unwrap().destination.as_deref(),
        Some("/data")
    );
    assert_eq!(storages::pull_profile_get(&client, "s3", "p").unwrap().source, "maps/dust");
    let profiles = storages::pull_profile_list(&client, "s3", None, None).unwrap().pull_profiles.unwrap();
    assert_eq!(profiles.len(), 1);
    let linked = storages::pull_profile_link_app_version(&client, "s3", "p", "arena", "v1").unwrap();
    assert_eq!((linked.endpoint.as_str(), linked.pull_profile.as_str()), ("s3", "p"));
    storages::pull_profile_unlink_app_version(&client, "s3", "p", "arena", "v1").unwrap();
    assert_eq!(code(storages::pull_profile_unlink_app_version(&client, "s3", "p", "arena", "v1")), 404);
    storages::pull_profile_delete(&client, "s3", "p").unwrap();

    let unread = storages::endpoint_delete(&client, "s3");
    assert!(matches!(unread, Err(Error::Serde(_))), "{unread:?}");
    for refused in [
        code(storages::endpoint_delete(&client, "s3")),
        code(storages::endpoint_get(&client, "s3")),
        code(storages::endpoint_update(&client, "s3", patch())),
        code(storages::pull_profile_create(&client, "s3", profile())),
        code(storages::pull_profile_list(&client, "s3", None, None)),
        code(storages::pull_profile_get(&client, "s3", "p")),
        code(storages::pull_profile_update(&client, "s3", "p", moved())),
        code(storages::pull_profile_delete(&client, "s3", "p")),
        code(storages::pull_profile_link_app_version(&client, "s3", "p", "arena", "v1")),
    ] {
        assert_eq!(refused, 404);
    }
    server.audit();
}

#[test]
fn the_edgegap_crate_reads_locations_beacons_and_addresses() {
    let server = Server::start(|ports| {
        let own = format!("[beacon]\nenabled = true\nudp_port = {}\ntcp_port = 0\n", ports.beacon());
        own + &server::fake(ports)
    });
    let client = client(&server);
    server.api.describe("arena", "v1", ("fake-game", "1"), &json!({}));
    let listed = |app: Option<&str>, version: Option<&str>| {
        let list = locations_api::locations_get(&client, app, version, Some("standard"), Some("true"));
        list.map(|list| list.locations.unwrap().into_iter().map(|place| place.city).collect::<Vec<_>>())
    };
    assert_eq!(listed(None, None).unwrap(), ["Montreal"]);
    assert_eq!(listed(Some("arena"), Some("v1")).unwrap(), ["Montreal"]);
    assert_eq!(code(listed(Some("arena"), Some("none"))), 400);
    let beacons = locations_api::location_beacon_list(&client).unwrap();
    assert_eq!(beacons.count, Some(1));
    let beacon = &beacons.locations.unwrap()[0];
    assert_eq!((beacon.udp_port, beacon.tcp_port), (Some(i32::from(server.ports.beacon())), None));
    assert_eq!((beacon.location.city.as_str(), beacon.location.latitude), ("Montreal", 45.5));

    let one = ip_lookup_api::i_p_lookup(&client, "192.0.2.1").unwrap();
    assert_eq!((one.ip_address.as_str(), one.location), ("192.0.2.1", None));
    assert_eq!(code(ip_lookup_api::i_p_lookup(&client, "nowhere")), 400);
    let both = models::IpAddressesLookupPayload::new(vec!["192.0.2.1".to_owned(), "2001:db8::1".to_owned()]);
    let both = ip_lookup_api::i_ps_lookup(&client, both).unwrap().addresses;
    assert_eq!(both.iter().filter_map(|one| one.r#type.as_deref()).collect::<Vec<_>>(), ["ipv4", "ipv6"]);
}

#[test]
fn the_edgegap_crate_compares_deployments_in_every_state() {
    let server = Server::start(server::fake);
    let client = client(&server);
    describe_states(&server);
    let subjects = in_every_state(&server);
    let asked = |ids: &[String]| {
        let request =
            models::ActiveDeploymentTelemetryRequest::new(ids.to_vec(), vec!["192.0.2.1".to_owned()]);
        telemetry_api::active_deployment_telemetry_post(&client, request)
    };
    each("telemetry", &subjects, [422, 200, 200, 200, 200, 200], |id| told(asked(&[id.to_owned()])));
    let ticket = asked(&subjects).unwrap();
    let result = telemetry_api::active_deployment_telemetry_get(&client, &ticket.retrieval_key).unwrap();
    let found: Vec<&str> = result.scores.iter().map(|score| score.request_id.as_str()).collect();
    assert_eq!(
        found,
        [subjects[1].as_str(), &subjects[2]],
        "one that is being deployed, and one that is ready"
    );
    assert!(result.partial_result);
    assert_eq!(code(telemetry_api::active_deployment_telemetry_get(&client, "none")), 404);
}

#[test]
fn the_edgegap_crate_keeps_access_lists() {
    let server = Server::start(server::fake);
    let client = client(&server);
    let missing = applications::app_version_whitelist_get(&client, "arena", "v1");
    assert_eq!(told(missing), 404);
    server.api.describe("arena", "v1", ("fake", "ok"), &json!({"whitelisting_active": true}));
    let payload = |cidr: &str| models::AppVersionWhitelistEntryPayload {
        label: Some("Matchmaker".to_owned()),
        ..models::AppVersionWhitelistEntryPayload::new(cidr.to_owned())
    };
    let bad = applications::app_version_whitelist_post(&client, "arena", "v1", payload("10.0.0.0/33"));
    assert_eq!(told(bad), 400);
    let made =
        applications::app_version_whitelist_post(&client, "arena", "v1", payload("10.0.0.0/8")).unwrap();
    let entry = *made.whitelist_entry.unwrap();
    assert!(made.success && entry.is_active == Some(true) && entry.cidr == "10.0.0.0/8", "{entry:?}");
    let listed = applications::app_version_whitelist_get(&client, "arena", "v1").unwrap();
    assert_eq!(listed.whitelist_entries, Some(vec![entry.clone()]));
    let shown = applications::app_version_whitelist_entry_get(&client, "arena", "v1", &entry.id).unwrap();
    assert_eq!(shown, entry);
    let delete = || applications::app_version_whitelist_entry_delete(&client, "arena", "v1", &entry.id);
    assert_eq!(delete().unwrap().whitelist_entry.as_deref(), Some(&entry));
    assert_eq!(told(delete()), 404);
    assert_eq!(told(applications::app_version_whitelist_entry_get(&client, "arena", "v1", &entry.id)), 404);
}

#[test]
fn the_edgegap_crate_is_told_what_an_application_or_a_version_cannot_do() {
    let server = Server::start(server::fake);
    let client = client(&server);
    let version =
        |name: &str| models::AppVersionPayload { name: name.to_owned(), ..new_version(("fake", "ok")) };
    let deploy = |app: &str, version: Option<&str>| {
        let request = models::DeployModel {
            version_name: version.map(str::to_owned),
            ip_list: Some(vec!["192.0.2.1".to_owned()]),
            ..models::DeployModel::new(app.to_owned())
        };
        deployments::deploy(&client, request)
    };
    let rename = || models::ApplicationPatch::default();
    let change = || models::AppVersionUpdatePayload::default();
    assert_eq!(told(applications::application_get(&client, "arena")), 404);
    assert_eq!(told(applications::application_patch(&client, "arena", rename())), 404);
    assert_eq!(told(applications::application_delete(&client, "arena")), 404);
    assert_eq!(told(applications::app_versions_get(&client, "arena")), 404);
    assert_eq!(told(applications::app_version_post(&client, "arena", version("v1"))), 404);
    assert_eq!(told(applications::app_version_get(&client, "arena", "v1")), 404);
    assert_eq!(told(deploy("arena", Some("v1"))), 400);

    let app = models::ApplicationPost::new("arena".to_owned(), true, String::new());
    applications::application_post(&client, app).unwrap();
    assert_eq!(applications::app_versions_get(&client, "arena").unwrap().versions, Some(Vec::new()));
    assert_eq!(told(applications::app_versions_patch(&client, "arena", "v1", change())), 404);
    assert_eq!(told(applications::app_version_delete(&client, "arena", "v1")), 404);
    assert_eq!(told(deploy("arena", None)), 400, "it has no version yet");

    applications::app_version_post(&client, "arena", version("v1")).unwrap();
    let id = deploy("arena", None).unwrap().request_id;
    let _ = wait_for(&client, &id, "READY");
    // While it is in use.
    assert_eq!(told(applications::app_versions_patch(&client, "arena", "v1", change())), 200);
    let off = models::AppVersionUpdatePayload { is_active: Some(false), ..change() };
    assert_eq!(told(applications::app_versions_patch(&client, "arena", "v1", off)), 200);
    assert_eq!(told(deploy("arena", Some("v1"))), 400, "it is not active");
    assert_eq!(told(applications::app_version_delete(&client, "arena", "v1")), 200);
    assert_eq!(told(applications::application_delete(&client, "arena")), 200);
    let status = deployments::deployment_status_get(&client, &id).unwrap();
    assert_eq!((status.current_status.as_str(), status.app_version.as_str()), ("Status.READY", "v1"));
    deployments::deployment_delete(&client, &id, None).unwrap();
    let _ = wait_for(&client, &id, "TERMINATED");
    assert_eq!(told(applications::application_delete(&client, "arena")), 404);
    assert_eq!(told(applications::app_version_get(&client, "arena", "v1")), 404);
    server.audit();
}

/// Number and token of a container for one of its calls (`CONTEXT`, `DELETE`), from what it was started with.
fn own_key(installation: &Installation, id: &str, purpose: &str) -> (i32, String) {
    let container = eventually("it has a container", PATIENCE, || installation.container_if_there(id));
    let variable = |name: String| {
        let all = container.environment.iter().filter_map(|one| one.split_once('='));
        all.clone().find(|(key, _)| *key == name).unwrap().1.to_owned()
    };
    let number = variable(format!("ARBITRIUM_{purpose}_URL")).rsplit('/').next().unwrap().parse().unwrap();
    (number, variable(format!("ARBITRIUM_{purpose}_TOKEN")))
}

fn the_edgegap_crate_is_a_real_container_that_asks_and_stops_itself_in_every_state(runtime: &Runtime) {
    let (server, installation) = runtime.start();
    let client = client(&server);
    let deploy = |version: &str, mode: &str| {
        let fields = json!({"envs": [{"key": "GAME_MODE", "value": mode, "is_hidden": false}],
            "time_to_deploy": 3600, "termination_grace_period_seconds": 5, "restart_policy": "never"});
        server.api.describe("arena", version, runtime.image(), &fields);
        let id = server.api.deploy("arena", version, &json!({}));
        let keys = (own_key(&installation, &id, "CONTEXT"), own_key(&installation, &id, "DELETE"));
        (id, keys)
    };
    let seen = |id: &str, (number, token): &(i32, String)| {
        context::context_get(&client, id, *number, token).map(|context| context.status)
    };
    let tag = || models::ContextCreateDeploymentTagRequest { name: Some("full".to_owned()) };
    let stop = |id: &str, (number, token): &(i32, String)| {
        deployments::self_deployment_delete(&client, id, *number, token, None)
    };

    let (deploying, (context, delete)) = deploy("hangs", "never-listen");
    assert_eq!(seen(&deploying, &context).unwrap(), "Status.DEPLOYING");
    assert_eq!(
        told(context::context_create_deployment_tag(&client, &deploying, context.0, &context.1, tag())),
        200
    );
    assert!(stop(&deploying, &delete).unwrap().deployment_summary.is_none(), "it is carried out later");

    let (id, (context, delete)) = deploy("deaf", "ignore-term");
    let _ = wait_for(&client, &id, "READY");
    assert_eq!(seen(&id, &context).unwrap(), "Status.READY");
    assert!(stop(&id, &delete).unwrap().deployment_summary.is_some());
    let _ = wait_for(&client, &id, "TERMINATING");
    assert_eq!(seen(&id, &context).unwrap(), "Status.TERMINATING");
    assert_eq!(told(context::context_create_deployment_tag(&client, &id, context.0, &context.1, tag())), 200);
    assert_eq!(told(stop(&id, &delete)), 200);
    let _ = wait_for(&client, &id, "TERMINATED");
    assert_eq!((told(seen(&id, &context)), told(stop(&id, &delete))), (401, 410));
    assert_eq!(
        told(context::context_delete_deployment_tag(&client, "full", &id, context.0, &context.1)),
        401
    );

    let (lost, (context, delete)) = deploy("lost", "never-listen,exit-after:4000:3");
    let _ = server.api.wait_for(&lost, "ERROR");
    assert_eq!(seen(&lost, &context).unwrap(), "Status.ERROR");
    assert_eq!(
        told(context::context_create_deployment_tag(&client, &lost, context.0, &context.1, tag())),
        200
    );
    assert_eq!(
        told(context::context_delete_deployment_tag(&client, "full", &lost, context.0, &context.1)),
        200
    );
    assert_eq!(told(stop(&lost, &delete)), 200);
    let _ = server.api.wait_for(&lost, "TERMINATED");
    server.audit();
}
