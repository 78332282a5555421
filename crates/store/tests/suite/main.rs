//! One suite for both databases: every test of [`on_both!`] runs on SQLite in a temporary directory, and on PostgreSQL
//! in a schema of its own if `SPAWNPOINT_TEST_POSTGRES` holds a URL (else it prints that it was skipped).
#![expect(clippy::unwrap_used, clippy::panic, reason = "bodies and helpers of tests may do what tests may")]
#![expect(clippy::print_stderr, reason = "a skipped test says why")]

mod world;

mod access;
mod acme;
mod added_hosts;
mod apps;
mod deployments;
mod files;
mod fleets;
mod host_settings;
mod list;
mod logs;
mod metrics;
mod outbox;
mod postgres;
mod resources;
mod secrets;
mod sessions;
mod storages;
