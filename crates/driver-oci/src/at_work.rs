//! One control plane of an installation at a time works on a machine: networks, pools and ports are kept in its memory. Two of
//! them on one database stand on two machines, or one of them has no host of the embedded runtime here.
//!
//! ```text
//! <run>/control-plane.lock   held by the process that has the engine open; a crash lets go of it
//! <data>/oci/run             which folder <run> is, so that another one is not taken while workloads run by this one
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use spawnpoint_network::{Network, Unsupported};
use tokio::time::Instant;

use crate::client::Client;
use crate::config::{OciConfig, short};
use crate::records::{self, StateRecord};
use crate::zygote::Options;

/// Held by whoever works here.
const LOCK: &str = "control-plane.lock";
/// Notes the folder for what runs.
const RUN: &str = "run";
/// For one that is on its way out.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(20);

fn take(run: &Path) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(run.join(LOCK))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // Whoever had it may have taken the folder away meanwhile, and somebody else have made another.
        Ok(()) => {
            let there = fs::metadata(run.join(LOCK)).map(|found| found.ino()).ok();
            Ok((there == Some(file.metadata()?.ino())).then_some(file))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a control plane works with this folder for what runs.
#[must_use]
pub fn is_held(run: &Path) -> bool {
    run.join(LOCK).exists() && matches!(take(run), Ok(None))
}

/// Waits until nobody else of the installation works here, and keeps others away for as long as the file is open.
///
/// # Errors
/// Somebody does.
pub async fn begin(run: &Path) -> Result<File, Unsupported> {
    let end = Instant::now() + PATIENCE;
    loop {
        match take(run).map_err(|error| Unsupported(format!("{}: {error}", run.display())))? {
            Some(file) => return Ok(file),
            None if Instant::now() > end => {
                return Err(Unsupported(format!(
                    "another control plane of this installation runs the embedded runtime on this machine ({} is held)",
                    run.join(LOCK).display()
                )));
            }
            None => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Sees to it that the folder for what runs is the one of before, or that nothing is left in that one.
///
/// # Errors
/// Workloads run by it.
pub async fn move_in(config: &OciConfig) -> Result<(), Unsupported> {
    let refused = |error: io::Error| Unsupported(format!("{}: {error}", config.dir.display()));
    let note = config.dir.join(RUN);
    let before = fs::read_to_string(&note).ok().map(std::path::PathBuf::from);
    if let Some(before) = before.filter(|before| *before != config.run && before.exists()) {
        if runs(&config.dir.join("containers")) {
            return Err(Unsupported(format!(
                "workloads run with the folder {}: it is changed at a start at which none does",
                before.display()
            )));
        }
        leave(config, &before).await?;
    }
    fs::write(&note, config.run.display().to_string()).map_err(refused)
}

fn runs(containers: &Path) -> bool {
    let folders = fs::read_dir(containers).into_iter().flatten().flatten();
    let state = |dir: &Path| records::read::<StateRecord>(dir, records::STATE).ok().flatten();
    folders.filter_map(|folder| state(&folder.path())).any(|state| state.is_alive())
}

/// Takes away what keeps running in a folder that is left.
async fn leave(config: &OciConfig, before: &Path) -> Result<(), Unsupported> {
    let _alone = begin(before).await?;
    let because = |error: &dyn std::fmt::Display| Unsupported(format!("{}: {error}", before.display()));
    let installation = short(&config.installation);
    let options =
        Options { run: before.to_owned(), installation, identity: String::new(), pool: 1, users: None };
    let quit = Client::new(config.program.clone(), options).quit().await;
    quit.map_err(|error| because(&error))?;
    let removed = Network::remove_all(&config.installation, &before.join("net")).await;
    removed.map_err(|error| because(&error))?;
    // Whoever gave the name of a folder that is not ours alone keeps what is not ours.
    if crate::leftovers::is_run_folder(before) {
        fs::remove_dir_all(before).map_err(|error| because(&error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_works_here_and_the_next_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_held(dir.path()));
        let first = begin(dir.path()).await.unwrap();
        assert!(is_held(dir.path()));
        let refused = begin(dir.path()).await.unwrap_err().to_string();
        assert!(refused.contains("another control plane"), "{refused}");
        let second = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(first);
        };
        let (again, ()) = tokio::join!(begin(dir.path()), second);
        assert!(again.is_ok());
    }
}
