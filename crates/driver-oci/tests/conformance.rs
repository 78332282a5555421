//! The conformance suite on the embedded runtime. Skipped, saying why, where it cannot run.
#![expect(clippy::unwrap_used, reason = "a broken test set-up ends the test")]
#![expect(clippy::print_stdout, reason = "a skip says why")]

#[path = "support/world.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod world;

use std::sync::Arc;

use spawnpoint_driver::testkit::{self, Subject};
use world::World;

/// `CONFORMANCE_ONLY=logs` plays the cases whose names hold that word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_runtime_keeps_the_contract() {
    let Some(world) = World::open().await else { return };
    let only = std::env::var("CONFORMANCE_ONLY").unwrap_or_default();
    let subject: Arc<dyn Subject> = world.clone();
    let report = testkit::run(subject, &only).await;
    println!("{report}");
    let left = world.close().await;
    assert!(report.failed.is_empty(), "{report}");
    assert!(!report.passed.is_empty(), "no case was played");
    assert_eq!(left, Vec::<String>::new(), "something is left behind");
}
