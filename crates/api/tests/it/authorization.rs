//! Who may do what: every operation by every kind of token, and every spelling of the header.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, Method, Request};
use serde_json::{Value, json};
use spawnpoint_engine::callback::{Purpose, number, token};
use spawnpoint_model::token::Scope;

use crate::openapi::{Operation, operations};
use crate::world::{ADMIN, Answer, World, deployment, vault, version};

/// What an operation needs at least.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Needs {
    Nothing,
    Scope(Scope),
    /// The token that the container of the deployment was given for this.
    Own(Purpose),
}

const READ: Needs = Needs::Scope(Scope::Read);
const DEPLOY: Needs = Needs::Scope(Scope::Deploy);
const ADMINISTER: Needs = Needs::Scope(Scope::Admin);
const STOP_ITSELF: Needs = Needs::Own(Purpose::SelfStop);
const CONTEXT: Needs = Needs::Own(Purpose::Context);

/// An operation on something that is there.
struct Row {
    /// As it is described.
    name: &'static str,
    /// Where it is called. `{id}` is a ready deployment; `{stop}` and `{context}` are its numbers.
    path: &'static str,
    body: Option<Value>,
    needs: Needs,
    /// What a token with every scope that is bound to another application may be answered.
    bound_elsewhere: &'static [u16],
}

/// Shows nothing of others, or concerns nobody in particular.
const HARMLESS: &[u16] = &[200, 201, 204];
/// Hidden or forbidden.
const KEPT_OUT: &[u16] = &[403, 404];
/// Of no application: only tokens that are bound to none have a part in it.
const UNBOUND_ALONE: &[u16] = &[403];

fn row(
    name: &'static str,
    path: &'static str,
    body: Option<Value>,
    needs: Needs,
    bound_elsewhere: &'static [u16],
) -> Row {
    Row { name, path, body, needs, bound_elsewhere }
}

/// Every operation. The order matters: what removes things comes last.
fn matrix() -> Vec<Row> {
    let v1 = json!({"app_name": "arena", "ip_list": ["1.2.3.4"]});
    let app = json!({"name": "made", "is_active": true, "image": ""});
    let change = || Some(json!({"is_active": true}));
    let mut rows = vec![
        row("GET /monitor", "/monitor", None, Needs::Nothing, HARMLESS),
        row("GET /swagger.json", "/swagger.json", None, Needs::Nothing, HARMLESS),
        row("GET /v2/openapi.json", "/v2/openapi.json", None, Needs::Nothing, HARMLESS),
        row("GET /v1/apps", "/v1/apps", None, READ, HARMLESS),
        row("GET /v1/app/{app_name}", "/v1/app/arena", None, READ, KEPT_OUT),
        row("GET /v1/app/{app_name}/versions", "/v1/app/arena/versions", None, READ, KEPT_OUT),
        row(
            "GET /v1/app/{app_name}/version/{version_name}",
            "/v1/app/arena/version/v1",
            None,
            READ,
            KEPT_OUT,
        ),
        row("GET /v1/deployments", "/v1/deployments", None, READ, HARMLESS),
        row("GET /v1/status/{request_id}", "/v1/status/{id}", None, READ, &[400]),
        row("GET /v1/ip", "/v1/ip", None, READ, HARMLESS),
        row("POST /v2/deployments", "/v2/deployments", Some(deployment("v1")), DEPLOY, KEPT_OUT),
        row("POST /v1/deploy", "/v1/deploy", Some(v1), DEPLOY, KEPT_OUT),
        row("POST /v1/app", "/v1/app", Some(app), ADMINISTER, KEPT_OUT),
        row("PATCH /v1/app/{app_name}", "/v1/app/arena", change(), ADMINISTER, KEPT_OUT),
    ];
    let rooms = [places(), running(), registry(), storages(), hosts(), sessions(), fleets(), access_lists()];
    rows.extend(rooms.into_iter().flatten());
    let version_path = "/v1/app/arena/version/v1";
    let new_version = Some(version("v2", "a/b", "1"));
    rows.extend([
        row("POST /v1/app/{app_name}/version", "/v1/app/arena/version", new_version, ADMINISTER, KEPT_OUT),
        row("PATCH /v1/app/{app_name}/version/{version_name}", version_path, change(), ADMINISTER, KEPT_OUT),
        row(
            "GET /v1/context/{request_id}/{security_number}",
            "/v1/context/{id}/{context}",
            None,
            CONTEXT,
            &[401],
        ),
        row(
            "POST /v1/context/{request_id}/{security_number}/tags",
            "/v1/context/{id}/{context}/tags",
            Some(json!({"name": "x"})),
            CONTEXT,
            &[401],
        ),
        row(
            "DELETE /v1/context/{request_id}/{security_number}/tags/{tag_name}",
            "/v1/context/{id}/{context}/tags/x",
            None,
            CONTEXT,
            &[401],
        ),
        row(
            "DELETE /v1/self/stop/{request_id}/{access_point_id}",
            "/v1/self/stop/{id}/{stop}",
            None,
            STOP_ITSELF,
            &[401],
        ),
        row("DELETE /v1/stop/{request_id}", "/v1/stop/{id}", None, DEPLOY, KEPT_OUT),
        row("DELETE /v1/app/{app_name}/version/{version_name}", version_path, None, ADMINISTER, KEPT_OUT),
        row("DELETE /v1/app/{app_name}", "/v1/app/arena", None, ADMINISTER, KEPT_OUT),
    ]);
    rows.extend(extensions());
    rows
}

/// Images in the installation's own registry, which belong to no application. (It has none.)
fn registry() -> Vec<Row> {
    const TAGS: &str = "/v1/container-registry/images/arena/tags";
    let source = Some(json!({"source": "unity"}));
    vec![
        row(
            "GET /v1/wizard/registry-credentials",
            "/v1/wizard/registry-credentials",
            None,
            ADMINISTER,
            UNBOUND_ALONE,
        ),
        row("POST /v1/wizard/init-quick-start", "/v1/wizard/init-quick-start", source, READ, HARMLESS),
        row("GET /v1/container-registry/images/{image_name}/tags", TAGS, None, READ, UNBOUND_ALONE),
        row(
            "DELETE /v1/container-registry/images/{image_name}/tags/{tag_name}",
            "/v1/container-registry/images/arena/tags/v1",
            None,
            ADMINISTER,
            UNBOUND_ALONE,
        ),
        row(
            "POST /v1/container-registry/images/{image_name}/tags/bulk-delete",
            "/v1/container-registry/images/arena/tags/bulk-delete",
            Some(json!({"tags": ["v1"]})),
            ADMINISTER,
            UNBOUND_ALONE,
        ),
    ]
}

/// Endpoint storages and pull profiles, which belong to no application.
fn storages() -> Vec<Row> {
    const ONE: &str = "/v1/storage/endpoint/s3";
    const PROFILE: &str = "/v1/storage/endpoint/s3/pull-profile/p";
    const LINK: &str = "/v1/storage/endpoint/s3/pull-profile/p/app/arena/version/v1";
    let storage = json!({
        "name": "s3", "access_key_id": "A", "secret_access_key": "B", "bucket": "bucket",
        "endpoint": "https://s3.example.com", "region": "eu",
    });
    let profile = json!({"name": "p", "source": "a", "source_type": "File", "destination": "/d"});
    vec![
        row("POST /v1/storage/endpoint", "/v1/storage/endpoint", Some(storage), ADMINISTER, UNBOUND_ALONE),
        row("GET /v1/storage/endpoints", "/v1/storage/endpoints", None, READ, UNBOUND_ALONE),
        row("GET /v1/storage/endpoint/{endpoint_name}", ONE, None, READ, UNBOUND_ALONE),
        row(
            "PATCH /v1/storage/endpoint/{endpoint_name}",
            ONE,
            Some(json!({"bucket": "other"})),
            ADMINISTER,
            UNBOUND_ALONE,
        ),
        row(
            "POST /v1/storage/endpoint/{endpoint_name}/pull-profile",
            "/v1/storage/endpoint/s3/pull-profile",
            Some(profile),
            ADMINISTER,
            UNBOUND_ALONE,
        ),
        row(
            "GET /v1/storage/endpoint/{endpoint_name}/pull-profiles",
            "/v1/storage/endpoint/s3/pull-profiles",
            None,
            READ,
            UNBOUND_ALONE,
        ),
        row(
            "GET /v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}",
            PROFILE,
            None,
            READ,
            UNBOUND_ALONE,
        ),
        row(
            "PATCH /v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}",
            PROFILE,
            Some(json!({"name": "p"})),
            ADMINISTER,
            UNBOUND_ALONE,
        ),
        row(
            "PUT /v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}/app/{app_name}/version/{version_name}",
            LINK,
            None,
            ADMINISTER,
            UNBOUND_ALONE,
        ),
        row(
            "DELETE /v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}/app/{app_name}/version/{version_name}",
            LINK,
            None,
            ADMINISTER,
            UNBOUND_ALONE,
        ),
        row(
            "DELETE /v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}",
            PROFILE,
            None,
            ADMINISTER,
            UNBOUND_ALONE,
        ),
        row("DELETE /v1/storage/endpoint/{endpoint_name}", ONE, None, ADMINISTER, UNBOUND_ALONE),
    ]
}

/// Hosts and private fleets. What is said of a host is taken back in the end.
fn hosts() -> Vec<Row> {
    let mut private = deployment("v1");
    private["private_host_ids"] = json!(["kyoto-1"]);
    let fleet = "/v2/private-fleets/tournament/hosts";
    let host = "/spawnpoint/v1/hosts/osaka-1";
    let schedule = "/spawnpoint/v1/hosts/osaka-1/delete-schedule";
    let at = json!({"scheduled_at": "2030-01-01T00:00:00Z"});
    let new_host = json!({"host_id": "annex-1", "site": "lyon", "driver": "fake", "private_fleet": "cup"});
    let admin = |name, path, body| row(name, path, body, ADMINISTER, KEPT_OUT);
    vec![
        row("GET /v2/private-fleets/{fleet-name}/hosts", fleet, None, READ, HARMLESS),
        row(
            "POST /v2/private-fleets/deployments",
            "/v2/private-fleets/deployments",
            Some(private.clone()),
            DEPLOY,
            KEPT_OUT,
        ),
        row("POST /v2/private-fleets:deploy", "/v2/private-fleets:deploy", Some(private), DEPLOY, KEPT_OUT),
        admin(
            "POST /spawnpoint/v1/private-fleets",
            "/spawnpoint/v1/private-fleets",
            Some(json!({"name": "cup"})),
        ),
        admin("POST /spawnpoint/v1/hosts", "/spawnpoint/v1/hosts", Some(new_host)),
        admin("DELETE /spawnpoint/v1/hosts/{host_id}", "/spawnpoint/v1/hosts/annex-1", None),
        admin("GET /spawnpoint/v1/private-fleets/{name}", "/spawnpoint/v1/private-fleets/cup", None),
        admin("DELETE /spawnpoint/v1/private-fleets/{name}", "/spawnpoint/v1/private-fleets/cup", None),
        admin("GET /spawnpoint/v1/private-fleets", "/spawnpoint/v1/private-fleets", None),
        admin("GET /spawnpoint/v1/hosts", "/spawnpoint/v1/hosts", None),
        admin("GET /spawnpoint/v1/hosts/{host_id}", host, None),
        admin("POST /spawnpoint/v1/hosts/{host_id}/cordon", "/spawnpoint/v1/hosts/osaka-1/cordon", None),
        admin(
            "POST /spawnpoint/v1/hosts/{host_id}/drain",
            "/spawnpoint/v1/hosts/osaka-1/drain",
            Some(json!({"deployments": "stop"})),
        ),
        admin("PUT /spawnpoint/v1/hosts/{host_id}/delete-schedule", schedule, Some(at)),
        admin("DELETE /spawnpoint/v1/hosts/{host_id}/delete-schedule", schedule, None),
        admin("POST /spawnpoint/v1/hosts/{host_id}/uncordon", "/spawnpoint/v1/hosts/osaka-1/uncordon", None),
    ]
}

/// Access lists of versions. There is no entry 7: it is looked for after the token was.
fn access_lists() -> Vec<Row> {
    const LIST: &str = "/v1/app/arena/version/v1/whitelist";
    const ENTRY: &str = "/v1/app/arena/version/v1/whitelist/7";
    let entry = Some(json!({"cidr": "10.0.0.0/8"}));
    vec![
        row("GET /v1/app/{app_name}/version/{version_name}/whitelist", LIST, None, READ, KEPT_OUT),
        row("POST /v1/app/{app_name}/version/{version_name}/whitelist", LIST, entry, ADMINISTER, KEPT_OUT),
        row(
            "GET /v1/app/{app_name}/version/{version_name}/whitelist/{entry_id}",
            ENTRY,
            None,
            READ,
            KEPT_OUT,
        ),
        row(
            "DELETE /v1/app/{app_name}/version/{version_name}/whitelist/{entry_id}",
            ENTRY,
            None,
            ADMINISTER,
            KEPT_OUT,
        ),
    ]
}

/// Tags, and the calls on running deployments.
fn running() -> Vec<Row> {
    let tags = "/v1/deployments/{id}/tags";
    let name = |name: &str| Some(json!({"name": name}));
    let asked = Some(json!({"app_name": "arena", "app_version": "v1"}));
    let nobody = json!([{"field": "request_id", "values": ["0123456789ab"], "filter_type": "any"}]);
    vec![
        row("GET /v1/metrics/deployment/{request_id}", "/v1/metrics/deployment/{id}", None, READ, KEPT_OUT),
        row(
            "GET /v1/deployment/{request_id}/container-logs",
            "/v1/deployment/{id}/container-logs",
            None,
            READ,
            KEPT_OUT,
        ),
        row("GET /v2/deployments/{request_id}/events", "/v2/deployments/{id}/events", None, READ, KEPT_OUT),
        row("GET /v2/deployments/{request_id}/logs", "/v2/deployments/{id}/logs", None, READ, KEPT_OUT),
        row("POST /v1/deployments:available", "/v1/deployments:available", asked, READ, KEPT_OUT),
        row("POST /v1/deployments/{request_id}/tags", tags, name("us"), DEPLOY, KEPT_OUT),
        row("GET /v1/deployments/{request_id}/tags", tags, None, READ, KEPT_OUT),
        row(
            "GET /v1/deployments/{request_id}/tags/{tag_name}",
            "/v1/deployments/{id}/tags/us",
            None,
            READ,
            KEPT_OUT,
        ),
        row(
            "PATCH /v1/deployments/{request_id}/tags/{tag_name}",
            "/v1/deployments/{id}/tags/us",
            name("eu"),
            DEPLOY,
            KEPT_OUT,
        ),
        row(
            "DELETE /v1/deployments/{request_id}/tags/{tag_name}",
            "/v1/deployments/{id}/tags/eu",
            None,
            DEPLOY,
            KEPT_OUT,
        ),
        row(
            "PATCH /v1/deployments/{request_id}",
            "/v1/deployments/{id}",
            Some(json!({"is_joinable_by_session": true})),
            DEPLOY,
            KEPT_OUT,
        ),
        row(
            "POST /v1/deployments/{request_id}:report",
            "/v1/deployments/{id}:report",
            Some(json!({"reason": "lag"})),
            DEPLOY,
            KEPT_OUT,
        ),
        row(
            "POST /v1/deployments/bulk-stop",
            "/v1/deployments/bulk-stop",
            Some(json!({"filters": nobody})),
            DEPLOY,
            &[202],
        ),
    ]
}

/// Locations, addresses, telemetry.
fn places() -> Vec<Row> {
    let telemetry = "/v1/telemetry/active-deployments";
    let compared = json!({"deployments": ["0123456789ab"], "ips": ["1.2.3.4"]});
    let key = "/v1/telemetry/active-deployments/0123456789abcdef0123456789abcdef";
    vec![
        row("GET /v1/locations", "/v1/locations", None, READ, HARMLESS),
        row("GET /v1/locations/beacons", "/v1/locations/beacons", None, READ, HARMLESS),
        row("GET /v1/ip/{ip}/lookup", "/v1/ip/1.2.3.4/lookup", None, READ, HARMLESS),
        row("POST /v1/ips/lookup", "/v1/ips/lookup", Some(json!({"addresses": []})), READ, HARMLESS),
        row("POST /v1/telemetry/active-deployments", telemetry, Some(compared), READ, &[422]),
        row("GET /v1/telemetry/active-deployments/{retrieval_key}", key, None, READ, KEPT_OUT),
    ]
}

/// Sessions: one that is not there, and those of a deployment that is.
fn sessions() -> Vec<Row> {
    let session = "/v1/session/0123456789ab-s";
    let users = "/v1/session/0123456789ab-s/users";
    let custom = "/v1/deployment/{id}/custom/session/party";
    let customs = "/v1/deployment/{id}/custom/sessions";
    let ips = || Some(json!({"ip_list": ["192.0.2.1"]}));
    let nobody = json!([{"field": "session_id", "values": ["0123456789ab-s"], "filter_type": "any"}]);
    let named = json!({"sessions": [{"custom_id": "other", "ip_list": ["192.0.2.1"]}]});
    vec![
        row("POST /v1/session", "/v1/session", Some(json!({"app_name": "arena"})), DEPLOY, KEPT_OUT),
        row("GET /v1/sessions", "/v1/sessions", None, READ, HARMLESS),
        row("GET /v1/session/{session_id}", session, None, READ, KEPT_OUT),
        row("GET /v1/session/{session_id}/users", users, None, READ, KEPT_OUT),
        row("PUT /v1/session/{session_id}/users", users, ips(), DEPLOY, KEPT_OUT),
        row("DELETE /v1/session/{session_id}/users", users, ips(), DEPLOY, KEPT_OUT),
        row("DELETE /v1/session/{session_id}", session, None, DEPLOY, KEPT_OUT),
        row(
            "POST /v1/sessions/bulk-stop",
            "/v1/sessions/bulk-stop",
            Some(json!({"filters": nobody})),
            DEPLOY,
            HARMLESS,
        ),
        row("POST /v1/deployment/{request_id}/custom/session/{custom_id}", custom, ips(), DEPLOY, KEPT_OUT),
        row("GET /v1/deployment/{request_id}/custom/session/{custom_id}", custom, None, READ, KEPT_OUT),
        row("PATCH /v1/deployment/{request_id}/custom/session/{custom_id}", custom, ips(), DEPLOY, KEPT_OUT),
        row("DELETE /v1/deployment/{request_id}/custom/session/{custom_id}", custom, None, DEPLOY, KEPT_OUT),
        row("POST /v1/deployment/{request_id}/custom/sessions", customs, Some(named), DEPLOY, KEPT_OUT),
        row("GET /v1/deployment/{request_id}/custom/sessions", customs, None, READ, KEPT_OUT),
        row(
            "DELETE /v1/deployment/{request_id}/custom/sessions",
            customs,
            Some(json!({"sessions": ["other"]})),
            DEPLOY,
            KEPT_OUT,
        ),
    ]
}

/// Smart fleets, which concern all applications. The order matters.
fn fleets() -> Vec<Row> {
    let (fleet, policies) = ("/v1/fleet/everywhere", "/v1/fleet/everywhere/policies");
    let policy = "/v1/fleet/everywhere/policies/eu";
    let link = "/v1/fleet/everywhere/app/arena/version/v1";
    let new = json!({"name": "eu", "type": "Location", "minimum": 1, "data": {}, "enabled": false});
    // There is none when they who may not make one look for it.
    let unseen = &[200, 404];
    vec![
        row("POST /v1/fleet", "/v1/fleet", Some(json!({"name": "everywhere"})), ADMINISTER, KEPT_OUT),
        row("GET /v1/fleets", "/v1/fleets", None, READ, HARMLESS),
        row("GET /v1/fleet/{fleet_name}", fleet, None, READ, unseen),
        row("PATCH /v1/fleet/{fleet_name}", fleet, Some(json!({"enabled": false})), ADMINISTER, KEPT_OUT),
        row("POST /v1/fleet/{fleet_name}/policies", policies, Some(new), ADMINISTER, KEPT_OUT),
        row("GET /v1/fleet/{fleet_name}/policies", policies, None, READ, unseen),
        row("GET /v1/fleet/{fleet_name}/policies/{policy_name}", policy, None, READ, unseen),
        row(
            "PATCH /v1/fleet/{fleet_name}/policies/{policy_name}",
            policy,
            Some(json!({"minimum": 2})),
            ADMINISTER,
            KEPT_OUT,
        ),
        row(
            "PUT /v1/fleet/{fleet_name}/app/{app_name}/version/{version_name}",
            link,
            None,
            ADMINISTER,
            KEPT_OUT,
        ),
        row(
            "GET /spawnpoint/v1/fleets/{fleet_name}/links",
            "/spawnpoint/v1/fleets/everywhere/links",
            None,
            READ,
            unseen,
        ),
        row(
            "DELETE /v1/fleet/{fleet_name}/app/{app_name}/version/{version_name}",
            link,
            None,
            ADMINISTER,
            KEPT_OUT,
        ),
        row("DELETE /v1/fleet/{fleet_name}/policies/{policy_name}", policy, None, ADMINISTER, KEPT_OUT),
        row("DELETE /v1/fleet/{fleet_name}", fleet, None, ADMINISTER, KEPT_OUT),
    ]
}

fn extensions() -> Vec<Row> {
    let token = json!({"name": "t", "scope": "admin"});
    let dead = "/spawnpoint/v1/webhooks/dead";
    vec![
        row("GET /spawnpoint/v1/tokens", "/spawnpoint/v1/tokens", None, ADMINISTER, KEPT_OUT),
        row("POST /spawnpoint/v1/tokens", "/spawnpoint/v1/tokens", Some(token), ADMINISTER, KEPT_OUT),
        row("DELETE /spawnpoint/v1/tokens/{id}", "/spawnpoint/v1/tokens/nobody", None, ADMINISTER, KEPT_OUT),
        row("GET /spawnpoint/v1/audit", "/spawnpoint/v1/audit", None, ADMINISTER, KEPT_OUT),
        row("GET /spawnpoint/v1/webhooks/dead", dead, None, ADMINISTER, KEPT_OUT),
        row(
            "POST /spawnpoint/v1/webhooks/dead/{id}:replay",
            "/spawnpoint/v1/webhooks/dead/nobody:replay",
            Some(json!({})),
            ADMINISTER,
            KEPT_OUT,
        ),
    ]
}

fn own_secret(purpose: Purpose, id: &str) -> String {
    token(&vault(), purpose, id.parse().unwrap())
}

impl Row {
    fn method(&self) -> Method {
        Method::from_bytes(self.name.split(' ').next().unwrap().as_bytes()).unwrap()
    }

    fn path(&self, id: &str) -> String {
        let number = |purpose| number(&vault(), purpose, id.parse().unwrap()).to_string();
        let path = self.path.replace("{id}", id).replace("{stop}", &number(Purpose::SelfStop));
        path.replace("{context}", &number(Purpose::Context))
    }

    /// The code for a token with a scope that is bound to nothing; `None` if it is let in.
    fn refusal(&self, scope: Scope) -> Option<u16> {
        match self.needs {
            Needs::Nothing => None,
            Needs::Own(_) => Some(401),
            Needs::Scope(needed) => (needed > scope).then_some(403),
        }
    }
}

#[test]
fn every_operation_is_in_the_matrix() {
    let described: BTreeSet<String> = operations().iter().map(Operation::name).collect();
    let listed: BTreeSet<String> = matrix().iter().map(|row| row.name.to_owned()).collect();
    assert_eq!(described, listed);
}

/// Secrets that open nothing, whatever the operation.
async fn useless_tokens(world: &World) -> Vec<(&'static str, Option<String>)> {
    let revoked = world.token("admin", &[]).await;
    let listed = world.get("/spawnpoint/v1/tokens").await.expect(200);
    let id =
        listed["tokens"].as_array().unwrap().iter().find(|t| t["name"] == "admin []").unwrap()["id"].clone();
    world.delete(&format!("/spawnpoint/v1/tokens/{}", id.as_str().unwrap())).await;
    let body = json!({"name": "short", "scope": "admin", "expires_in_seconds": 60});
    let expired =
        world.post("/spawnpoint/v1/tokens", &body).await.expect(201)["token"].as_str().unwrap().to_owned();
    assert_eq!(world.call(Method::GET, "/v1/apps", &expired, None).await.code, 200, "not yet");
    world.clock.advance(Duration::from_secs(61));
    let other = world.deploy_ready("v1").await;
    vec![
        ("none", None),
        ("unknown", Some("0123456789abcdef".to_owned())),
        ("expired", Some(expired)),
        ("revoked", Some(revoked)),
        ("another container's", Some(own_secret(Purpose::SelfStop, &other))),
        ("another container's, for its context", Some(own_secret(Purpose::Context, &other))),
    ]
}

async fn ask(world: &World, row: &Row, id: &str, secret: Option<&str>) -> Answer {
    let request = Request::builder().method(row.method()).uri(row.path(id));
    let request = secret.into_iter().fold(request, |request, secret| request.header(AUTHORIZATION, secret));
    let body = row.body.as_ref().map_or_else(Body::empty, |body| Body::from(body.to_string()));
    world.send(request.body(body).unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_does_more_than_it_may() {
    let world = World::with_arena().await;
    world.create_app("other").await;
    let id = world.deploy_ready("v1").await;
    let useless = useless_tokens(&world).await;
    let scopes = [("read", Scope::Read), ("deploy", Scope::Deploy), ("admin", Scope::Admin)];
    let mut scoped = Vec::new();
    for (name, scope) in scopes {
        scoped.push((name, scope, world.token(name, &[]).await));
    }
    let bound = world.token("admin", &["other"]).await;
    let before = world.get("/v1/apps").await.text;
    for row in matrix() {
        for (kind, secret) in &useless {
            let answer = ask(&world, &row, &id, secret.as_deref()).await;
            let let_in = answer.code != 401;
            assert_eq!(let_in, row.needs == Needs::Nothing, "{} with {kind}: {answer:?}", row.name);
        }
        for purpose in [Purpose::SelfStop, Purpose::Context] {
            if row.needs != Needs::Own(purpose) && row.needs != Needs::Nothing {
                let answer = ask(&world, &row, &id, Some(&own_secret(purpose, &id))).await;
                assert_eq!(answer.code, 401, "{} with the container's {purpose:?}: {answer:?}", row.name);
            }
        }
        for (kind, scope, secret) in &scoped {
            if let Some(code) = row.refusal(*scope) {
                let answer = ask(&world, &row, &id, Some(secret)).await;
                assert_eq!(answer.code, code, "{} with {kind}: {answer:?}", row.name);
                assert!(!answer.message().is_empty());
            }
        }
        let answer = ask(&world, &row, &id, Some(&bound)).await;
        assert!(row.bound_elsewhere.contains(&answer.code), "{} bound elsewhere: {answer:?}", row.name);
        let tells = answer.code < 400 && row.needs != Needs::Nothing && answer.text.contains("arena");
        assert!(!tells, "{} bound elsewhere: {answer:?}", row.name);
    }
    assert_eq!(
        (world.count().await, world.get("/v1/apps").await.text),
        (2, before),
        "nothing of that did anything"
    );
    let status = world.get(&format!("/v1/status/{id}")).await.expect(200);
    assert_eq!((&status["current_status"], &status["tags"]), (&json!("Status.READY"), &json!([])));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_token_may_do_works() {
    let world = World::with_arena().await;
    let (reader, deployer) = (world.token("read", &["arena"]).await, world.token("deploy", &["arena"]).await);
    let unbound = world.token("read", &[]).await;
    let mut id = world.deploy_ready("v1").await;
    for row in matrix() {
        let secret = match row.needs {
            Needs::Nothing => None,
            Needs::Scope(Scope::Read) if row.bound_elsewhere == UNBOUND_ALONE => Some(unbound.clone()),
            Needs::Scope(Scope::Read) => Some(reader.clone()),
            Needs::Scope(Scope::Deploy) => Some(deployer.clone()),
            Needs::Scope(Scope::Admin) => Some(ADMIN.to_owned()),
            Needs::Own(purpose) => Some(own_secret(purpose, &id)),
        };
        let answer = ask(&world, &row, &id, secret.as_deref()).await;
        assert!(![401, 403, 429, 500].contains(&answer.code), "{}: {answer:?}", row.name);
        if row.needs == STOP_ITSELF {
            id = world.deploy_ready("v1").await;
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_token_sees_and_touches_its_application_alone() {
    let world = World::with_arena().await;
    world.create_app("other").await;
    world.create_version("other", "v1", "fake/game", "ok").await;
    let mut body = deployment("v1");
    body["application"] = json!("other");
    let foreign =
        world.post("/v2/deployments", &body).await.expect(202)["request_id"].as_str().unwrap().to_owned();
    world.until(&foreign, "READY").await;
    let own = world.deploy_ready("v1").await;
    let (reader, deployer) = (world.token("read", &["arena"]).await, world.token("deploy", &["arena"]).await);
    let admin = world.token("admin", &["arena"]).await;

    let list = world.call(Method::GET, "/v1/deployments", &reader, None).await.expect(200);
    assert_eq!((&list["total_count"], &list["data"][0]["request_id"]), (&json!(1), &json!(own)));
    let apps = world.call(Method::GET, "/v1/apps", &reader, None).await.expect(200);
    assert_eq!((&apps["total_count"], &apps["applications"][0]["name"]), (&json!(1), &json!("arena")));
    for (method, path, secret, body, codes) in [
        (Method::GET, format!("/v1/status/{foreign}"), &reader, None, &[400][..]),
        (Method::GET, "/v1/app/other".to_owned(), &reader, None, &[403, 404]),
        (Method::GET, "/v1/app/other/versions".to_owned(), &reader, None, &[403, 404]),
        (Method::GET, "/v1/app/other/version/v1".to_owned(), &reader, None, &[403, 404]),
        (Method::DELETE, format!("/v1/stop/{foreign}"), &deployer, None, &[403]),
        (Method::POST, "/v2/deployments".to_owned(), &deployer, Some(body), &[403]),
        (Method::PATCH, "/v1/app/other".to_owned(), &admin, Some(json!({"is_active": false})), &[403, 404]),
        (Method::DELETE, "/v1/app/other".to_owned(), &admin, None, &[403, 404]),
        (Method::DELETE, "/v1/app/other/version/v1".to_owned(), &admin, None, &[403, 404]),
        (
            Method::POST,
            "/v1/app".to_owned(),
            &admin,
            Some(json!({"name": "new", "is_active": true, "image": ""})),
            &[403],
        ),
        (
            Method::POST,
            "/spawnpoint/v1/tokens".to_owned(),
            &admin,
            Some(json!({"name": "t", "scope": "admin"})),
            &[403],
        ),
    ] {
        let answer = world.call(method.clone(), &path, secret, body.as_ref()).await;
        assert!(codes.contains(&answer.code), "{method} {path}: {answer:?}");
    }
    world.call(Method::DELETE, &format!("/v1/stop/{own}"), &deployer, None).await.expect(200);
    assert_eq!(
        world.get(&format!("/v1/status/{foreign}")).await.expect(200)["current_status"],
        "Status.READY"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_header_is_understood_in_every_spelling_in_use() {
    let world = World::new().await;
    let with = async |values: &[String]| {
        let mut request = Request::get("/v1/apps").body(Body::empty()).unwrap();
        for value in values {
            request.headers_mut().append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        world.send(request).await
    };
    for good in [
        "token X",
        "Token X",
        "TOKEN X",
        "Bearer X",
        "bearer X",
        "X",
        "token token X",
        "token  X",
        " token X ",
    ] {
        assert_eq!(with(&[good.replace('X', ADMIN)]).await.code, 200, "{good:?}");
    }
    let long = "x".repeat(8192);
    for bad in
        ["", "token", "Basic X", "token X X", "token\tX", "token X\t", "token Xx", "token \u{e9}X", &long]
    {
        let answer = with(&[bad.replace('X', ADMIN)]).await;
        assert_eq!(answer.code, 401, "{bad:.40?}");
        assert!(!answer.text.contains(ADMIN));
    }
    let twice = format!("token {ADMIN}");
    assert_eq!(with(&[twice.clone(), twice]).await.code, 401);
    assert_eq!(with(&[]).await.headers["www-authenticate"], "token");
    world.end().await;
}
