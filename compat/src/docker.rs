//! The Docker engine of this machine, over its API: what is there, and what is left over. And the game's image, made on
//! the spot from `crates/game`.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Answer, encode, exchange};
use crate::say;

const SOCKET: &str = "/var/run/docker.sock";
/// The engine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// Label of everything that belongs to an installation.
const INSTALLATION: &str = "spawnpoint.installation";
/// Label of a deployment's container.
const DEPLOYMENT: &str = "spawnpoint.deployment";
/// Name of the game's image in `localhost`.
pub const IMAGE: &str = "spawnpoint-compat";

/// The engine.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Tag of the game's image.
    pub tag: String,
}

/// What one installation has on the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Its id.
    pub id: String,
    /// Name of its network.
    pub network: String,
    /// Where its containers find this machine.
    pub gateway: String,
}

/// The engine with the game's image on it; `None`, after saying why, if none answers.
///
/// # Panics
/// None answers where one is required, or the game does not build.
#[must_use]
pub fn engine() -> Option<Engine> {
    if let Err(error) = call("GET", "/_ping", None) {
        let is_set = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
        let required = is_set("CI", "true") || is_set("SPAWNPOINT_REQUIRE_DOCKER", "1");
        assert!(!required, "a Docker engine is required here: {SOCKET}: {error}");
        say(&format!("skipped: no Docker engine answers on {SOCKET}: {error}"));
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/game/src/main.rs");
    let mut hasher = DefaultHasher::new();
    for file in [&source, &source.with_file_name("web.rs")] {
        std::fs::read(file).unwrap().hash(&mut hasher);
    }
    let engine = Engine { tag: format!("{:016x}", hasher.finish()) };
    // One test process makes it, the others find it.
    let lock = File::create(std::env::temp_dir().join("spawnpoint-compat.lock")).unwrap();
    lock.lock().unwrap();
    let path = format!("/images/localhost/{IMAGE}:{}/json", engine.tag);
    if !call("GET", &path, None).is_ok_and(|answer| answer.status == 200) {
        engine.import(&std::fs::read(build_game(&source)).unwrap());
    }
    Some(engine)
}

impl Engine {
    /// Makes the image out of the program.
    fn import(&self, program: &[u8]) {
        let entrypoint = encode("ENTRYPOINT [\"/game\"]");
        let path =
            format!("/images/create?fromSrc=-&repo=localhost/{IMAGE}&tag={}&changes={entrypoint}", self.tag);
        let answer = call("POST", &path, Some(("application/x-tar", &tar("game", program)))).unwrap();
        assert!(answer.status == 200 && !answer.text().contains("\"error\""), "{}", answer.text());
    }

    /// Pushes the image to a registry (`host:port/name`).
    pub(crate) fn push(&self, to: &str, tag: &str, registry_auth: &str) {
        let path = format!("/images/localhost/{IMAGE}:{}/tag?repo={}&tag={tag}", self.tag, encode(to));
        assert_eq!(call("POST", &path, None).unwrap().status, 201);
        let answer = call_as("POST", &format!("/images/{to}/push?tag={tag}"), registry_auth, None).unwrap();
        assert!(answer.status == 200 && !answer.text().contains("\"error\""), "{}", answer.text());
    }

    /// Takes a name from an image.
    pub fn remove_image(&self, reference: &str) {
        let _ = call("DELETE", &format!("/images/{reference}?force=1"), None);
    }

    /// Takes all names from images that a registry has.
    pub(crate) fn remove_images_of(registry: &str) {
        let images = call("GET", "/images/json", None).map(|answer| answer.json()).unwrap_or_default();
        let names = images.as_array().into_iter().flatten().flat_map(|image| {
            image["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
        });
        for name in names.filter(|name| name.starts_with(&format!("{registry}/"))) {
            let _ = call("DELETE", &format!("/images/{name}?force=1"), None);
        }
    }

    /// The image as versions name it.
    #[must_use]
    pub fn image(&self) -> (&str, &str) {
        (IMAGE, &self.tag)
    }

    /// Containers with a label, dead ones too, as the engine lists them.
    ///
    /// # Panics
    /// The engine does not answer.
    #[must_use]
    pub fn containers(&self, label: &str) -> Vec<Value> {
        let filters = encode(&json!({"label": [label]}).to_string());
        let answer =
            call("GET", &format!("/containers/json?all=1&filters={filters}"), None).unwrap().expect(200);
        answer.as_array().cloned().unwrap_or_default()
    }

    /// Containers of an installation.
    #[must_use]
    pub fn containers_of(&self, installation: &Installation) -> Vec<Value> {
        self.containers(&format!("{INSTALLATION}={}", installation.id))
    }

    /// The one container of a deployment, in full.
    ///
    /// # Panics
    /// There is none, or more than one.
    #[must_use]
    pub fn container(&self, deployment: &str) -> Value {
        let all = self.containers(&format!("{DEPLOYMENT}={deployment}"));
        assert_eq!(all.len(), 1, "containers of {deployment}: {all:?}");
        let id = all[0]["Id"].as_str().unwrap_or_default();
        call("GET", &format!("/containers/{id}/json"), None).unwrap().expect(200)
    }

    /// The same, or `None` while there is none, or just not any more.
    ///
    /// # Panics
    /// There is more than one, or the engine fails.
    #[must_use]
    pub fn container_if_there(&self, deployment: &str) -> Option<Value> {
        let all = self.containers(&format!("{DEPLOYMENT}={deployment}"));
        assert!(all.len() <= 1, "containers of {deployment}: {all:?}");
        let id = all.first()?["Id"].as_str()?.to_owned();
        let answer = call("GET", &format!("/containers/{id}/json"), None).unwrap();
        (answer.status != 404).then(|| answer.expect(200))
    }

    /// Removes a deployment's container behind everybody's back.
    ///
    /// # Panics
    /// There is none.
    pub fn remove_container(&self, deployment: &str) {
        let id = self.container(deployment)["Id"].as_str().unwrap_or_default().to_owned();
        let answer = call("DELETE", &format!("/containers/{id}?force=1"), None).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// The address of a deployment's container in its network.
    ///
    /// # Panics
    /// It has none.
    #[must_use]
    pub fn address_of(&self, deployment: &str) -> Ipv4Addr {
        let container = self.container(deployment);
        let networks = container.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
        let address = networks.and_then(|all| all.values().next()?["IPAddress"].as_str()?.parse().ok());
        address.unwrap_or_else(|| panic!("no address in {container}"))
    }

    /// The deployment that a listed container belongs to.
    #[must_use]
    pub fn deployment_of(container: &Value) -> String {
        container["Labels"][DEPLOYMENT].as_str().unwrap_or_default().to_owned()
    }

    /// The installation whose callback listener has this port, once it listens.
    #[must_use]
    pub fn find_installation(&self, callback: u16) -> Option<Installation> {
        installations().into_iter().find(|installation| {
            let address = format!("{}:{callback}", installation.gateway).parse();
            address
                .is_ok_and(|address| TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok())
        })
    }
}

/// All installations that have a network.
fn installations() -> Vec<Installation> {
    let filters = encode(&json!({"label": [INSTALLATION]}).to_string());
    let Ok(answer) = call("GET", &format!("/networks?filters={filters}"), None) else { return Vec::new() };
    let field =
        |network: &Value, pointer: &str| network.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let installation = |network: &Value| {
        Some(Installation {
            id: network["Labels"][INSTALLATION].as_str()?.to_owned(),
            network: field(network, "/Name")?,
            gateway: field(network, "/IPAM/Config/0/Gateway")?,
        })
    };
    answer.json().as_array().into_iter().flatten().filter_map(installation).collect()
}

impl Installation {
    /// The part of its id that names rules and interfaces.
    fn short(&self) -> &str {
        self.network.trim_start_matches("spawnpoint-")
    }

    /// Rules of the kernel's packet filter that are its own: its chains, and whatever speaks of its bridge.
    #[must_use]
    pub fn rules(&self) -> Vec<String> {
        let mut rules = Vec::new();
        for table in ["filter", "nat"] {
            let listed =
                Command::new("iptables").args(["-w", "-t", table, "-S"]).stderr(Stdio::null()).output();
            let text =
                listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
            rules.extend(text.lines().filter(|line| line.contains(self.short())).map(str::to_owned));
        }
        rules
    }

    /// Containers that hang on its network now, by the engine's word.
    ///
    /// # Panics
    /// The engine does not answer.
    #[must_use]
    pub fn attached(&self) -> usize {
        let network = call("GET", &format!("/networks/{}", self.network), None).unwrap().json();
        network["Containers"].as_object().map_or(0, serde_json::Map::len)
    }

    /// Takes everything of it away: what an operator does who gives an installation up.
    pub fn remove(&self) {
        let engine = Engine { tag: String::new() };
        for container in engine.containers_of(self) {
            let id = container["Id"].as_str().unwrap_or_default();
            let _ = call("DELETE", &format!("/containers/{id}?force=1"), None);
        }
        let _ = call("DELETE", &format!("/networks/{}", self.network), None);
        let short = self.short();
        let iptables = |arguments: &[&str]| {
            let status = Command::new("iptables").arg("-w").args(arguments).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        let (bridge, forward, input) =
            (format!("sp-{short}"), format!("SPAWNPOINT-F-{short}"), format!("SPAWNPOINT-I-{short}"));
        for (parent, chain) in [("DOCKER-USER", &forward), ("FORWARD", &forward), ("INPUT", &input)] {
            while iptables(&["-D", parent, "-i", &bridge, "-j", chain]) {}
        }
        for chain in [&forward, &input] {
            iptables(&["-F", chain]);
            iptables(&["-X", chain]);
        }
        remove_access_rules(&format!("SPAWNPOINT-A-{short}"));
    }
}

/// Takes away what leads into this chain, what it leads to, and itself.
fn remove_access_rules(dispatch: &str) {
    let iptables = |line: &str| {
        let mut command = Command::new("iptables");
        let _ = command.arg("-w").args(line.split_whitespace()).stderr(Stdio::null()).status();
    };
    let saved = Command::new("iptables").args(["-w", "-S"]).stderr(Stdio::null()).output();
    let saved = String::from_utf8_lossy(&saved.map(|output| output.stdout).unwrap_or_default()).into_owned();
    for line in saved.lines().filter(|line| line.ends_with(&format!("-j {dispatch}"))) {
        iptables(&line.replacen("-A", "-D", 1));
    }
    iptables(&format!("-F {dispatch}"));
    let ours = |line: &&str| line.starts_with(&format!("-A {dispatch} "));
    for chain in saved.lines().filter(ours).filter_map(|line| line.rsplit_once("-j SPA-")) {
        iptables(&format!("-F SPA-{}", chain.1));
        iptables(&format!("-X SPA-{}", chain.1));
    }
    iptables(&format!("-X {dispatch}"));
}

/// Calls the engine. HTTP/1.0, so that it sends no chunks.
fn call(method: &str, path: &str, body: Option<(&str, &[u8])>) -> std::io::Result<Answer> {
    call_as(method, path, "", body)
}

/// The same with a login for a registry.
fn call_as(
    method: &str,
    path: &str,
    registry_auth: &str,
    body: Option<(&str, &[u8])>,
) -> std::io::Result<Answer> {
    let stream = UnixStream::connect(SOCKET)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.0\r\nhost: docker\r\n");
    if !registry_auth.is_empty() {
        head.push_str(&format!("x-registry-auth: {registry_auth}\r\n"));
    }
    if let Some((kind, body)) = body {
        head.push_str(&format!("content-type: {kind}\r\ncontent-length: {}\r\n", body.len()));
    }
    let mut request = (head + "\r\n").into_bytes();
    request.extend_from_slice(body.map(|(_, body)| body).unwrap_or_default());
    exchange(stream, &request)
}

/// Builds the game server as the product does: one lone file, static.
fn build_game(source: &Path) -> PathBuf {
    let output = std::env::temp_dir().join("spawnpoint-compat-game");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let options =
        ["-C", "target-feature=+crt-static", "-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols"];
    let mut build = Command::new(rustc);
    build
        .args(options)
        .args(["--edition", "2024", "--crate-name", "game"])
        .arg(source)
        .arg("-o")
        .arg(&output);
    assert!(build.status().unwrap().success(), "the game server does not build by itself");
    output
}

/// A tar archive of one program.
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000755\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o} ", content.len()));
    put(136, "00000000000 ");
    // The sum is taken with blanks in its own place.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}
