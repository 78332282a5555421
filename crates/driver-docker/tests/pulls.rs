//! Pulls by a real engine from a registry that says no, asks for a login, or stops half way.
#![expect(clippy::unwrap_used, reason = "a broken test set-up ends the test")]
#![expect(clippy::print_stdout, reason = "a skip says why")]

#[path = "support/registry.rs"]
mod registry;
#[path = "support/world.rs"]
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use registry::Registry;
use spawnpoint_driver::{Credentials, Driver, DriverError};
use spawnpoint_driver_docker::image_archive::SingleBinaryImage;
use spawnpoint_driver_docker::{DockerDriver, Endpoint};
use spawnpoint_model::Plaintext;
use world::World;

fn registry(world: &World, label: &str) -> Registry {
    // Another label makes another config, so that no test finds the image of the one before. The engine may know the
    // layer from the world's own image, so it gets a byte more.
    let label = &format!("{label} {}", std::process::id());
    let binary = [world.game(), label.as_bytes()].concat();
    let image = SingleBinaryImage {
        reference: "game:1",
        binary: &binary,
        file_name: "game",
        labels: &[("for", label)],
    };
    Registry::new(&image.archive().unwrap())
}

/// Named so that the runs after a killed one can clear up.
fn image_at(address: &str) -> String {
    format!("{address}/spawnpoint-test/game:{}", std::process::id())
}

async fn prepare(
    driver: &DockerDriver,
    image: &str,
    login: Option<&Credentials>,
) -> (Result<(), DriverError>, u64) {
    let bytes = AtomicU64::new(0);
    let progress = |done: u64, _: Option<u64>| {
        bytes.fetch_max(done, Ordering::Relaxed);
    };
    let answer = driver.prepare(image, login, false, &progress).await;
    (answer, bytes.into_inner())
}

fn login(token: &str) -> Credentials {
    Credentials { username: "user".to_owned(), token: Plaintext::new(token) }
}

#[tokio::test]
async fn images_come_from_registries_or_a_clear_no_does() {
    let Some(world) = World::open().await else { return };
    let driver = world.driver_at(Endpoint::default());
    an_image_is_pulled_with_progress_and_runs(&world, &driver).await;
    an_unknown_tag_is_a_final_no(&world, &driver).await;
    a_login_opens_the_registry_and_a_wrong_one_is_a_final_no(&world, &driver).await;
    a_pull_that_stands_still_is_cut(&world, &driver).await;
    world.close().await;
}

async fn an_image_is_pulled_with_progress_and_runs(world: &World, driver: &DockerDriver) {
    let address = Arc::new(registry(world, "plain")).start().await;
    let image = image_at(&address);
    world.note_image(&image);
    let (answer, bytes) = prepare(driver, &image, None).await;
    answer.unwrap();
    assert!(bytes > 100_000, "{bytes} bytes were told of");
    assert!(driver.probe().await.unwrap().cached_images.contains(&image));
    let mut spec = world.spec(1, 21_101);
    spec.image = image;
    driver.ensure(&spec).await.unwrap();
    driver.remove(spec.id).await.unwrap();
}

async fn an_unknown_tag_is_a_final_no(world: &World, driver: &DockerDriver) {
    let address = Arc::new(registry(world, "unknown")).start().await;
    let (answer, _) = prepare(driver, &format!("{address}/spawnpoint-test/game:nope"), None).await;
    assert!(matches!(&answer, Err(DriverError::ImageUnavailable { permanent: true, .. })), "{answer:?}");
}

async fn a_login_opens_the_registry_and_a_wrong_one_is_a_final_no(world: &World, driver: &DockerDriver) {
    let mut registry = registry(world, "login");
    // user:right
    registry.login = Some("Basic dXNlcjpyaWdodA==".to_owned());
    let image = image_at(&Arc::new(registry).start().await);
    for login in [None, Some(login("wrong"))] {
        let (answer, _) = prepare(driver, &image, login.as_ref()).await;
        assert!(matches!(&answer, Err(DriverError::ImageUnavailable { permanent: true, .. })), "{answer:?}");
    }
    world.note_image(&image);
    prepare(driver, &image, Some(&login("right"))).await.0.unwrap();
}

async fn a_pull_that_stands_still_is_cut(world: &World, driver: &DockerDriver) {
    let mut registry = registry(world, "stall");
    registry.stalls = true;
    let registry = Arc::new(registry);
    let image = image_at(&Arc::clone(&registry).start().await);
    // Once the registry has fallen silent, time is let go by.
    let let_time_go_by = async {
        registry.stalled.notified().await;
        tokio::time::pause();
    };
    let ((answer, _), ()) = tokio::join!(prepare(driver, &image, None), let_time_go_by);
    tokio::time::resume();
    assert_eq!(answer, Err(DriverError::PullTimeout));
}
