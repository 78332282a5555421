//! The conformance suite on a real Docker Engine. Skipped, saying why, where none answers.
#![expect(clippy::unwrap_used, reason = "a broken test set-up ends the test")]
#![expect(clippy::print_stdout, reason = "a skip says why")]

#[path = "support/world.rs"]
mod world;

use std::sync::Arc;

use spawnpoint_driver::testkit::{self, Subject};
use world::World;

/// `CONFORMANCE_ONLY=logs` plays the cases whose names hold that word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_keeps_the_contract() {
    let Some(world) = World::open().await else { return };
    let only = std::env::var("CONFORMANCE_ONLY").unwrap_or_default();
    let subject: Arc<dyn Subject> = world.clone();
    let report = testkit::run(subject, &only).await;
    world.close().await;
    println!("{report}");
    assert!(report.failed.is_empty(), "{report}");
    assert!(!report.passed.is_empty(), "no case was played");
}
