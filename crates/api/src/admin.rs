//! Calls of our own, under `/spawnpoint/v1/`: tokens, the audit, hosts, webhooks that were given up. They need the scope `admin` and
//! serve the command line; times are RFC 3339.

pub mod audit;
pub mod fleet_links;
pub mod hosts;
pub mod new_host;
pub mod private_fleets;
pub mod tokens;
pub mod webhooks;
