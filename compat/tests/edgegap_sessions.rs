//! The crate `edgegap` 0.1.0 again, a typed client that nobody here wrote: sessions and smart fleets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

#[path = "support/typed.rs"]
mod typed;

use edgegap::apis::applications_api as applications;
use edgegap::apis::configuration::Configuration;
use edgegap::apis::deployments_api as deployments;
use edgegap::apis::{fleets_api as fleets, sessions_api as sessions};
use edgegap::models;
use serde_json::json;
use spawnpoint_compat::{PATIENCE, Server, eventually, server};
use typed::{client, code, wait_for};

/// An application with a version of three seats a deployment.
fn describe(client: &Configuration, autodeploy: bool) {
    let app = models::ApplicationPost::new("arena".to_owned(), true, String::new());
    applications::application_post(client, app).unwrap();
    let kind = models::app_version_create_session_config::Kind::Seat;
    let mut settings = models::AppVersionCreateSessionConfig::new(kind, 3);
    settings.autodeploy = Some(autodeploy);
    let version = models::AppVersionPayload {
        session_config: Some(Box::new(settings)),
        ..models::AppVersionPayload::new(
            "v1".to_owned(),
            "localhost".to_owned(),
            "fake-game".to_owned(),
            "1".to_owned(),
            128,
            128,
        )
    };
    applications::app_version_post(client, "arena", version).unwrap();
}

fn deploy(client: &Configuration) -> String {
    let request = models::DeployModel {
        ip_list: Some(vec!["192.0.2.1".to_owned()]),
        ..models::DeployModel::new("arena".to_owned())
    };
    deployments::deploy(client, request).unwrap().request_id
}

fn ask(ips: &[&str]) -> models::SessionModel {
    models::SessionModel {
        ip_list: Some(ips.iter().map(|ip| (*ip).to_owned()).collect()),
        ..models::SessionModel::new("arena".to_owned())
    }
}

fn players(ips: &[&str]) -> models::PatchSessionModel {
    models::PatchSessionModel::new(ips.iter().map(|ip| (*ip).to_owned()).collect())
}

#[test]
fn the_edgegap_crate_makes_changes_lists_and_deletes_sessions() {
    let server = Server::start(server::fake);
    let client = client(&server);
    describe(&client, false);
    let nobody = sessions::session_post(&client, ask(&["192.0.2.1"])).unwrap();
    assert_eq!(nobody.deployment_request_id, None);
    let shown = sessions::get_session(&client, &nobody.session_id).unwrap();
    assert_eq!((shown.status.as_str(), shown.linked, shown.ready), ("Status.UNPROCESSABLE", false, false));
    assert!(shown.error.is_some());

    let id = deploy(&client);
    let _ = wait_for(&client, &id, "READY");
    let mut request = ask(&["192.0.2.1", "192.0.2.2"]);
    request.selectors = Some(vec![models::SelectorModel {
        tag_only: Some(true),
        ..models::SelectorModel::new("party".to_owned())
    }]);
    let made = sessions::session_post(&client, request).unwrap();
    assert_eq!((made.app.as_str(), made.version.as_str()), ("arena", "v1"));
    assert_eq!(
        (made.deployment_request_id.as_deref(), made.selectors.unwrap().len()),
        (Some(id.as_str()), 1)
    );
    let name = made.session_id;
    let shown = sessions::get_session(&client, &name).unwrap();
    assert_eq!((shown.kind.as_str(), shown.user_count, shown.app_version), ("Seat", 2, 1));
    assert_eq!((shown.status.as_str(), shown.linked, shown.ready), ("Status.READY", true, true));
    assert_eq!(shown.deployment.unwrap().request_id, id);

    let grown = sessions::put_users_session(&client, &name, players(&["192.0.2.3"])).unwrap();
    assert_eq!(grown.session_users.len(), 3);
    assert_eq!(code(sessions::put_users_session(&client, &name, players(&["192.0.2.4"]))), 422);
    let status = deployments::deployment_status_get(&client, &id).unwrap();
    assert_eq!((status.sockets, status.sockets_usage), (Some(3), Some(3)));
    assert_eq!(status.sessions.unwrap()[0].session_id, name);
    let left = sessions::delete_users_session(&client, &name, players(&["192.0.2.1", "192.0.2.3"])).unwrap();
    assert_eq!(left.session_users[0].ip, "192.0.2.2");
    assert_eq!(sessions::get_users_session(&client, &name).unwrap(), left);
    let listed = sessions::list_sessions(&client).unwrap();
    assert_eq!((listed.total_count, listed.data.unwrap().len()), (Some(2), 2));

    let mut named = ask(&["192.0.2.9"]);
    named.deployment_request_id = Some(id.clone());
    let second = sessions::session_post(&client, named.clone()).unwrap();
    let filter = models::SessionBulkStopFiltersPayload::new(
        models::session_bulk_stop_filters_payload::Field::SessionId,
        vec![second.session_id.clone()],
        models::session_bulk_stop_filters_payload::FilterType::Any,
    );
    let stopped = sessions::sessions_bulk_stop(&client, models::SessionBulkStopPayload::new(vec![filter]));
    assert_eq!(stopped.unwrap().processable[0].session_id, second.session_id);
    assert_eq!(sessions::session_delete(&client, &name).unwrap().session_id, name);
    assert_eq!(code(sessions::session_delete(&client, &name)), 410);
    assert_eq!(code(sessions::get_session(&client, &name)), 404);

    // Its deployment ends: it is shown for a while, and cannot be changed.
    let last = sessions::session_post(&client, named.clone()).unwrap().session_id;
    deployments::deployment_delete(&client, &id, None).unwrap();
    let _ = wait_for(&client, &id, "TERMINATED");
    let shown = sessions::get_session(&client, &last).unwrap();
    assert_eq!((shown.status.as_str(), shown.linked, shown.ready), ("Status.TERMINATED", false, false));
    assert_eq!(code(sessions::put_users_session(&client, &last, players(&["192.0.2.4"]))), 422);
    assert_eq!(code(sessions::session_delete(&client, &last)), 410);
    assert_eq!(code(sessions::session_post(&client, named)), 409);
    server.audit();
}

#[test]
fn the_edgegap_crate_has_a_deployment_started_for_a_session() {
    let server = Server::start(server::fake);
    let client = client(&server);
    describe(&client, true);
    let made = sessions::session_post(&client, ask(&["192.0.2.1"])).unwrap();
    let id = made.deployment_request_id.unwrap();
    let status = wait_for(&client, &id, "READY");
    assert_eq!((status.sockets, status.sockets_usage), (Some(3), Some(1)));
    let again = sessions::session_post(&client, ask(&["192.0.2.2"])).unwrap();
    assert_eq!(again.deployment_request_id, Some(id));
    server.audit();
}

/// A version of the image `fake-game:TAG` with three seats, and a deployment of it.
fn deploy_as(server: &Server, tag: &str) -> String {
    let settings = json!({"session_config": {"kind": "Seat", "sockets": 3}});
    server.api.describe("arena", tag, ("fake-game", tag), &settings);
    server.api.deploy("arena", tag, &json!({}))
}

#[test]
fn the_edgegap_crate_asks_for_sessions_on_deployments_in_every_state() {
    let server = Server::start(server::fake);
    let client = client(&server);
    let on = |id: &str| {
        let mut request = ask(&["192.0.2.1"]);
        request.deployment_request_id = Some(id.to_owned());
        sessions::session_post(&client, request)
    };
    let shown = |made: &models::SessionRequest| {
        let session = sessions::get_session(&client, &made.session_id).unwrap();
        (session.status, session.linked, session.ready, session.error.is_some())
    };
    let is = |status: &str, linked, ready, error| (format!("Status.{status}"), linked, ready, error);
    assert_eq!(code(on("0123456789ab")), 400, "unknown");

    let deploying = deploy_as(&server, "hang");
    let waits = on(&deploying).unwrap();
    eventually("it waits for its deployment", PATIENCE, || {
        (shown(&waits) == is("DEPLOYING", true, false, false)).then_some(())
    });
    let ready = deploy_as(&server, "ok");
    let _ = wait_for(&client, &ready, "READY");
    let sits = on(&ready).unwrap();
    assert_eq!(shown(&sits), is("READY", true, true, false));
    let leaving = deploy_as(&server, "ignore-term");
    let _ = wait_for(&client, &leaving, "READY");
    let leaves = on(&leaving).unwrap();
    deployments::deployment_delete(&client, &leaving, None).unwrap();
    assert_eq!(shown(&leaves), is("TERMINATING", true, false, false));
    assert_eq!(code(on(&leaving)), 409, "terminating");
    let ended = deploy_as(&server, "1");
    let _ = wait_for(&client, &ended, "READY");
    let ends = on(&ended).unwrap();
    deployments::deployment_delete(&client, &ended, None).unwrap();
    let _ = wait_for(&client, &ended, "TERMINATED");
    assert_eq!(shown(&ends), is("TERMINATED", false, false, false));
    assert_eq!(code(on(&ended)), 409, "terminated");
    let failed = deploy_as(&server, "start-delay-500ms.exit-1");
    let fails = on(&failed).unwrap();
    let _ = wait_for(&client, &failed, "ERROR");
    assert_eq!(shown(&fails), is("ERROR", false, false, true));
    assert_eq!(code(on(&failed)), 409, "error");

    for (name, made, expected) in [
        ("deploying", &waits, 200),
        ("ready", &sits, 200),
        ("terminating", &leaves, 200),
        ("terminated", &ends, 410),
        ("error", &fails, 410),
    ] {
        let deleted = sessions::session_delete(&client, &made.session_id);
        assert_eq!(deleted.map_or_else(|error| code::<(), _>(Err(error)), |_| 200), expected, "{name}");
    }
}

#[test]
fn the_edgegap_crate_makes_changes_lists_and_deletes_fleets() {
    let server = Server::start(server::fake);
    let client = client(&server);
    describe(&client, false);
    let new = || models::FleetPostPayload {
        enabled: Some(true),
        ..models::FleetPostPayload::new("all".to_owned())
    };
    assert_eq!(fleets::fleet_create(&client, new()).unwrap().enabled, Some(true));
    assert_eq!(code(fleets::fleet_create(&client, new())), 409);
    let data = json!({"filters": [{"field": "city", "values": ["Montreal"], "filter_type": "any"}]});
    let kind = models::fleet_policies_post_payload::Type::Location;
    let policy =
        models::FleetPoliciesPostPayload::new("here".to_owned(), true, kind, 2, 3, 0.5, data.clone());
    let posted = fleets::fleet_policies_create(&client, "all", policy).unwrap();
    assert_eq!((posted.minimum, posted.maximum, posted.data), (2, 3, data));
    let linked = fleets::fleet_link_app_version(&client, "all", "arena", "v1").unwrap();
    assert_eq!(
        (linked.fleet.as_str(), linked.app.as_str(), linked.app_version.as_str()),
        ("all", "arena", "v1")
    );
    let ready = || {
        let query = r#"{"filters":[{"field":"fleet_name","operator":"eq","value":"all"}]}"#;
        let listed = deployments::deployments_get(&client, Some(query)).unwrap().data.unwrap();
        listed.into_iter().filter(|item| item.ready).count()
    };
    eventually("two are ready", PATIENCE, || (ready() == 2).then_some(()));

    let patch =
        models::FleetPoliciesPatchPayload { minimum: Some(3), ..models::FleetPoliciesPatchPayload::new() };
    assert_eq!(fleets::fleet_policies_update(&client, "all", "here", patch).unwrap().minimum, Some(3));
    eventually("three are ready", PATIENCE, || (ready() == 3).then_some(()));
    assert_eq!(fleets::fleet_policies_get(&client, "all", "here").unwrap().minimum, 3);
    let listed = fleets::fleet_policies_list(&client, "all", Some(1), Some(10), None).unwrap();
    assert_eq!(listed.policies.unwrap().len(), 1);
    let off = models::FleetPatchPayload { enabled: Some(false), ..models::FleetPatchPayload::new() };
    assert_eq!(fleets::fleet_update(&client, "all", off).unwrap().enabled, Some(false));
    assert_eq!(fleets::fleet_get(&client, "all").unwrap().enabled, Some(false));
    assert_eq!(fleets::fleets(&client, None, None).unwrap().fleets.unwrap().len(), 1);
    fleets::fleet_unlink_app_version(&client, "all", "arena", "v1").unwrap();
    assert_eq!(code(fleets::fleet_unlink_app_version(&client, "all", "arena", "v1")), 404);
    fleets::fleet_policies_delete(&client, "all", "here").unwrap();
    assert_eq!(code(fleets::fleet_policies_get(&client, "all", "here")), 404);
    assert!(!fleets::fleet_delete(&client, "all").unwrap().message.is_empty());
    assert_eq!(code(fleets::fleet_get(&client, "all")), 404);
    assert_eq!(ready(), 3, "what runs goes on");
    server.audit();
}
