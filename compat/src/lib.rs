//! The harness of the tests beside it: a `spawnpoint serve` process with a data directory and ports of its own, and
//! everything that stands around it in the field: clients, players, webhook receivers, what runs containers.
//!
//! What it must not know: any other room of the workspace. What a test could not do over HTTP (and by looking at the
//! machine), no client could, and no operator.
//!
//! Entry points: [`Server::start`] without containers, [`Runtime::start`] with real ones, [`on_each_runtime!`],
//! [`player::Prober`], [`webhooks::Receiver`].
//!
//! The binary is the one that cargo built beside the tests (`SPAWNPOINT_BIN` names another). Tests with real containers
//! are skipped, and say so, where what they need is not there; with `CI=true` or `SPAWNPOINT_REQUIRE_DOCKER=1` they fail.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a harness has nobody to report to but the test's log"
)]

pub mod api;
pub mod brake;
pub mod curl;
pub mod docker;
pub mod embedded;
pub mod events;
pub mod game;
pub mod http;
pub mod makers;
pub mod mmdb;
pub mod netns;
pub mod pebble;
pub mod player;
pub mod ports;
pub mod random;
pub mod registry;
pub mod runtime;
pub mod server;
pub mod webhooks;

use std::io::Write as _;
use std::time::Duration;

use tokio::time::Instant;

pub use api::Api;
pub use runtime::Runtime;
pub use server::Server;

/// How long most things may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something.
const LOOK_AGAIN: Duration = Duration::from_millis(40);

/// Looks until it sees something.
///
/// # Panics
/// It does not within `patience`.
pub fn eventually<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < patience, "after {} s still not: {what}", patience.as_secs());
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// A line for whoever reads the test's output: figures, and why something was skipped.
pub fn say(line: &str) {
    // Nobody may be reading.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Whether the long form of a test was asked for.
#[must_use]
pub fn long() -> bool {
    std::env::var_os("SPAWNPOINT_LONG").is_some_and(|value| value == "1")
}
