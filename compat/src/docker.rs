//! The Docker engine of this machine, over its API: what is there, and what is left over.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::game::{self, Game};
use crate::http::{Answer, encode, exchange};
use crate::runtime::{Container, Details};
use crate::say;

const SOCKET: &str = "/var/run/docker.sock";
/// The engine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// Label of everything that belongs to an installation.
const INSTALLATION: &str = "spawnpoint.installation";
/// Label of a deployment's container.
const DEPLOYMENT: &str = "spawnpoint.deployment";
/// Label that counts the containers of a deployment.
const ATTEMPT: &str = "spawnpoint.attempt";
/// Name of the game's image in `localhost`.
const IMAGE: &str = "spawnpoint-compat";

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
    pub gateway: Ipv4Addr,
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
    let game = game::build();
    let engine = Engine { tag: game.tag.clone() };
    // One test process makes it, the others find it.
    let lock = File::create(std::env::temp_dir().join("spawnpoint-compat.lock")).unwrap();
    lock.lock().unwrap();
    let path = format!("/images/localhost/{IMAGE}:{}/json", engine.tag);
    if !call("GET", &path, None).is_ok_and(|answer| answer.status == 200) {
        engine.import(&game);
    }
    Some(engine)
}

impl Engine {
    /// Makes the image out of the program.
    fn import(&self, game: &Game) {
        let entrypoint = encode("ENTRYPOINT [\"/game\"]");
        let path =
            format!("/images/create?fromSrc=-&repo=localhost/{IMAGE}&tag={}&changes={entrypoint}", self.tag);
        let answer = call("POST", &path, Some(("application/x-tar", &game.layer()))).unwrap();
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
    pub(crate) fn image(&self) -> (&str, &str) {
        (IMAGE, &self.tag)
    }
}

/// Containers with a label, dead ones too, as the engine lists them.
fn labelled(label: &str, value: &str) -> Vec<Value> {
    let filters = encode(&json!({"label": [format!("{label}={value}")]}).to_string());
    let answer = call("GET", &format!("/containers/json?all=1&filters={filters}"), None).unwrap().expect(200);
    answer.as_array().cloned().unwrap_or_default()
}

/// What the engine lists of a container.
fn listed(container: &Value) -> Container {
    let label = |name: &str| container["Labels"][name].as_str().unwrap_or_default().to_owned();
    Container {
        id: container["Id"].as_str().unwrap_or_default().to_owned(),
        deployment: label(DEPLOYMENT),
        attempt: label(ATTEMPT).parse().unwrap(),
        is_running: container["State"] == "running",
    }
}

/// The installation whose callback listener has this port, once it listens.
pub(crate) fn find(callback: u16) -> Option<Installation> {
    installations().into_iter().find(|installation| answers(installation.gateway, callback))
}

/// Whether somebody listens there.
pub(crate) fn answers(gateway: Ipv4Addr, port: u16) -> bool {
    TcpStream::connect_timeout(&(gateway, port).into(), Duration::from_millis(200)).is_ok()
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
            gateway: field(network, "/IPAM/Config/0/Gateway")?.parse().ok()?,
        })
    };
    answer.json().as_array().into_iter().flatten().filter_map(installation).collect()
}

impl Installation {
    /// The part of its id that names rules and interfaces.
    fn short(&self) -> &str {
        self.network.trim_start_matches("spawnpoint-")
    }

    /// Its containers, dead ones too.
    pub(crate) fn containers(&self) -> Vec<Container> {
        labelled(INSTALLATION, &self.id).iter().map(listed).collect()
    }

    /// All there is to say about a container; `None` if it has just gone.
    pub(crate) fn details(&self, container: &Container) -> Option<Details> {
        let answer = call("GET", &format!("/containers/{}/json", container.id), None).unwrap();
        if answer.status == 404 {
            return None;
        }
        let about = answer.expect(200);
        let networks = about.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
        let environment = about["Config"]["Env"].as_array().into_iter().flatten();
        let published = about["HostConfig"]["PortBindings"].as_object().into_iter().flatten();
        let shown = json!([about["Name"], about["Config"]["Labels"], about["Config"]["Hostname"]]);
        Some(Details {
            id: container.id.clone(),
            started: about["State"].to_string(),
            pid: about["State"]["Pid"].as_u64().unwrap_or_default(),
            environment: environment.filter_map(Value::as_str).map(str::to_owned).collect(),
            address: networks.and_then(|all| all.values().next()?["IPAddress"].as_str()?.parse().ok()),
            published: published.map(|(port, _)| port.clone()).collect(),
            shown: shown.to_string(),
        })
    }

    /// Bytes that the engine holds of a container's log.
    pub(crate) fn log_bytes(&self, container: &Container) -> u64 {
        let folder = format!("/var/lib/docker/containers/{}/local-logs", container.id);
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum()
    }

    /// Removes a container behind everybody's back.
    pub(crate) fn remove_container(&self, container: &Container) {
        let answer = call("DELETE", &format!("/containers/{}?force=1", container.id), None).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// Rules that say who may reach a deployment.
    pub(crate) fn access_rules(&self, deployment: &str) -> usize {
        let saved = Command::new("iptables").args(["-w", "-S"]).output().unwrap();
        let name = format!("SPA-{deployment}");
        String::from_utf8_lossy(&saved.stdout).lines().filter(|line| line.contains(&name)).count()
    }

    /// Takes those rules away by hand.
    pub(crate) fn lose_access_rules(&self, container: &Container) {
        let chain = format!("SPA-{}-{}", container.deployment, container.attempt);
        assert!(Command::new("iptables").args(["-w", "-F", &chain]).status().unwrap().success());
    }

    /// What is left of containers on its network: those that hang on it by the engine's word, and ports that lead there.
    pub(crate) fn remains(&self) -> Vec<String> {
        let network = call("GET", &format!("/networks/{}", self.network), None).unwrap().json();
        let attached = network["Containers"].as_object().into_iter().flatten();
        let listed = Command::new("iptables").args(["-w", "-t", "nat", "-S"]).output().unwrap();
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let forwards = |line: &&str| {
            line.contains(self.short()) && line.starts_with("-A DOCKER ") && line.contains("--dport")
        };
        let ports = text.lines().filter(forwards).map(str::to_owned);
        attached.map(|(id, _)| id.clone()).chain(ports).collect()
    }

    /// Takes everything of it away: what an operator does who gives an installation up.
    pub(crate) fn remove(&self) {
        for container in self.containers() {
            let _ = call("DELETE", &format!("/containers/{}?force=1", container.id), None);
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
