//! The conformance suite on a real Docker Engine. Skipped, saying why, where none answers.
#![expect(clippy::unwrap_used, reason = "a broken test set-up ends the test")]
#![expect(clippy::print_stdout, reason = "a skip says why")]

#[path = "support/world.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod world;

use std::process::Command;
use std::sync::Arc;

use spawnpoint_driver::testkit::{self, Subject};
use spawnpoint_driver_docker::guard::Guard;
use spawnpoint_driver_docker::names;
use world::World;

/// `CONFORMANCE_ONLY=logs` plays the cases whose names hold that word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_keeps_the_contract() {
    let Some(world) = World::open().await else { return };
    let only = std::env::var("CONFORMANCE_ONLY").unwrap_or_default();
    let subject: Arc<dyn Subject> = world.clone();
    let report = testkit::run(subject, &only).await;
    let guarded = the_guard_is_put_up_once_and_taken_away(&world).await;
    println!("{report}");
    assert!(report.failed.is_empty(), "{report}");
    assert!(!report.passed.is_empty(), "no case was played");
    assert_eq!(guarded, ["INPUT and DOCKER-USER: 2", "after removal: 0"]);
}

/// The rules may be put in force again and again; with the network they go.
async fn the_guard_is_put_up_once_and_taken_away(world: &World) -> [String; 2] {
    let installation = testkit::own_installation();
    let gateway = world.engine(&installation).unwrap().gateway().await.unwrap();
    let guard = Guard::new(&installation, gateway, None);
    guard.install().await.unwrap();
    guard.install().await.unwrap();
    let jump = format!("-i {} -j", names::bridge(&installation));
    let count = || {
        let rules = Command::new("iptables").args(["-w", "-S"]).output().unwrap();
        String::from_utf8(rules.stdout).unwrap().matches(&jump).count()
    };
    let while_it_is_up = format!("INPUT and DOCKER-USER: {}", count());
    world.close().await;
    [while_it_is_up, format!("after removal: {}", count())]
}
