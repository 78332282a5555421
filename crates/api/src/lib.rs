//! The HTTP API: Edgegap v1 and v2, and a few calls of our own for the command line.
//!
//! What it is for: reading requests, calling one verb of [`spawnpoint_engine::Engine`] each, and writing the answers
//! in exactly the form that Edgegap's clients expect. Edgegap's names and formats live in `wire` and nowhere else.
//!
//! What it must not know: SQL, drivers, the lifecycle's rules.
//!
//! Entry points: [`router()`] is every route on one screen; [`callback_router`] is what containers may reach;
//! [`serve()`](serve::serve) runs either on a listener; [`render_status`] is the body of a status answer and of every webhook.
//!
//! The way of a request: [`mod@frame`] (panics, log line, headers) -> [`auth::Caller`] (token, scope, rate) ->
//! [`json::JsonBody`] (size, content type, JSON) -> a reader in `wire` that collects every bad field -> the engine ->
//! a writer in `wire`. Errors become status codes in [`error`] alone. All of it is described in [`openapi`], from the
//! handlers themselves.

pub mod admin;
pub mod auth;
pub mod client;
pub mod dates;
pub mod error;
pub mod fields;
pub mod followers;
pub mod frame;
pub mod idempotency;
pub mod json;
pub mod limits;
pub mod list_query;
pub mod openapi;
pub mod pagination;
pub mod path;
pub mod rate;
pub mod router;
pub mod serve;
mod stall;
pub mod state;
pub mod v1;
pub mod v2;
pub mod wire;

pub use error::ApiError;
pub use rate::RateLimits;
pub use router::{callback_router, router};
pub use state::{ApiConfig, ApiState};
pub use wire::session::render_session;
pub use wire::status::render_status;
