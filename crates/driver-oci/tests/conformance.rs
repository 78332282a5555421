//! The conformance suite on the embedded runtime. Skipped, saying why, where it cannot run.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a broken test set-up ends the test")]
#![expect(clippy::print_stdout, reason = "a skip says why")]

#[path = "support/world.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod world;

use world::{World, keeps_the_contract};

/// `CONFORMANCE_ONLY=logs` plays the cases whose names hold that word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_runtime_keeps_the_contract() {
    let Some(world) = World::open().await else { return };
    keeps_the_contract(world).await;
}
