//! A real container registry with a login: Debian's `docker-registry`, on a port and a directory of its own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::docker::Engine;
use crate::http::{request, send_raw};
use crate::player::local;
use crate::{PATIENCE, eventually, say};

/// The login name.
pub const USERNAME: &str = "robot";
/// The login secret.
pub const PASSWORD: &str = "canary-registry-77";
/// Both, as `htpasswd -nbB` writes them.
const HTPASSWD: &str = "robot:$2y$05$B/pEODsOcBl91QJZ.jadSOKNprlMI29uo/6ZLcxMyjXFKqNyU17VW\n";
/// Both, as the engine's API takes them.
const REGISTRY_AUTH: &str = "eyJ1c2VybmFtZSI6InJvYm90IiwicGFzc3dvcmQiOiJjYW5hcnktcmVnaXN0cnktNzcifQ==";

/// A registry. It ends with this value, and so do the images that were pushed to it or pulled from it.
#[derive(Debug)]
pub struct Registry {
    /// Its host and port.
    pub address: String,
    child: Child,
    _dir: TempDir,
}

impl Registry {
    /// Starts one. `None`, after saying why, if `docker-registry` is not installed.
    ///
    /// # Panics
    /// It is required here, or does not answer.
    #[must_use]
    pub fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let (htpasswd, config) = (dir.path().join("htpasswd"), dir.path().join("config.yml"));
        std::fs::write(&htpasswd, HTPASSWD).unwrap();
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\nauth:\n  htpasswd: {{realm: test, path: {}}}\n",
            dir.path().join("data").display(),
            htpasswd.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let is_set = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
                let required = is_set("CI", "true") || is_set("SPAWNPOINT_REQUIRE_DOCKER", "1");
                assert!(!required, "docker-registry is required here: {error}");
                say(&format!("skipped: docker-registry cannot be started: {error}"));
                return None;
            }
        };
        let registry = Self { address: format!("127.0.0.1:{port}"), child, _dir: dir };
        eventually("the registry asks for a login", PATIENCE, || {
            let answer = send_raw(local(port), &request("GET", "/v2/", &[], None));
            answer.is_ok_and(|answer| answer.status == 401).then_some(())
        });
        Some(registry)
    }

    /// Puts the game's image into it, under this name and tag. The engine does not hold it under that name afterwards.
    pub fn push(&self, engine: &Engine, name: &str, tag: &str) {
        let to = format!("{}/{name}", self.address);
        engine.push(&to, tag, REGISTRY_AUTH);
        engine.remove_image(&format!("{to}:{tag}"));
    }

    /// Ends it.
    pub fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.end();
        Engine::remove_images_of(&self.address);
    }
}

/// A TCP port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).unwrap().port()
}
