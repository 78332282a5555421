//! Edgegap's API, version 2. One endpoint, one file. Errors name the bad fields under `details`.

pub mod deploy;
pub mod deploy_private;
pub mod events;
pub mod fleet_hosts;
pub mod logs;
pub mod openapi;
