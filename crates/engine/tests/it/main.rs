//! The engine on a real database and a fake driver, with a clock that the test moves.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic")]

mod deploy;
mod hosts;
mod recovery;
mod stop;
mod webhooks;
mod world;
