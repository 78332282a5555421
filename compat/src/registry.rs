//! A real container registry, with a login or without: Debian's `docker-registry`, on a port and a directory of its own.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::docker::Engine;
use crate::game::{Game, digest};
use crate::http::{Answer, encode, request, send_raw};
use crate::player::local;
use crate::{PATIENCE, eventually, say};

/// Of the manifests here.
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Of those that other tools make too.
const MANIFESTS: &str =
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
/// The login name.
pub const USERNAME: &str = "robot";
/// The login secret.
pub const PASSWORD: &str = "canary-registry-77";
/// Both, as `htpasswd -nbB` writes them.
const HTPASSWD: &str = "robot:$2y$05$B/pEODsOcBl91QJZ.jadSOKNprlMI29uo/6ZLcxMyjXFKqNyU17VW\n";
/// Both, as clients of registries write them.
pub const LOGIN_BASE64: &str = "cm9ib3Q6Y2FuYXJ5LXJlZ2lzdHJ5LTc3";

/// How a registry is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Whether it wants [`USERNAME`] and [`PASSWORD`].
    pub has_login: bool,
    /// Whether it deletes images.
    pub deletes: bool,
}

/// A registry. It ends with this value, and so do the images that were pushed to it or pulled from it.
#[derive(Debug)]
pub struct Registry {
    /// Its host and port.
    pub address: String,
    /// Whether it wants [`USERNAME`] and [`PASSWORD`].
    pub has_login: bool,
    port: u16,
    child: Child,
    dir: TempDir,
}

impl Registry {
    /// Starts one with a login. `None`, after saying why, if `docker-registry` is not installed.
    ///
    /// # Panics
    /// It is required here, or does not answer.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_as(Setup { has_login: true, deletes: true })
    }

    /// Starts one; otherwise as [`Registry::start`].
    ///
    /// # Panics
    /// It is required here, or does not answer.
    #[must_use]
    pub fn start_as(setup: Setup) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        std::fs::write(dir.path().join("config.yml"), configuration(setup, dir.path(), port)).unwrap();
        std::fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
        let child = spawn(dir.path())?;
        let has_login = setup.has_login;
        let registry = Self { address: format!("127.0.0.1:{port}"), has_login, port, child, dir };
        let expected = if setup.has_login { 401 } else { 200 };
        eventually("the registry answers", PATIENCE, || {
            let answer = send_raw(local(port), &request("GET", "/v2/", &[], None));
            answer.is_ok_and(|answer| answer.status == expected).then_some(())
        });
        Some(registry)
    }

    /// The part of a server's configuration that makes this its own registry.
    ///
    /// # Panics
    /// The file with the login secret cannot be written.
    #[must_use]
    pub fn as_own(&self, project: &str) -> String {
        let file = self.dir.path().join("token");
        std::fs::write(&file, PASSWORD).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        format!(
            "[registry]\nurl = \"{}\"\nproject = \"{project}\"\nusername = \"{USERNAME}\"\ntoken_file = \"{}\"\n",
            self.address,
            file.display()
        )
    }

    /// Asks the registry itself, with its login.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn call(&self, method: &str, path: &str, kind: &str, body: Option<&[u8]>) -> Answer {
        let authorization = format!("Basic {LOGIN_BASE64}");
        let headers = [("authorization", &*authorization), ("content-type", kind), ("accept", MANIFESTS)];
        send_raw(local(self.port), &request(method, path, &headers, body)).unwrap()
    }

    /// The digest of an image.
    ///
    /// # Panics
    /// There is no such tag.
    #[must_use]
    pub fn digest(&self, name: &str, tag: &str) -> String {
        let manifest = self.call("GET", &format!("/v2/{name}/manifests/{tag}"), "", None);
        assert_eq!(manifest.status, 200, "{}", manifest.text());
        digest(&manifest.body)
    }

    /// Gives a tag to another image than it has: the same layers under another digest.
    ///
    /// # Panics
    /// There is no such tag, or the registry does not take the new one.
    pub fn retag_anew(&self, name: &str, tag: &str, new: &str) {
        let mut manifest = self.call("GET", &format!("/v2/{name}/manifests/{tag}"), "", None).expect(200);
        manifest["annotations"] = json!({ "for": new });
        let path = format!("/v2/{name}/manifests/{new}");
        let _ = self.call("PUT", &path, MANIFEST, Some(manifest.to_string().as_bytes())).expect(201);
    }

    /// Puts the game's image into it, under this name and tag.
    ///
    /// # Panics
    /// It is not taken.
    pub fn push(&self, game: &Game, name: &str, tag: &str) {
        let layer = game.layer();
        let configuration = game.configuration(&layer).to_string();
        let blob = |kind: &str, bytes: &[u8]| {
            self.upload(name, bytes);
            json!({"mediaType": kind, "size": bytes.len(), "digest": digest(bytes)})
        };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": blob("application/vnd.docker.container.image.v1+json", configuration.as_bytes()),
            "layers": [blob("application/vnd.docker.image.rootfs.diff.tar", &layer)],
        });
        let path = format!("/v2/{name}/manifests/{tag}");
        let _ = self.call("PUT", &path, MANIFEST, Some(manifest.to_string().as_bytes())).expect(201);
    }

    fn upload(&self, name: &str, bytes: &[u8]) {
        let begun = self.call("POST", &format!("/v2/{name}/blobs/uploads/"), "", None);
        assert_eq!(begun.status, 202, "{}", begun.text());
        let place = begun.header("location").unwrap();
        let path = &place[place.find("/v2/").unwrap()..];
        let path = format!("{path}&digest={}", encode(&digest(bytes)));
        let taken = self.call("PUT", &path, "application/octet-stream", Some(bytes));
        assert_eq!(taken.status, 201, "{}", taken.text());
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

fn configuration(setup: Setup, dir: &Path, port: u16) -> String {
    let mut text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: {}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
        dir.join("data").display(),
        setup.deletes,
    );
    if setup.has_login {
        let file = dir.join("htpasswd");
        text.push_str(&format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", file.display()));
    }
    text
}

/// `None`, after saying why, if it is not installed and is not required here.
fn spawn(dir: &Path) -> Option<Child> {
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(dir.join("config.yml"));
    match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(child) => Some(child),
        Err(error) => {
            let is_set = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
            let required = is_set("CI", "true") || is_set("SPAWNPOINT_REQUIRE_DOCKER", "1");
            assert!(!required, "docker-registry is required here: {error}");
            say(&format!("skipped: docker-registry cannot be started: {error}"));
            None
        }
    }
}

/// A TCP port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).unwrap().port()
}
