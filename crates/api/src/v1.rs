//! Edgegap's API, version 1. One endpoint, one file.

pub mod context;
pub mod context_tags;
pub mod create_app;
pub mod create_version;
pub mod delete_app;
pub mod delete_version;
pub mod deploy;
pub mod get_app;
pub mod get_version;
pub mod ip;
pub mod list_apps;
pub mod list_deployments;
pub mod list_versions;
pub mod monitor;
pub mod self_stop;
pub mod status;
pub mod stop;
pub mod swagger;
pub mod update_app;
pub mod update_version;
pub mod wizard;
