//! The engine on a real database and a fake driver, with a clock that the test moves.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic")]

mod access_lists;
mod added;
mod available;
mod bucket;
mod bulk_stop;
mod deploy;
mod fleets;
mod front;
mod hosts;
mod logs;
mod metrics;
mod private_fleets;
mod recovery;
mod sessions;
mod stop;
mod storage;
mod tags;
mod telemetry;
mod webhooks;
mod world;
