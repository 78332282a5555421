//! The API over a real engine, a real SQLite database and fake hosts, without sockets where none are needed.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic")]

mod access_lists;
mod admin;
mod apps;
mod arbitrary;
mod authorization;
mod bad_input;
mod bulk_stop;
mod deploy;
mod deployments;
mod fleets;
mod lifecycle;
mod list;
mod logging;
mod logs;
mod metrics;
mod openapi;
mod own_token;
mod places;
mod private_fleets;
mod rates;
mod reference;
mod registry;
mod routing;
mod schemas;
mod serving;
mod sessions;
mod shape;
mod storage;
mod tags;
mod world;
