//! Gives workloads their own networks, with ports of the host leading there.
//!
//! What it must not know: containers, images, the engine. It is asked for a network by a workload's id, and keeps it
//! until it is told to release it.
//!
//! Entry: [`Network::open`], then [`Network::lease`] → [`Network::publish`] → the workload runs → [`Network::release`].
//! All of them may be called twice, and by another process than the one that began.

mod busy;
mod committer;
mod flows;
mod host;
mod link;
mod network;
mod nft;
mod opening;
mod pool;
mod rules;
mod slots;
mod stock;
mod types;
mod wire;

pub use network::Network;
pub use types::{Inventory, NetworkConfig, NetworkError, Port, Published, Slot, Traffic, Unsupported};

/// Prepared networks that may be kept ready.
pub const POOL_MAX: usize = 256;
/// Ports that a workload may have.
pub const PORTS_MAX: usize = 64;
/// Networks that are made or cleared at once.
const AT_ONCE: usize = 4;
