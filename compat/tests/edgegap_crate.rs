//! A typed client that nobody here wrote: the crate `edgegap` 0.1.0, generated from Edgegap's own API description. What it
//! cannot parse, its users could not either.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use edgegap::apis::applications_api as applications;
use edgegap::apis::configuration::{ApiKey, Configuration};
use edgegap::apis::context_api as context;
use edgegap::apis::deployments_api as deployments;
use edgegap::apis::{Error, ip_lookup_api, monitoring_api};
use edgegap::models;
use spawnpoint_compat::{PATIENCE, Server, docker, eventually, player, server};

/// The client, set to our address.
fn client(server: &Server) -> Configuration {
    Configuration {
        base_path: format!("http://{}", server.api.address),
        api_key: Some(ApiKey { prefix: Some("token".to_owned()), key: server.api.token.clone() }),
        ..Configuration::default()
    }
}

/// The status code of a refused call.
fn code<T: std::fmt::Debug, E: std::fmt::Debug>(answer: Result<T, Error<E>>) -> u16 {
    match answer {
        Err(Error::ResponseError(content)) => content.status.as_u16(),
        other => panic!("not refused: {other:?}"),
    }
}

fn wait_for(client: &Configuration, id: &str, wanted: &str) -> models::Status {
    eventually(&format!("{id} is {wanted}"), PATIENCE, || {
        let status = deployments::deployment_status_get(client, id).unwrap();
        assert!(!status.error, "{status:?}");
        (status.current_status == format!("Status.{wanted}")).then_some(status)
    })
}

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
fn the_edgegap_crate_reads_monitor_and_ip() {
    let server = Server::start(server::fake);
    let client = client(&server);
    assert!(!monitoring_api::monitoring(&client).unwrap().version.is_empty());
    assert_eq!(ip_lookup_api::i_p(&client).unwrap().public_ip, "127.0.0.1");
}

#[test]
fn the_edgegap_crate_deploys_a_real_container_that_answers_and_that_knows_its_context() {
    let Some(engine) = docker::engine() else { return };
    let mut server = Server::start(server::docker);
    let _ = server.installation(&engine);
    let status = the_whole_walk(&server, engine.image());

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
    wait_for(&client, &id, "TERMINATED");
    assert_eq!(code(deployments::self_deployment_delete(&client, &id, number, &token, None)), 410);
    server.audit();
}
