//! Every route on one screen. A route comes with its description: `routes!` takes handlers that carry `#[utoipa::path]`.

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::MethodRouter;
use utoipa::openapi::path::Paths;
use utoipa::openapi::{RefOr, Schema};
use utoipa_axum::routes;

use crate::error::{unknown_method, unknown_path};
use crate::frame::frame;
use crate::path::spellings;
use crate::state::ApiState;
use crate::{admin, v1, v2};

/// An address with what answers there and how that is described.
pub struct Route {
    /// The address as the router knows it.
    pub path: &'static str,
    /// The operations. Their address is the same, but for a `:verb` at its end, which the router cannot see.
    pub described: Paths,
    /// The schemas that they use.
    pub schemas: Vec<(String, RefOr<Schema>)>,
    methods: MethodRouter<ApiState>,
}

/// Everything, for the main listener.
pub fn router(state: ApiState) -> Router {
    finish(table(), state)
}

/// Only what a container may call, for the listener on the container network.
pub fn callback_router(state: ApiState) -> Router {
    finish(callbacks(), state)
}

/// Every route with its description.
#[must_use]
pub fn table() -> Vec<Route> {
    let rooms = [
        catalog(),
        deployments(),
        sessions(),
        smart_fleets(),
        storages(),
        private_fleets(),
        places(),
        platform(),
        callbacks(),
    ];
    rooms.into_iter().flatten().collect()
}

/// Applications and versions.
fn catalog() -> Vec<Route> {
    named([
        ("/v1/app", routes!(v1::create_app::create_app)),
        (
            "/v1/app/{app_name}",
            routes!(v1::get_app::get_app, v1::update_app::update_app, v1::delete_app::delete_app),
        ),
        ("/v1/app/{app_name}/version", routes!(v1::create_version::create_version)),
        (
            "/v1/app/{app_name}/version/{version_name}",
            routes!(
                v1::get_version::get_version,
                v1::update_version::update_version,
                v1::delete_version::delete_version
            ),
        ),
        (
            "/v1/app/{app_name}/version/{version_name}/whitelist",
            routes!(v1::list_access::list_access, v1::create_access::create_access),
        ),
        (
            "/v1/app/{app_name}/version/{version_name}/whitelist/{entry_id}",
            routes!(v1::get_access::get_access, v1::delete_access::delete_access),
        ),
        ("/v1/app/{app_name}/versions", routes!(v1::list_versions::list_versions)),
        ("/v1/apps", routes!(v1::list_apps::list_apps)),
    ])
}

/// Deployments, and what they tell.
fn deployments() -> Vec<Route> {
    named([
        ("/v1/deploy", routes!(v1::deploy::deploy)),
        ("/v1/deployment/{request_id}/container-logs", routes!(v1::container_logs::container_logs)),
        ("/v1/deployments", routes!(v1::list_deployments::list_deployments)),
        ("/v1/deployments:available", routes!(v1::available::available)),
        ("/v1/deployments/bulk-stop", routes!(v1::bulk_stop::bulk_stop)),
        // `POST` is `/v1/deployments/{request_id}:report`.
        (
            "/v1/deployments/{request_id}",
            routes!(v1::update_deployment::update_deployment, v1::report::report),
        ),
        ("/v1/deployments/{request_id}/tags", routes!(v1::list_tags::list_tags, v1::create_tag::create_tag)),
        (
            "/v1/deployments/{request_id}/tags/{tag_name}",
            routes!(v1::get_tag::get_tag, v1::rename_tag::rename_tag, v1::delete_tag::delete_tag),
        ),
        ("/v1/metrics/deployment/{request_id}", routes!(v1::metrics::metrics)),
        ("/v1/status/{request_id}", routes!(v1::status::status)),
        ("/v1/stop/{request_id}", routes!(v1::stop::stop)),
        ("/v2/deployments", routes!(v2::deploy::deploy)),
        ("/v2/deployments/{request_id}/events", routes!(v2::events::events)),
        ("/v2/deployments/{request_id}/logs", routes!(v2::logs::logs)),
    ])
}

/// Endpoint storages and pull profiles.
fn storages() -> Vec<Route> {
    named([
        ("/v1/storage/endpoint", routes!(v1::create_storage::create_storage)),
        (
            "/v1/storage/endpoint/{endpoint_name}",
            routes!(
                v1::get_storage::get_storage,
                v1::update_storage::update_storage,
                v1::delete_storage::delete_storage
            ),
        ),
        (
            "/v1/storage/endpoint/{endpoint_name}/pull-profile",
            routes!(v1::create_pull_profile::create_pull_profile),
        ),
        (
            "/v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}",
            routes!(
                v1::get_pull_profile::get_pull_profile,
                v1::update_pull_profile::update_pull_profile,
                v1::delete_pull_profile::delete_pull_profile
            ),
        ),
        (
            "/v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}/app/{app_name}/version/{version_name}",
            routes!(v1::link_pull_profile::link_pull_profile, v1::unlink_pull_profile::unlink_pull_profile),
        ),
        (
            "/v1/storage/endpoint/{endpoint_name}/pull-profiles",
            routes!(v1::list_pull_profiles::list_pull_profiles),
        ),
        ("/v1/storage/endpoints", routes!(v1::list_storages::list_storages)),
    ])
}

/// Where one can deploy, where addresses are, and which deployment is near whom.
fn places() -> Vec<Route> {
    named([
        ("/v1/ip", routes!(v1::ip::ip)),
        ("/v1/ip/{ip}/lookup", routes!(v1::look_up_address::look_up_address)),
        ("/v1/ips/lookup", routes!(v1::look_up_addresses::look_up_addresses)),
        ("/v1/locations", routes!(v1::list_locations::list_locations)),
        ("/v1/locations/beacons", routes!(v1::beacons::beacons)),
        ("/v1/telemetry/active-deployments", routes!(v1::create_telemetry::create_telemetry)),
        ("/v1/telemetry/active-deployments/{retrieval_key}", routes!(v1::get_telemetry::get_telemetry)),
    ])
}

/// The platform itself: its state, its descriptions, what plugins ask at first, its operators.
fn platform() -> Vec<Route> {
    named([
        ("/monitor", routes!(v1::monitor::monitor)),
        ("/swagger.json", routes!(v1::swagger::swagger)),
        ("/v1/container-registry/images/{image_name}/tags", routes!(v1::list_image_tags::list_image_tags)),
        (
            "/v1/container-registry/images/{image_name}/tags/bulk-delete",
            routes!(v1::delete_image_tags::delete_image_tags),
        ),
        (
            "/v1/container-registry/images/{image_name}/tags/{tag_name}",
            routes!(v1::delete_image_tag::delete_image_tag),
        ),
        ("/v1/wizard/init-quick-start", routes!(v1::wizard::init_quick_start)),
        ("/v1/wizard/registry-credentials", routes!(v1::wizard::registry_credentials)),
        ("/v2/openapi.json", routes!(v2::openapi::openapi)),
        ("/spawnpoint/v1/audit", routes!(admin::audit::audit)),
        ("/spawnpoint/v1/tokens", routes!(admin::tokens::list, admin::tokens::create)),
        ("/spawnpoint/v1/tokens/{id}", routes!(admin::tokens::revoke)),
        ("/spawnpoint/v1/webhooks/dead", routes!(admin::webhooks::list_dead)),
        ("/spawnpoint/v1/webhooks/dead/{target}", routes!(admin::webhooks::replay)),
        ("/spawnpoint/v1/fleets/{fleet_name}/links", routes!(admin::fleet_links::fleet_links)),
    ])
}

/// Sessions, those that users name among them.
fn sessions() -> Vec<Route> {
    named([
        ("/v1/session", routes!(v1::create_session::create_session)),
        (
            "/v1/session/{session_id}",
            routes!(v1::get_session::get_session, v1::delete_session::delete_session),
        ),
        (
            "/v1/session/{session_id}/users",
            routes!(
                v1::list_session_users::list_session_users,
                v1::add_session_users::add_session_users,
                v1::remove_session_users::remove_session_users
            ),
        ),
        ("/v1/sessions", routes!(v1::list_sessions::list_sessions)),
        ("/v1/sessions/bulk-stop", routes!(v1::bulk_stop_sessions::bulk_stop_sessions)),
        (
            "/v1/deployment/{request_id}/custom/session/{custom_id}",
            routes!(
                v1::get_custom_session::get_custom_session,
                v1::create_custom_session::create_custom_session,
                v1::update_custom_session::update_custom_session,
                v1::delete_custom_session::delete_custom_session
            ),
        ),
        (
            "/v1/deployment/{request_id}/custom/sessions",
            routes!(
                v1::list_custom_sessions::list_custom_sessions,
                v1::create_custom_sessions::create_custom_sessions,
                v1::delete_custom_sessions::delete_custom_sessions
            ),
        ),
    ])
}

/// Smart fleets.
fn smart_fleets() -> Vec<Route> {
    named([
        ("/v1/fleet", routes!(v1::create_fleet::create_fleet)),
        (
            "/v1/fleet/{fleet_name}",
            routes!(v1::get_fleet::get_fleet, v1::update_fleet::update_fleet, v1::delete_fleet::delete_fleet),
        ),
        (
            "/v1/fleet/{fleet_name}/app/{app_name}/version/{version_name}",
            routes!(v1::link_version::link_version, v1::unlink_version::unlink_version),
        ),
        (
            "/v1/fleet/{fleet_name}/policies",
            routes!(v1::list_policies::list_policies, v1::create_policy::create_policy),
        ),
        (
            "/v1/fleet/{fleet_name}/policies/{policy_name}",
            routes!(
                v1::get_policy::get_policy,
                v1::update_policy::update_policy,
                v1::delete_policy::delete_policy
            ),
        ),
        ("/v1/fleets", routes!(v1::list_fleets::list_fleets)),
    ])
}

/// Private fleets, and what operators say of hosts.
fn private_fleets() -> Vec<Route> {
    named([
        ("/v2/private-fleets/deployments", routes!(v2::deploy_private::deploy_private)),
        ("/v2/private-fleets:deploy", routes!(v2::deploy_private::deploy_private_formerly)),
        ("/v2/private-fleets/{fleet-name}/hosts", routes!(v2::fleet_hosts::fleet_hosts)),
        ("/spawnpoint/v1/hosts", routes!(admin::hosts::list, admin::new_host::add)),
        ("/spawnpoint/v1/hosts/{host_id}", routes!(admin::hosts::get, admin::new_host::remove)),
        ("/spawnpoint/v1/hosts/{host_id}/cordon", routes!(admin::hosts::cordon)),
        ("/spawnpoint/v1/hosts/{host_id}/uncordon", routes!(admin::hosts::uncordon)),
        ("/spawnpoint/v1/hosts/{host_id}/drain", routes!(admin::hosts::drain)),
        (
            "/spawnpoint/v1/hosts/{host_id}/delete-schedule",
            routes!(admin::hosts::schedule, admin::hosts::keep),
        ),
        (
            "/spawnpoint/v1/private-fleets",
            routes!(admin::private_fleets::list, admin::private_fleets::create),
        ),
        (
            "/spawnpoint/v1/private-fleets/{name}",
            routes!(admin::private_fleets::get, admin::private_fleets::remove),
        ),
    ])
}

/// What containers call.
fn callbacks() -> Vec<Route> {
    named([
        ("/v1/self/stop/{request_id}/{access_point_id}", routes!(v1::self_stop::self_stop)),
        ("/v1/context/{request_id}/{security_number}", routes!(v1::context::context)),
        ("/v1/context/{request_id}/{security_number}/tags", routes!(v1::context_tags::add_tag)),
        ("/v1/context/{request_id}/{security_number}/tags/{tag_name}", routes!(v1::context_tags::remove_tag)),
    ])
}

/// What `routes!` gives.
type Described = (Vec<(String, RefOr<Schema>)>, Paths, MethodRouter<ApiState>);

fn named<const N: usize>(routes: [(&'static str, Described); N]) -> Vec<Route> {
    let named = |(path, (schemas, described, methods))| Route { path, described, schemas, methods };
    routes.into_iter().map(named).collect()
}

/// Frames each route and answers it with and without a slash at its end; what is no route is a 404, framed as well.
fn finish(routes: Vec<Route>, state: ApiState) -> Router {
    let mut router = Router::new();
    for Route { path, methods, .. } in routes {
        let methods = methods.fallback(unknown_method).layer(from_fn_with_state(path, frame));
        for spelled in spellings(path) {
            router = router.route(&spelled, methods.clone()).route(&format!("{spelled}/"), methods.clone());
        }
    }
    router.fallback(unknown_path.layer(from_fn_with_state("unknown", frame))).with_state(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/dead/{id}:replay` is found at `/dead/{target}`: the address without its last segment, and whether that is free.
    fn without_verb(path: &str) -> (&str, bool) {
        let (head, last) = path.rsplit_once('/').unwrap();
        (head, last.starts_with('{'))
    }

    #[test]
    fn what_is_described_is_what_is_routed() {
        for route in table() {
            for described in route.described.paths.keys() {
                let has_verb =
                    described.contains("}:") && without_verb(described) == without_verb(route.path);
                let fits = has_verb || described == route.path;
                assert!(fits, "{described} is described, {} is routed", route.path);
            }
        }
    }
}
