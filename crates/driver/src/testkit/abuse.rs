//! What a workload does that wants to harm: ways out, floods, processes that hide. One table for every driver; what is tried stands
//! in `crates/game/src/bin/abuse`. Meanwhile a neighbour has to answer as ever.

use std::io;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use spawnpoint_model::MemoryMib;

use super::lab::Lab;
use super::{Failed, Outcome, Program, cases, check};
use crate::{Running, Security, WorkloadSpec};

cases!(
    true,
    [
        no_way_out_of_the_baseline_profile_is_open,
        no_way_out_of_the_restricted_profile_is_open,
        what_is_written_over_an_image_reaches_nobody_else,
        sockets_of_the_host_that_lie_in_no_folder_are_out_of_reach,
        whoever_is_at_the_other_end_of_a_link_is_out_of_reach,
        neighbours_are_out_of_reach_by_every_address_that_they_have,
        a_fork_bomb_stays_small_and_ends_with_its_workload,
        zombies_and_daemons_end_with_their_workload,
        daemons_end_with_the_first_process,
        floods_of_memory_files_and_descriptors_stay_inside,
    ]
);

/// Fewer attempts than this were not all of them.
const ATTEMPTS_MIN: usize = 55;
/// Processes and threads of a workload of the suite.
const PIDS: usize = 64;
/// What `/dev/shm` holds.
const SHARED_MEMORY: u64 = 64 * 1024 * 1024;
/// A neighbour answers in this time, whatever goes on beside it.
const ANSWER: Duration = Duration::from_secs(5);

/// Settings of this machine that an attempt could have changed.
const HOST: [&str; 4] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/net/ipv4/ip_forward",
];

async fn no_way_out_of_the_baseline_profile_is_open(lab: &Lab) -> Outcome {
    no_way_out_is_open(lab, Security::Baseline).await
}

async fn no_way_out_of_the_restricted_profile_is_open(lab: &Lab) -> Outcome {
    no_way_out_is_open(lab, Security::Restricted).await
}

async fn no_way_out_is_open(lab: &Lab, security: Security) -> Outcome {
    let neighbour = lab.serving(Program::Serve).await?;
    let mut spec = lab.spec(Program::Abuse).await?;
    spec.security = security;
    lab.driver.ensure(&spec).await?;
    lab.until_listening(&spec).await?;
    let settings = || HOST.map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let before = settings();
    let names = lab.ask(&spec, "attempts").await?;
    check!(names.split(' ').count() >= ATTEMPTS_MIN, "only these are tried: {names}");
    let mut open = Vec::new();
    for name in names.split(' ') {
        let answer = lab.attempt(&spec, name).await?;
        if !answer.starts_with("refused: ") {
            open.push(format!("{name}: {answer}"));
        }
    }
    check!(open.is_empty(), "{security:?}: {}", open.join("; "));
    check!(settings() == before, "a setting of the host has changed");
    answers(lab, &neighbour).await
}

/// A neighbour that is there as ever.
async fn answers(lab: &Lab, neighbour: &WorkloadSpec) -> Outcome {
    let pong = tokio::time::timeout(ANSWER, lab.ask(neighbour, "ping")).await;
    let pong = pong.map_err(|_| Failed("the neighbour does not answer in time".to_owned()))??;
    check!(pong == format!("pong {}", neighbour.id.deployment), "the neighbour says {pong:?}");
    Ok(())
}

async fn what_is_written_over_an_image_reaches_nobody_else(lab: &Lab) -> Outcome {
    let (writer, neighbour) = (lab.serving(Program::Abuse).await?, lab.serving(Program::Abuse).await?);
    let original = lab.ask(&writer, "contents").await?;
    let changed = lab.ask(&writer, "scribble").await?;
    check!(lab.ask(&writer, "contents").await? != original, "it could change nothing: {changed}");
    let later = lab.serving(Program::Abuse).await?;
    for other in [&neighbour, &later] {
        let found = lab.ask(other, "contents").await?;
        check!(found == original, "{changed} by a neighbour, and the image is another one for {}", other.id);
    }
    Ok(())
}

async fn sockets_of_the_host_that_lie_in_no_folder_are_out_of_reach(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Abuse).await?;
    let name = format!("spawnpoint-test-{}", spec.id);
    let _listener = listen_in_no_folder(&name)?;
    let answer = lab.ask(&spec, &format!("abstract {name}")).await?;
    check!(answer.starts_with("refused: "), "{answer}");
    Ok(())
}

#[cfg(target_os = "linux")]
fn listen_in_no_folder(name: &str) -> io::Result<UnixListener> {
    use std::os::linux::net::SocketAddrExt as _;
    UnixListener::bind_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)
}

/// Only Linux has such names.
#[cfg(not(target_os = "linux"))]
fn listen_in_no_folder(_: &str) -> io::Result<UnixListener> {
    Err(io::ErrorKind::Unsupported.into())
}

async fn whoever_is_at_the_other_end_of_a_link_is_out_of_reach(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Abuse).await?;
    // On all addresses of the host, of both families.
    let any = std::net::TcpListener::bind("[::]:0").or_else(|_| std::net::TcpListener::bind("0.0.0.0:0"))?;
    any.set_nonblocking(true)?;
    let answer = lab.ask(&spec, &format!("reach {}", any.local_addr()?.port())).await?;
    check!(answer.starts_with("refused: "), "{answer}");
    check!(any.accept().is_err(), "a service of the host was asked by a workload: {answer}");
    Ok(())
}

async fn neighbours_are_out_of_reach_by_every_address_that_they_have(lab: &Lab) -> Outcome {
    let (one, other) = (lab.serving(Program::Abuse).await?, lab.serving(Program::Abuse).await?);
    let addresses = lab.ask(&other, "addresses").await?;
    check!(addresses.contains('.'), "it has no address: {addresses:?}");
    let port = other.ports.first().map_or(0, |port| port.internal);
    for address in addresses.split(' ') {
        let address = std::net::SocketAddr::new(address.parse()?, port);
        let answer = lab.ask(&one, &format!("connect {address}")).await?;
        check!(answer.starts_with("refused: "), "{answer}");
    }
    Ok(())
}

/// Processes of a workload, as the host sees them: all have its variables.
fn processes(spec: &WorkloadSpec) -> usize {
    let variable = format!("ARBITRIUM_REQUEST_ID={}", spec.id.deployment);
    let is_one =
        |environment: &[u8]| environment.split(|byte| *byte == 0).any(|one| one == variable.as_bytes());
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let environments = entries.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    environments.filter(|environment| is_one(environment)).count()
}

async fn until_nothing_runs(lab: &Lab, spec: &WorkloadSpec) -> Outcome {
    lab.until("none of its processes is left", || async { Ok(processes(spec) == 0) }).await
}

async fn a_fork_bomb_stays_small_and_ends_with_its_workload(lab: &Lab) -> Outcome {
    let neighbour = lab.serving(Program::Serve).await?;
    let spec = lab.serving(Program::Abuse).await?;
    let count: usize = lab.ask(&spec, "fork-bomb").await?.parse()?;
    check!((PIDS / 2..=PIDS).contains(&count), "{count} processes inside");
    answers(lab, &neighbour).await?;
    check!(processes(&spec) <= PIDS, "{} processes outside", processes(&spec));
    lab.driver.remove(spec.id).await?;
    until_nothing_runs(lab, &spec).await?;
    answers(lab, &neighbour).await
}

async fn zombies_and_daemons_end_with_their_workload(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Abuse).await?;
    let daemons: usize = lab.ask(&spec, "orphans").await?.parse()?;
    check!(daemons > 8 && processes(&spec) > 8, "{daemons} processes inside, {} outside", processes(&spec));
    let zombies: usize = lab.ask(&spec, "zombies").await?.parse()?;
    check!((PIDS / 2..PIDS).contains(&zombies), "{zombies} zombies");
    // It has no ear for SIGTERM: what ends it is the removal.
    lab.driver.stop(spec.id, Duration::from_secs(60)).await?;
    lab.driver.remove(spec.id).await?;
    until_nothing_runs(lab, &spec).await
}

async fn daemons_end_with_the_first_process(lab: &Lab) -> Outcome {
    let spec = lab.serving(Program::Abuse).await?;
    lab.ask(&spec, "orphans").await?;
    check!(processes(&spec) > 8, "{} processes outside", processes(&spec));
    // It ends instead of answering.
    let _ = lab.ask(&spec, "leave").await;
    check!(lab.exit(spec.id).await? == (0, false), "it ended in another way");
    until_nothing_runs(lab, &spec).await
}

async fn floods_of_memory_files_and_descriptors_stay_inside(lab: &Lab) -> Outcome {
    let neighbour = lab.serving(Program::Serve).await?;
    let mut spec = lab.spec(Program::Abuse).await?;
    spec.resources.memory = MemoryMib(256);
    lab.driver.ensure(&spec).await?;
    lab.until_listening(&spec).await?;
    let filled = lab.ask(&spec, "fill /dev/shm/flood").await?;
    let bytes: u64 = filled.split(' ').next().unwrap_or_default().parse()?;
    check!(bytes > 0 && bytes <= SHARED_MEMORY, "into /dev/shm went {filled}");
    answers(lab, &neighbour).await?;
    let descriptors: usize = lab.ask(&spec, "descriptors").await?.parse()?;
    check!(descriptors < 1_100_000, "{descriptors} files were open at once");
    answers(lab, &neighbour).await?;
    // What they hold in memory is theirs: they may end of it, and nobody else.
    let _ = lab.ask(&spec, "inodes /dev/shm").await;
    answers(lab, &neighbour).await?;
    let state = lab.state(neighbour.id).await?;
    check!(state == Running::Running, "the neighbour is {state:?}");
    lab.driver.remove(spec.id).await?;
    until_nothing_runs(lab, &spec).await
}
