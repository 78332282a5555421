//! What runs containers on this machine, and one way to look at them whichever it is: a Docker engine or the embedded runtime.
//!
//! A test says nothing about either. Its body takes a [`Runtime`], and [`on_each_runtime!`](crate::on_each_runtime) makes two
//! tests of it, `docker::NAME` and `embedded::NAME`.
//!
//! ```text
//! Runtime::start() ─▶ Server (one host with that driver, the game's image brought in)
//!                     Installation: containers(), container(deployment), remove_container(deployment), remains(), …
//! ```

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::docker::Engine;
use crate::ports::Ports;
use crate::{PATIENCE, Server, docker, embedded, eventually, server};

/// Name of the image that the embedded runtime is given by `spawnpoint image demo`; it has the binary's version.
const DEMO: &str = "spawnpoint-demo";

/// What runs containers.
#[derive(Clone, Debug)]
pub enum Runtime {
    /// This machine's Docker engine, with the game's image on it.
    Docker(Engine),
    /// The embedded runtime.
    Embedded,
}

/// What an installation has on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installation {
    /// On its Docker engine.
    Docker(docker::Installation),
    /// By the embedded runtime.
    Embedded(embedded::Installation),
}

/// A container, running or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its own name: a deployment that is restarted has another container.
    pub id: String,
    /// Whose it is.
    pub deployment: String,
    /// How many there were of that deployment, with this one.
    pub attempt: u32,
    /// Whether it runs.
    pub is_running: bool,
}

/// What is to be found out about a running container. Equal as long as nobody has touched it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// Its own name.
    pub id: String,
    /// When it was started, and as which process.
    pub started: String,
    /// Its first process, as this machine numbers it.
    pub pid: u64,
    /// What it was started with: `KEY=value`.
    pub environment: Vec<String>,
    /// Where it is in its network.
    pub address: Option<Ipv4Addr>,
    /// The ports inside that are published: `7777/udp`.
    pub published: Vec<String>,
    /// Everything that others on this machine see of it: names, labels, records.
    pub shown: String,
}

/// Makes of each test two: in the module `docker` and in the module `embedded`. Where the runtime is not there the test is
/// skipped and says so.
#[macro_export]
macro_rules! on_each_runtime {
    ($($name:ident),+ $(,)?) => {
        mod docker {
            $(#[test] fn $name() {
                if let Some(runtime) = $crate::Runtime::docker() {
                    super::$name(&runtime);
                }
            })+
        }
        mod embedded {
            $(#[test] fn $name() {
                if let Some(runtime) = $crate::Runtime::embedded() {
                    super::$name(&runtime);
                }
            })+
        }
    };
}

impl Runtime {
    /// The Docker engine; `None`, after saying why, if none answers.
    ///
    /// # Panics
    /// None answers where one is required.
    #[must_use]
    pub fn docker() -> Option<Self> {
        docker::engine().map(Self::Docker)
    }

    /// The embedded runtime; `None`, after saying why, if it cannot run here.
    ///
    /// # Panics
    /// It cannot where it is required.
    #[must_use]
    pub fn embedded() -> Option<Self> {
        embedded::is_here().then_some(Self::Embedded)
    }

    /// Whether this is the one on which a test that waits for minutes is run in the quick form; says so if not. What is waited
    /// for has nothing to do with containers.
    #[must_use]
    pub fn has_time_for_this(&self) -> bool {
        let has_time = crate::long() || matches!(self, Self::Embedded);
        if !has_time {
            crate::say("skipped: it runs on the embedded runtime; here with SPAWNPOINT_LONG=1");
        }
        has_time
    }

    /// The driver's name in a configuration.
    #[must_use]
    pub const fn driver(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Embedded => "oci",
        }
    }

    /// The configuration of one host with it.
    #[must_use]
    pub fn site(&self, ports: &Ports) -> String {
        server::site(self.driver(), ports)
    }

    /// The game's image as versions name it: `localhost/NAME:TAG`.
    #[must_use]
    pub fn image(&self) -> (&str, &str) {
        match self {
            Self::Docker(engine) => engine.image(),
            Self::Embedded => (DEMO, env!("CARGO_PKG_VERSION")),
        }
    }

    /// A server with one host.
    ///
    /// # Panics
    /// It does not become ready.
    #[must_use]
    pub fn start(&self) -> (Server, Installation) {
        self.start_with(|ports| self.site(ports))
    }

    /// A server with this configuration, which has hosts with this driver.
    ///
    /// # Panics
    /// It does not become ready.
    #[must_use]
    pub fn start_with(&self, configuration: impl FnOnce(&Ports) -> String) -> (Server, Installation) {
        let mut server = Server::start(configuration);
        let callback = server.ports.callback();
        let folder = server.data_dir().join("oci/containers");
        let found = eventually("the server is reached from containers", PATIENCE, || match self {
            Self::Docker(_) => docker::find(callback).map(Installation::Docker),
            Self::Embedded => embedded::find(callback, &folder).map(Installation::Embedded),
        });
        server.adopt(found.clone());
        if let Self::Embedded = self {
            let brought = server.run(&["image", "demo"]);
            assert_eq!(brought.code, Some(0), "{}", brought.text);
        }
        (server, found)
    }
}

impl Installation {
    /// Its containers, dead ones too.
    #[must_use]
    pub fn containers(&self) -> Vec<Container> {
        match self {
            Self::Docker(docker) => docker.containers(),
            Self::Embedded(embedded) => embedded.containers(),
        }
    }

    /// Those of one deployment.
    #[must_use]
    pub fn containers_of(&self, deployment: &str) -> Vec<Container> {
        self.containers().into_iter().filter(|container| container.deployment == deployment).collect()
    }

    /// Whether a deployment has a container that runs and is not this one.
    #[must_use]
    pub fn has_another(&self, deployment: &str, first: &str) -> bool {
        self.containers_of(deployment).iter().any(|one| one.id != first && one.is_running)
    }

    fn only(&self, deployment: &str) -> Option<Container> {
        let mut all = self.containers_of(deployment);
        assert!(all.len() <= 1, "containers of {deployment}: {all:?}");
        all.pop()
    }

    /// The one container of a deployment, in full.
    ///
    /// # Panics
    /// There is none, or more than one, or it does not run.
    #[must_use]
    pub fn container(&self, deployment: &str) -> Details {
        self.container_if_there(deployment)
            .unwrap_or_else(|| panic!("{deployment} has no container that runs"))
    }

    /// The same, or `None` while there is none, or just not any more.
    ///
    /// # Panics
    /// There is more than one.
    #[must_use]
    pub fn container_if_there(&self, deployment: &str) -> Option<Details> {
        let container = self.only(deployment)?;
        match self {
            Self::Docker(docker) => docker.details(&container),
            Self::Embedded(embedded) => embedded.details(&container),
        }
    }

    /// The address of a deployment's container in its network.
    ///
    /// # Panics
    /// It has none.
    #[must_use]
    pub fn address_of(&self, deployment: &str) -> Ipv4Addr {
        let container = self.container(deployment);
        container.address.unwrap_or_else(|| panic!("no address in {container:?}"))
    }

    /// Bytes of the log that is held of a deployment's container.
    #[must_use]
    pub fn log_bytes(&self, deployment: &str) -> u64 {
        let Some(container) = self.only(deployment) else { return 0 };
        match self {
            Self::Docker(docker) => docker.log_bytes(&container),
            Self::Embedded(embedded) => embedded.log_bytes(&container),
        }
    }

    /// Removes a deployment's container behind everybody's back.
    ///
    /// # Panics
    /// There is none.
    pub fn remove_container(&self, deployment: &str) {
        let container = self.only(deployment).unwrap_or_else(|| panic!("{deployment} has no container"));
        match self {
            Self::Docker(docker) => docker.remove_container(&container),
            Self::Embedded(embedded) => embedded.remove_container(&container),
        }
    }

    /// Where the runtime keeps files about it besides the server's data directory, as far as it is ours.
    #[must_use]
    pub fn run_dir(&self) -> Option<PathBuf> {
        match self {
            Self::Docker(_) => None,
            Self::Embedded(embedded) => Some(embedded.run_dir()),
        }
    }

    /// Where its containers find this machine.
    #[must_use]
    pub const fn gateway(&self) -> Ipv4Addr {
        match self {
            Self::Docker(docker) => docker.gateway,
            Self::Embedded(embedded) => embedded.gateway,
        }
    }

    /// How many rules of the packet filter say who may reach a deployment.
    #[must_use]
    pub fn access_rules(&self, deployment: &str) -> usize {
        match self {
            Self::Docker(docker) => docker.access_rules(deployment),
            Self::Embedded(embedded) => embedded.access_rules(deployment),
        }
    }

    /// Takes those rules away by hand.
    ///
    /// # Panics
    /// There are none.
    pub fn lose_access_rules(&self, deployment: &str) {
        assert!(self.access_rules(deployment) > 0, "{deployment} has no access list");
        match self {
            Self::Docker(docker) => {
                self.only(deployment).iter().for_each(|one| docker.lose_access_rules(one))
            }
            Self::Embedded(embedded) => embedded.lose_access_rules(),
        }
    }

    /// What is left of containers on its network, a line each.
    #[must_use]
    pub fn remains(&self) -> Vec<String> {
        match self {
            Self::Docker(docker) => docker.remains(),
            Self::Embedded(embedded) => embedded.remains(),
        }
    }

    /// Takes everything of it away: what an operator does who gives an installation up.
    pub fn remove(&self) {
        match self {
            Self::Docker(docker) => docker.remove(),
            Self::Embedded(embedded) => embedded.remove(),
        }
    }
}
