//! What an installation leaves on this machine is found and taken away, and nothing of any that is at work.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a broken test set-up ends the test")]
#![expect(clippy::print_stdout, reason = "a skip says why")]

#[path = "support/world.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod world;

use std::path::Path;

use spawnpoint_driver::testkit::own_installation;
use spawnpoint_driver::{Driver, Running, WorkloadSpec};
use spawnpoint_driver_oci::leftovers::{self, Leftover, Refused};
use spawnpoint_driver_oci::{OciDriver, OciEngine, run_dir_in, short};
use spawnpoint_model::InstallationId;
use world::{PATIENCE, World, listens, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_comes_back_for_is_taken_away_and_nothing_else() {
    let Some(world) = World::open().await else { return };
    let port = 9_500 + u16::try_from(std::process::id() % 100).unwrap() * 4;
    let gone = InstallationId::from(format!("{:08x}", std::process::id() ^ 0x1e57_0000));
    let runs = world.dir.path().join("run");
    let other = start(&world, &own_installation(), None, port).await;
    let spec = start(&world, &gone, Some(&runs), port + 1).await;
    let own = OciDriver::new(world.engine(&own_installation()).await.unwrap(), "host".into());

    // At work: nobody takes it away, whatever he says.
    let left = found(&runs, &gone).await.unwrap();
    let expected = Leftover {
        id: short(&gone),
        run: run_dir_in(&runs, &gone),
        control_plane: true,
        zygote: true,
        running: 1,
        networks: left.networks,
    };
    assert_eq!(left, expected);
    assert!(left.networks >= 1);
    assert_eq!(leftovers::remove(&left, true).await, Err(Refused::AtWork));

    // Wherever its folder is, it is found, and not taken for one that nobody looks after.
    let from_afar = found(Path::new("/run"), &gone).await.unwrap();
    // The pool fills up meanwhile.
    assert_eq!(from_afar, Leftover { networks: from_afar.networks, ..expected });

    // Its control plane is gone, and a player may be on it.
    world.forget(&gone).await;
    let left = without_control_plane(&runs, &gone).await;
    assert_eq!((left.running, left.zygote), (1, true));
    assert_eq!(leftovers::remove(&left, false).await, Err(Refused::Running(1)));
    answers(spec.ports[0].external);
    leftovers::remove(&left, true).await.unwrap();
    assert_eq!(world::traces(&gone), Vec::<String>::new());
    assert_eq!(found(&runs, &gone).await, None);
    assert!(runs.exists(), "a folder that is not its own");

    // One without workloads needs no force; what nobody signed is known by its name.
    drop(open(&world, &gone, Some(&runs)).await);
    let left = without_control_plane(&runs, &gone).await;
    std::fs::remove_file(left.run.join("installation")).unwrap();
    assert_eq!(without_control_plane(&runs, &gone).await.running, 0);
    leftovers::remove(&left, false).await.unwrap();
    assert_eq!(world::traces(&gone), Vec::<String>::new());

    // One that nobody can reach, since its socket was deleted, is ended all the same.
    drop(open(&world, &gone, Some(&runs)).await);
    let left = without_control_plane(&runs, &gone).await;
    std::fs::remove_file(left.run.join("zygote.sock")).unwrap();
    leftovers::remove(&left, false).await.unwrap();
    assert_eq!(world::traces(&gone), Vec::<String>::new());

    // The one beside it never noticed.
    answers(other.ports[0].external);
    assert_eq!(own.inspect(other.id).await.unwrap().unwrap().state, Running::Running);
    own.remove(other.id).await.unwrap();
    drop(own);
    assert_eq!(world.close().await, Vec::<String>::new(), "something is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_has_one_control_plane_of_an_installation_and_one_folder() {
    let Some(world) = World::open().await else { return };
    let port = 9_502 + u16::try_from(std::process::id() % 100).unwrap() * 4;
    let id = InstallationId::from(format!("{:08x}", std::process::id() ^ 0x2e57_0000));
    let runs = world.dir.path().join("run");
    let spec = start(&world, &id, Some(&runs), port).await;
    let second = OciEngine::open(config(&world, &id, Some(&runs)), world.store.clone()).await;
    let refused = second.err().unwrap().to_string();
    assert!(refused.contains("another control plane of this installation"), "{refused}");
    answers(port);

    // Another folder is taken when nothing runs by the first, and then nothing stays in that.
    world.forget(&id).await;
    let _ = without_control_plane(&runs, &id).await;
    let moved = world.dir.path().join("moved");
    let to = config(&world, &id, Some(&moved));
    let refused = OciEngine::open(to.clone(), world.store.clone()).await.err().unwrap().to_string();
    assert!(refused.contains(&runs.display().to_string()), "{refused}");
    answers(port);
    let driver = OciDriver::new(open(&world, &id, Some(&runs)).await, "host".into());
    driver.remove(spec.id).await.unwrap();
    drop(driver);
    let _ = without_control_plane(&runs, &id).await;
    let engine = OciEngine::open(to, world.store.clone()).await.unwrap();
    assert!(!run_dir_in(&runs, &id).exists());
    engine.close().await.unwrap();
    drop(engine);
    assert_eq!(world::traces(&id), Vec::<String>::new());
    assert_eq!(world.close().await, Vec::<String>::new(), "something is left behind");
}

fn config(world: &World, id: &InstallationId, runs: Option<&Path>) -> spawnpoint_driver_oci::OciConfig {
    let mut config = world.config(id);
    if let Some(runs) = runs {
        std::fs::create_dir_all(runs).unwrap();
        config.run = run_dir_in(runs, id);
    }
    config
}

async fn open(world: &World, id: &InstallationId, runs: Option<&Path>) -> std::sync::Arc<OciEngine> {
    OciEngine::open(config(world, id, runs), world.store.clone()).await.unwrap()
}

/// A workload of an installation whose control plane is at work until it is forgotten.
async fn start(world: &World, id: &InstallationId, runs: Option<&Path>, port: u16) -> WorkloadSpec {
    let run = config(world, id, runs).run;
    let engine = world.reopen_with(id, |config| config.run = run).await;
    let driver = OciDriver::new(engine, "host".into());
    let mut spec = world.spec(1, port);
    spec.installation = id.clone();
    spec.ports.retain(|port| port.transport == spawnpoint_model::Transport::Tcp);
    driver.ensure(&spec).await.unwrap();
    listens(&driver, &spec).await;
    spec
}

async fn found(runs: &Path, id: &InstallationId) -> Option<Leftover> {
    leftovers::find(runs).await.unwrap().into_iter().find(|left| left.id == short(id))
}

/// What was begun by a control plane that is gone may take a moment to let go.
async fn without_control_plane(runs: &Path, id: &InstallationId) -> Leftover {
    until("its control plane lets go", async || !found(runs, id).await.unwrap().control_plane).await;
    found(runs, id).await.unwrap()
}

fn answers(port: u16) {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"hello\n").unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello\n");
}
