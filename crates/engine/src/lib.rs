//! What Spawnpoint does: deploy, stop, reconcile, resync, adopt, sweep, expire, retain, announce,
//! link sessions, keep smart fleets.
//!
//! What it is for: every verb of the product, one file each. The API, the command line and the background tasks all
//! call the same verbs on [`Engine`].
//!
//! What it must not know: HTTP, Edgegap's spellings, SQL, a concrete driver. Time and randomness are passed in
//! ([`Clock`], [`Entropy`]).
//!
//! Entry points: `Engine::start` adopts what runs and starts the background tasks; [`Engine::deploy`] is the walk of one
//! request; `reconcile` is where the lifecycle is carried out.

pub mod access_lists;
pub mod added;
pub mod apps;
pub mod audit;
pub mod available;
pub mod bulk_stop;
pub mod callback;
mod capture;
mod catalog;
mod change;
pub mod clock;
pub mod context;
pub mod deploy;
pub mod engine;
pub mod environment;
pub mod error;
pub mod fleets;
pub mod follow;
pub mod front;
pub mod host_settings;
pub mod hosts;
mod image_cache;
pub mod image_tags;
pub mod list;
pub mod locations;
mod log_retention;
mod log_spool;
pub mod log_text;
mod log_upload;
pub mod logs;
pub mod lookup;
pub mod metrics;
mod names;
pub mod outbound;
pub mod positions;
pub mod private_fleets;
pub mod pull_profiles;
mod reconcile;
pub mod recorder;
mod registry;
pub mod report;
mod resync;
mod rows;
mod s3;
mod save;
pub mod sessions;
pub mod stop;
pub mod storages;
mod tags;
mod tasks;
pub mod telemetry;
mod timers;
pub mod tokens;
mod turns;
mod update_deployment;
pub mod versions;
pub mod view;
pub mod webhooks;
mod workload;

pub use added::ConnectHost;
pub use clock::{Clock, Entropy, ManualClock, SystemClock};
pub use deploy::{DeployOutcome, DeployRequest, EnvInput, Idempotency, Player, WebhookUrls};
pub use engine::{Engine, Options, Parts};
pub use error::Error;
pub use front::{Front, FrontError, Guests};
pub use hosts::HostSetup;
pub use positions::Positions;
pub use view::{DeploymentView, HostPlace};
