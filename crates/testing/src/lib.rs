//! What the tests of several rooms stand on: a database of their own on either server, and an atlas of five cities with hosts
//! that only pretend.
//!
//! Only tests use it (`dev-dependencies`); it knows the rooms up to the engine, and nothing of HTTP.
//!
//! Entry points: [`Scratch`], [`atlas::setups`], [`atlas::Annex`].

#![expect(clippy::unwrap_used, reason = "a harness has nobody to report to but the test's log")]

pub mod atlas;
pub mod scratch;

pub use scratch::{Scratch, execute};
use spawnpoint_model::Timestamp;

/// The tests' present.
pub const NOW: Timestamp = Timestamp(1_790_000_000_000_000);
