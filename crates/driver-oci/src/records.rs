//! What stands on disk of a workload: the only memory there is.
//!
//! ```text
//! <data>/oci/containers/<id>/spec.json    written by the control plane before anything is made: whose it is, its fingerprint
//!                            lock         held by its supervisor for as long as the supervisor lives
//!                            state.json   written by the supervisor before the program is started; with it another one can go on
//!                            exit.json    written by the supervisor when the program has ended
//!                            ctl          the supervisor's socket
//!                            log.<n>      its output (see log.rs)
//!                            upper, work  what it has written into its root file system
//! ```
//!
//! Every file appears whole (written aside, renamed). No secret is among them: variables and contents of files go to the
//! supervisor over a socket only.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The control plane's record.
pub const SPEC: &str = "spec.json";
/// The supervisor's record of a start.
pub const STATE: &str = "state.json";
/// The supervisor's record of an end.
pub const EXIT: &str = "exit.json";
/// Held by the supervisor.
pub const LOCK: &str = "lock";
/// The supervisor's socket.
pub const CONTROL: &str = "ctl";
/// What the workload writes into its root file system.
pub const UPPER: &str = "upper";
/// The kernel's own, beside it.
pub const WORK: &str = "work";

/// What a workload was made from, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecRecord {
    /// Whose it is.
    pub installation: String,
    /// The host label.
    pub host: String,
    /// The fingerprint of its spec.
    pub hash: String,
    /// The image by its digest.
    pub image_digest: String,
    /// Ports: inside, on the host, UDP.
    pub ports: Vec<(u16, u16, bool)>,
}

/// A workload that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRecord {
    /// Its first process.
    pub pid: i32,
    /// When that process was started, in the kernel's ticks: nobody else has both.
    pub ticks: u64,
    /// Since which start of the machine that holds.
    pub boot: String,
    /// Its control group.
    pub slot: String,
    /// Microseconds since 1970.
    pub started_at: i64,
    /// The pipes of its output and its errors, by their numbers in the kernel.
    #[serde(default)]
    pub pipes: [u64; 2],
    /// When its time is over: milliseconds since the machine's start, suspension included.
    #[serde(default)]
    pub ends_at: Option<u64>,
}

/// A workload that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Exit code, or 128 and the signal.
    pub code: i32,
    /// The kernel ended something of it for want of memory.
    pub oom: bool,
    /// It was ended because it had written more than it may.
    #[serde(default)]
    pub disk: bool,
}

/// What of a workload that nobody saw ending is said: its machine or its supervisor was lost.
pub const LOST: ExitRecord = ExitRecord { code: 137, oom: false, disk: false };

/// Writes a record, whole or not at all.
///
/// # Errors
/// What the file system says.
pub fn write(dir: &Path, name: &str, record: &impl Serialize) -> io::Result<()> {
    let draft = dir.join(format!(".{name}"));
    let mut file = File::create(&draft)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    fs::rename(&draft, dir.join(name))
}

/// Reads a record; `None` if there is none.
///
/// # Errors
/// What the file system says.
pub fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> io::Result<Option<T>> {
    match fs::read(dir.join(name)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The code that was noted in a file of its own, which is taken away.
#[must_use]
pub fn take_exit(path: &Path) -> Option<i32> {
    let code = fs::read_to_string(path).ok()?.trim().parse().ok();
    // Whoever comes next finds nothing, or the same.
    let _ = fs::remove_file(path);
    code
}

/// Which start of the machine this is.
#[must_use]
pub fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// When a process was started, in the kernel's ticks; `None` if it is gone or only its number is left.
#[must_use]
pub fn ticks(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, but the last bracket ends it.
    let mut words = text.rsplit_once(')')?.1.split_whitespace();
    let is_dead = matches!(words.next()?, "Z" | "X");
    words.nth(18)?.parse().ok().filter(|_| !is_dead)
}

/// The parent of a process; `None` if it is gone.
#[must_use]
pub fn parent(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

impl StateRecord {
    /// Whether its first process is there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.boot == boot() && ticks(self.pid) == Some(self.ticks)
    }
}

/// Whether somebody has the lock of a folder. Looking disturbs nobody who looks, and for a moment only who takes it.
///
/// # Errors
/// What the file system says.
pub fn is_locked(dir: &Path) -> io::Result<bool> {
    let file = match File::open(dir.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Takes the lock of a folder; `None` if somebody has it.
///
/// # Errors
/// What the file system says.
pub fn lock(dir: &Path) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_an_absent_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read::<ExitRecord>(dir.path(), EXIT).unwrap(), None);
        write(dir.path(), EXIT, &LOST).unwrap();
        assert_eq!(read(dir.path(), EXIT).unwrap(), Some(LOST));
    }

    #[test]
    fn a_process_is_known_by_its_number_and_its_start() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = StateRecord {
            pid,
            ticks: ticks(pid).unwrap(),
            boot: boot(),
            slot: String::new(),
            started_at: 0,
            pipes: [0; 2],
            ends_at: None,
        };
        assert!(own.is_alive());
        assert!(!StateRecord { ticks: own.ticks + 1, ..own.clone() }.is_alive());
        assert!(!StateRecord { boot: "before".to_owned(), ..own }.is_alive());
    }

    #[test]
    fn a_lock_is_had_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(first.is_some() && is_locked(dir.path()).unwrap());
        assert!(lock(dir.path()).unwrap().is_none());
        drop(first);
        assert!(!is_locked(dir.path()).unwrap());
        assert!(lock(dir.path()).unwrap().is_some());
    }
}
