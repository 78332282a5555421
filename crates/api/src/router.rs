//! Every route on one screen.

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};

use crate::error::{unknown_method, unknown_path};
use crate::frame::frame;
use crate::state::ApiState;
use crate::{admin, v1, v2};

/// Everything, for the main listener.
pub fn router(state: ApiState) -> Router {
    let routes = [
        ("/monitor", get(v1::monitor::monitor)),
        ("/v1/app", post(v1::create_app::create_app)),
        (
            "/v1/app/{app}",
            get(v1::get_app::get_app).patch(v1::update_app::update_app).delete(v1::delete_app::delete_app),
        ),
        ("/v1/app/{app}/version", post(v1::create_version::create_version)),
        (
            "/v1/app/{app}/version/{version}",
            get(v1::get_version::get_version)
                .patch(v1::update_version::update_version)
                .delete(v1::delete_version::delete_version),
        ),
        ("/v1/app/{app}/versions", get(v1::list_versions::list_versions)),
        ("/v1/apps", get(v1::list_apps::list_apps)),
        ("/v1/deploy", post(v1::deploy::deploy)),
        ("/v1/deployments", get(v1::list_deployments::list_deployments)),
        ("/v1/ip", get(v1::ip::ip)),
        ("/v1/status/{id}", get(v1::status::status)),
        ("/v1/stop/{id}", delete(v1::stop::stop)),
        ("/v1/wizard/init-quick-start", post(v1::wizard::init_quick_start)),
        ("/v1/wizard/registry-credentials", get(v1::wizard::registry_credentials)),
        ("/v2/deployments", post(v2::deploy::deploy)),
        ("/spawnpoint/v1/audit", get(admin::audit::audit)),
        ("/spawnpoint/v1/tokens", get(admin::tokens::list).post(admin::tokens::create)),
        ("/spawnpoint/v1/tokens/{id}", delete(admin::tokens::revoke)),
        ("/spawnpoint/v1/webhooks/dead", get(admin::webhooks::list_dead)),
        ("/spawnpoint/v1/webhooks/dead/{target}", post(admin::webhooks::replay)),
    ];
    finish(routes.into_iter().chain(callbacks()), state)
}

/// Only what a container may call, for the listener on the container network.
pub fn callback_router(state: ApiState) -> Router {
    finish(callbacks(), state)
}

fn callbacks() -> impl Iterator<Item = (&'static str, MethodRouter<ApiState>)> {
    [
        ("/v1/self/stop/{id}/{key}", delete(v1::self_stop::self_stop)),
        ("/v1/context/{id}/{number}", get(v1::context::context)),
        ("/v1/context/{id}/{number}/tags", post(v1::context_tags::add_tag)),
        ("/v1/context/{id}/{number}/tags/{tag}", delete(v1::context_tags::remove_tag)),
    ]
    .into_iter()
}

/// Frames each route and answers it with and without a slash at its end; what is no route is a 404, framed as well.
fn finish(routes: impl Iterator<Item = (&'static str, MethodRouter<ApiState>)>, state: ApiState) -> Router {
    let mut router = Router::new();
    for (path, methods) in routes {
        let methods = methods.fallback(unknown_method).layer(from_fn_with_state(path, frame));
        router = router.route(path, methods.clone()).route(&format!("{path}/"), methods);
    }
    router.fallback(unknown_path.layer(from_fn_with_state("unknown", frame))).with_state(state)
}
