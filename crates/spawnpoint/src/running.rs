//! The note that a running server leaves in its data directory, so that other commands find it: `server.json`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// Where a server runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// Where its API answers, as seen from this machine.
    pub address: SocketAddr,
    /// The file with the certificate that it shows; `None` = it speaks plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
}

impl Running {
    /// This process, listening there.
    #[must_use]
    pub fn this(listening: SocketAddr) -> Self {
        let ip = match listening.ip() {
            IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        Self { pid: std::process::id(), address: SocketAddr::new(ip, listening.port()), certificate: None }
    }

    /// Its API speaks TLS with the certificate in this file.
    #[must_use]
    pub fn showing(self, certificate: Option<&Path>) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { certificate: certificate.map(absolute), ..self }
    }

    /// The note's file.
    fn file(data_dir: &Path) -> PathBuf {
        data_dir.join("server.json")
    }

    /// Leaves the note.
    ///
    /// # Errors
    /// What the file system says.
    pub fn leave(&self, data_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        let draft = data_dir.join(format!(".server.json.{}", self.pid));
        std::fs::write(&draft, text)?;
        std::fs::rename(&draft, Self::file(data_dir))
    }

    /// Takes the note away, if it is still this one.
    pub fn withdraw(&self, data_dir: &Path) {
        if Self::read(data_dir).as_ref() == Some(self) {
            // If it stays, readers find that the process is gone.
            let _ = std::fs::remove_file(Self::file(data_dir));
        }
    }

    /// The server whose process lives, if there is one. (A new process may have got the number of a dead one: whoever
    /// asks it finds out.)
    #[must_use]
    pub fn find(data_dir: &Path) -> Option<Self> {
        Self::read(data_dir).filter(Self::lives)
    }

    fn lives(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // One of somebody else's may not be asked, and lives.
        pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(Errno::SRCH)))
    }

    fn read(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::file(data_dir)).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_found_while_its_process_lives() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Running::find(dir.path()), None);
        let running = Running::this("0.0.0.0:8080".parse().unwrap());
        running.leave(dir.path()).unwrap();
        assert_eq!(Running::find(dir.path()).unwrap().address.to_string(), "127.0.0.1:8080");
        running.withdraw(dir.path());
        assert_eq!(Running::find(dir.path()), None);
    }

    #[test]
    fn a_note_of_a_dead_process_is_not_believed_and_not_taken_away_by_another() {
        let dir = tempfile::tempdir().unwrap();
        let dead = Running { pid: u32::MAX, address: "127.0.0.1:1".parse().unwrap(), certificate: None };
        dead.leave(dir.path()).unwrap();
        assert_eq!(Running::find(dir.path()), None);
        Running::this("127.0.0.1:2".parse().unwrap()).withdraw(dir.path());
        assert_eq!(Running::read(dir.path()), Some(dead));
    }
}
