//! Installations that are on this machine: those that are at work, and what is left of those that are no more. A zygote, its
//! pools and what runs outlive their control plane on purpose; of an installation whose control plane never comes back they are
//! taken away from here.
//!
//! What it must not do: touch an installation whose control plane is at work, or, unless that is asked for, one of which
//! workloads run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use spawnpoint_model::InstallationId;
use spawnpoint_network::{Network, Unsupported};
use tokio::time::Instant;

use crate::at_work;
use crate::cgroup::Hierarchies;
use crate::client::Client;
use crate::config::PREFIX;
use crate::protocol::{Reply, Request};
use crate::zygote::{self, Options};

/// The file that tells whose a folder is.
const SIGN: &str = "installation";
/// For everything of an installation to end.
const ENDS: Duration = Duration::from_secs(10);
/// Between two looks.
const AGAIN: Duration = Duration::from_millis(10);
/// For a zygote's answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What there is of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The short form of its id.
    pub id: String,
    /// Its folder for what runs.
    pub run: PathBuf,
    /// Its control plane is at work.
    pub control_plane: bool,
    /// Its zygote runs.
    pub zygote: bool,
    /// Workloads that run.
    pub running: usize,
    /// Networks, prepared ones too.
    pub networks: usize,
}

/// Why an installation is not taken away.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Somebody looks after it.
    #[error("its control plane is at work: stop that first")]
    AtWork,
    /// Players may be on them.
    #[error("{0} of its workloads still run")]
    Running(usize),
    /// What the machine says.
    #[error("{0}")]
    Failed(String),
}

/// Whether a folder has a name that ours have.
#[must_use]
pub fn is_run_folder(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
}

/// Writes down whose a folder is.
///
/// # Errors
/// What the file system says.
pub fn sign(run: &Path, id: &str) -> Result<(), Unsupported> {
    let file = run.join(SIGN);
    fs::write(&file, id).map_err(|error| Unsupported(format!("{}: {error}", file.display())))
}

/// All installations that have something on this machine: folders in `dir`, and control groups.
///
/// # Errors
/// The machine's control groups cannot be read.
pub async fn find(dir: &Path) -> Result<Vec<Leftover>, Unsupported> {
    let mut all = living();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let run = entry.path();
        let is_ours = is_run_folder(&run) && (run.join("net").is_dir() || run.join("slots").is_dir());
        let name = entry.file_name().to_string_lossy().trim_start_matches(PREFIX).to_owned();
        if is_ours {
            let signed = fs::read_to_string(run.join(SIGN)).ok().map(|id| id.trim().to_owned());
            let of_zygote = || all.iter().find(|(_, known)| **known == run).map(|(id, _)| id.clone());
            let id = signed.filter(|id| !id.is_empty()).or_else(of_zygote).unwrap_or(name);
            all.entry(id).or_insert(run);
        }
    }
    for id in Hierarchies::find("leftovers").map_err(Unsupported)?.installations() {
        all.entry(id.clone()).or_insert_with(|| dir.join(format!("{PREFIX}{id}")));
    }
    let mut found = Vec::new();
    for (id, run) in all {
        found.push(look(id, run).await.map_err(Unsupported)?);
    }
    Ok(found)
}

/// The installations of zygotes and supervisors that run, wherever their folders are: of one whose control plane is at work
/// there is always one.
fn living() -> BTreeMap<String, PathBuf> {
    processes().map(|(_, id, run)| (id, run)).collect()
}

/// Zygotes and supervisors: each with its folder in `/proc`, its installation and the folder of that.
fn processes() -> impl Iterator<Item = (PathBuf, String, PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.map(|entry| entry.path()).filter(|process| is_believed(process));
    processes.filter_map(|process| {
        let (id, run) = place(&fs::read(process.join("cmdline")).ok()?)?;
        Some((process, id, run))
    })
}

/// Kills those of an installation that nobody can reach: their socket is gone, where they would see it themselves.
fn end_unreachable(id: &str) {
    for (process, _, run) in processes().filter(|(_, of, _)| of == id) {
        let seen = process.join("root").join(run.strip_prefix("/").unwrap_or(&run)).join(zygote::SOCKET);
        let is_gone =
            fs::symlink_metadata(seen).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        let number = process.file_name().and_then(|name| name.to_str()?.parse().ok());
        if let Some(pid) = number.and_then(Pid::from_raw).filter(|_| is_gone) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// Any process can call itself a zygote: those of workloads, which see other processes than we do, and those of other users are
/// not believed.
fn is_believed(process: &Path) -> bool {
    let own = fs::read_link("/proc/self/ns/pid");
    let user = rustix::process::geteuid().as_raw();
    let sees = fs::read_link(process.join("ns/pid"));
    matches!((own, sees), (Ok(own), Ok(sees)) if own == sees)
        && fs::metadata(process).is_ok_and(|found| found.uid() == user)
}

/// Installation and folder of a zygote or supervisor, from its command line.
fn place(line: &[u8]) -> Option<(String, PathBuf)> {
    let mut words = std::str::from_utf8(line).ok()?.split('\0').skip(1);
    (words.next()? == zygote::ARGUMENT).then_some(())?;
    let (run, id) = (Path::new(words.nth(1)?), words.next()?);
    is_run_folder(run).then(|| (id.to_owned(), run.to_owned()))
}

fn client(id: &str, run: &Path) -> Client {
    let (run, installation) = (run.to_owned(), id.to_owned());
    Client::new(PathBuf::new(), Options { run, installation, identity: String::new(), pool: 1, users: None })
}

async fn look(id: String, run: PathBuf) -> Result<Leftover, String> {
    let groups = Hierarchies::find(&id)?;
    let hello = client(&id, &run).ask(&Request::Hello, &[], None, ANSWER).await;
    let networks = fs::read_dir(run.join("net/netns")).map_or(0, |entries| entries.flatten().count());
    Ok(Leftover {
        control_plane: at_work::is_held(&run),
        zygote: matches!(hello, Ok(Reply::Hello { .. })) || is_locked(&run.join(zygote::LOCK)),
        running: groups.names().iter().filter(|name| runs(&groups, name)).count(),
        networks,
        id,
        run,
    })
}

fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_err()
}

/// Whether somebody in a group is in a network of its own: who waits for work is still in the host's.
fn runs(groups: &Hierarchies, name: &str) -> bool {
    let network = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let host = network("self");
    let processes = groups.group(name).processes();
    processes.iter().any(|pid| network(&pid.to_string()).is_some_and(|own| Some(own) != host))
}

/// Takes an installation away: its zygote, its pools, its networks, and with `force` what runs. Its data directory, which
/// nobody knows from here, stays as it is.
///
/// # Errors
/// Why not, or what is still there.
pub async fn remove(left: &Leftover, force: bool) -> Result<(), Refused> {
    let failed = |error: &dyn std::fmt::Display| Refused::Failed(error.to_string());
    if left.control_plane {
        return Err(Refused::AtWork);
    }
    fs::create_dir_all(&left.run).map_err(|error| failed(&error))?;
    // Nobody begins meanwhile.
    let Ok(_alone) = tokio::time::timeout(AGAIN, at_work::begin(&left.run)).await else {
        return Err(Refused::AtWork);
    };
    let now = look(left.id.clone(), left.run.clone()).await.map_err(Refused::Failed)?;
    if now.running > 0 && !force {
        return Err(Refused::Running(now.running));
    }
    end_unreachable(&left.id);
    client(&left.id, &left.run).quit().await.map_err(|error| failed(&error))?;
    end_all(left).await?;
    let installation = InstallationId::from(left.id.as_str());
    let removed = Network::remove_all(&installation, &left.run.join("net")).await;
    removed.map_err(|error| failed(&error))?;
    fs::remove_dir_all(&left.run).map_err(|error| failed(&error))
}

/// Ends everything in its control groups, waits for the supervisors, and takes the groups away.
async fn end_all(left: &Leftover) -> Result<(), Refused> {
    let groups = Hierarchies::find(&left.id).map_err(Refused::Failed)?;
    let slots = left.run.join("slots");
    let end = Instant::now() + ENDS;
    loop {
        let mut remaining = 0;
        for name in groups.names() {
            let group = groups.group(&name);
            group.kill();
            // A supervisor that is about to end takes its group away itself.
            if !group.processes().is_empty() || is_locked(&slots.join(&name)) || !group.remove() {
                remaining += 1;
            }
        }
        if remaining == 0 {
            groups.remove_parents();
        }
        if remaining == 0 && !groups.installations().contains(&left.id) {
            return Ok(());
        }
        if Instant::now() > end {
            let what = match remaining {
                0 => "its zygote does not end".to_owned(),
                _ => format!("{remaining} control groups of it do not end"),
            };
            return Err(Refused::Failed(what));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn processes_that_see_others_than_we_do_are_not_believed() {
        assert!(is_believed(Path::new("/proc/self")));
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "sh", "-c", "cat /proc/self/stat; read line"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // The host's /proc is still mounted there: what `cat` says of itself is its number here.
        let mut stat = [0; 256];
        let read = std::io::Read::read(child.stdout.as_mut().unwrap(), &mut stat).unwrap();
        let stat = String::from_utf8_lossy(&stat[..read]).into_owned();
        let shell = stat.split_whitespace().nth(3).unwrap().to_owned();
        assert!(!is_believed(&Path::new("/proc").join(&shell)), "{stat}");
        drop(child.stdin.take());
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn only_folders_that_are_named_as_ours_are_are_believed() {
        let line = |run: &str| format!("spawnpoint\0{}\0-\0{run}\x000a1b2c3d\0pool", zygote::ARGUMENT);
        let found = place(line("/srv/spawnpoint-0a1b2c3d").as_bytes());
        assert_eq!(found, Some(("0a1b2c3d".to_owned(), "/srv/spawnpoint-0a1b2c3d".into())));
        assert_eq!(place(line("/etc").as_bytes()), None);
        assert_eq!(place(b"sh\0-c\0spawnpoint\0/run/spawnpoint-0a1b2c3d"), None);
    }
}
