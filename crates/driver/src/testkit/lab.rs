//! What a case works with: a driver, specs that do not collide, patience, and a voice into the workload.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use spawnpoint_model::units::Resources;
use spawnpoint_model::{
    CpuUnits, DeploymentId, HostId, InstallationId, MemoryMib, Plaintext, Transport, WorkloadId,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Failed, Outcome, Program, RealWorld, Subject};
use crate::{Driver, DriverError, PortPublish, Running, Security, WorkloadSpec};

/// How long a case waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const AGAIN: Duration = Duration::from_millis(20);
/// For one answer of a workload.
const ANSWER: Duration = Duration::from_secs(10);
/// For the answer to an attempt, which may be a hundred thousand system calls on a machine that is emulated.
const ATTEMPT: Duration = Duration::from_secs(60);
/// The container port of every workload.
const GAME_PORT: u16 = 7777;

/// Host ports are taken from here upwards: below every range that a kernel gives to clients.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A case's surroundings.
pub struct Lab {
    /// The driver under test.
    pub driver: Arc<dyn Driver>,
    subject: Arc<dyn Subject>,
    installation: InstallationId,
    host: HostId,
    made: Mutex<Vec<(Arc<dyn Driver>, WorkloadId)>>,
}

impl Lab {
    /// A lab of the suite's own installation and host.
    pub(super) async fn new(subject: Arc<dyn Subject>) -> Result<Self, Failed> {
        let (installation, host) = (own_installation(), own_host());
        let driver = subject.driver(&installation, &host).await?;
        Ok(Self { driver, subject, installation, host, made: Mutex::default() })
    }

    /// The same lab on another host or in another installation of the same engine.
    pub(super) async fn elsewhere(&self, installation: &InstallationId, host: &str) -> Result<Self, Failed> {
        let host = HostId::from(host);
        let driver = self.subject.driver(installation, &host).await?;
        let subject = Arc::clone(&self.subject);
        Ok(Self { driver, subject, installation: installation.clone(), host, made: Mutex::default() })
    }

    pub(super) fn subject(&self) -> &dyn Subject {
        &*self.subject
    }

    /// What can be looked at in the real world. Cases that need it are not played without it.
    pub(super) fn world(&self) -> Result<RealWorld, Failed> {
        self.subject.real_world().ok_or_else(|| Failed("this case needs real processes".to_owned()))
    }

    pub(super) const fn installation(&self) -> &InstallationId {
        &self.installation
    }

    /// A new workload that does this, with one host port for UDP and TCP.
    pub(super) async fn spec(&self, program: Program) -> Result<WorkloadSpec, Failed> {
        let id = new_id();
        let external = free_port(self.subject.real_world().is_some());
        let mut spec = small_workload(id, external);
        (spec.installation, spec.host) = (self.installation.clone(), self.host.clone());
        self.subject.arrange(program, &mut spec).await?;
        self.note(id);
        Ok(spec)
    }

    /// Lets [`Self::clear`] look after this workload.
    pub(super) fn note(&self, id: WorkloadId) {
        self.made.lock().push((Arc::clone(&self.driver), id));
    }

    /// A new workload that does this, ensured.
    pub(super) async fn started(&self, program: Program) -> Result<WorkloadSpec, Failed> {
        let spec = self.spec(program).await?;
        self.driver.ensure(&spec).await?;
        Ok(spec)
    }

    /// A new workload that does this, ensured and listening.
    pub(super) async fn serving(&self, program: Program) -> Result<WorkloadSpec, Failed> {
        let spec = self.started(program).await?;
        self.until_listening(&spec).await?;
        Ok(spec)
    }

    pub(super) async fn until_listening(&self, spec: &WorkloadSpec) -> Outcome {
        let listening = || async { Ok(self.driver.listening(spec.id, &spec.ports).await?) };
        self.until("it listens", listening).await
    }

    /// Its state; fails if it is gone.
    pub(super) async fn state(&self, id: WorkloadId) -> Result<Running, Failed> {
        let observed = self.driver.inspect(id).await?;
        observed.map(|observed| observed.state).ok_or_else(|| Failed(format!("{id} is gone")))
    }

    /// Waits until it has ended, and tells how.
    pub(super) async fn exit(&self, id: WorkloadId) -> Result<(i32, bool), Failed> {
        self.until("it has ended", || async { Ok(matches!(self.state(id).await?, Running::Exited(_))) })
            .await?;
        match self.state(id).await? {
            Running::Exited(exit) => Ok((exit.code, exit.oom)),
            other => Err(Failed(format!("{id} is {other:?} again"))),
        }
    }

    /// Looks until it is so. `what` completes "in vain waited until …".
    pub(super) async fn until<F>(&self, what: &str, mut look: impl FnMut() -> F) -> Outcome
    where
        F: Future<Output = Result<bool, Failed>>,
    {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !look().await? {
            if tokio::time::Instant::now() > end {
                return Err(Failed(format!("in vain waited until {what}")));
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    /// Asks the workload over TCP from this machine.
    pub(super) async fn ask(&self, spec: &WorkloadSpec, question: &str) -> Result<String, Failed> {
        ask_tcp(local(spec), question).await
    }

    /// Lets the abuser make one of its attempts.
    pub(super) async fn attempt(&self, spec: &WorkloadSpec, name: &str) -> Result<String, Failed> {
        ask_tcp_within(ATTEMPT, local(spec), &format!("try {name}")).await
    }

    /// Removes every workload of the case and checks that nothing is left of them.
    pub(super) async fn clear(&self) -> Outcome {
        let made = std::mem::take(&mut *self.made.lock());
        for (driver, id) in &made {
            driver.remove(*id).await?;
        }
        let left = self.driver.list().await?;
        if let Some(left) = left.iter().find(|left| made.iter().any(|(_, id)| *id == left.id)) {
            return Err(Failed(format!("{} is left behind", left.id)));
        }
        Ok(())
    }
}

/// The installation of this run: runs at the same time do not see each other's workloads.
#[must_use]
pub fn own_installation() -> InstallationId {
    format!("{:08x}", 0x7e57_0000_u32 ^ std::process::id()).into()
}

/// A workload of the suite's own installation and host that needs little and serves on this port of the host, for UDP and TCP.
/// It lacks an image.
#[must_use]
pub fn small_workload(id: WorkloadId, external: u16) -> WorkloadSpec {
    let publish = |transport| PortPublish { internal: GAME_PORT, external, transport };
    WorkloadSpec {
        id,
        installation: own_installation(),
        host: own_host(),
        image: String::new(),
        command: None,
        arguments: None,
        env: vec![
            ("ARBITRIUM_REQUEST_ID".to_owned(), Plaintext::new(id.deployment.to_string())),
            ("GAME_PORT".to_owned(), Plaintext::new(GAME_PORT.to_string())),
        ],
        ports: vec![publish(Transport::Tcp), publish(Transport::Udp)],
        resources: Resources { cpu: CpuUnits(512), memory: MemoryMib(64) },
        pids_max: 64,
        security: Security::Baseline,
        files: Vec::new(),
        access: None,
        lifetime: None,
    }
}

fn own_host() -> HostId {
    HostId::from("conformance")
}

pub(super) fn new_id() -> WorkloadId {
    let number = (u64::from(std::process::id()) << 24) + NEXT_ID.fetch_add(1, Ordering::Relaxed);
    WorkloadId { deployment: DeploymentId::from_random(number), attempt: 1 }
}

/// A host port that nobody uses, for UDP and TCP. On a fake engine any will do.
fn free_port(really: bool) -> u16 {
    // Runs at the same time begin at different places.
    let start = u16::try_from(std::process::id() % 90).unwrap_or(0) * 100;
    loop {
        let port = 10_000 + (start + NEXT_PORT.fetch_add(1, Ordering::Relaxed)) % 900;
        let address = (Ipv4Addr::UNSPECIFIED, port);
        if !really || (TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()) {
            return port;
        }
    }
}

/// Where this machine reaches the workload's first port.
fn local(spec: &WorkloadSpec) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, spec.ports.first().map_or(0, |port| port.external)).into()
}

/// One line to a TCP port, one line back.
pub(super) async fn ask_tcp(address: SocketAddr, question: &str) -> Result<String, Failed> {
    ask_tcp_within(ANSWER, address, question).await
}

async fn ask_tcp_within(patience: Duration, address: SocketAddr, question: &str) -> Result<String, Failed> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{question}\n").as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        Ok::<_, std::io::Error>(line)
    };
    match tokio::time::timeout(patience, talk).await {
        Ok(Ok(line)) if line.ends_with('\n') => Ok(line.trim_end().to_owned()),
        Ok(Ok(_)) => Err(Failed(format!("{address} hung up instead of answering {question:?}"))),
        Ok(Err(error)) => Err(Failed(format!("{address} does not answer {question:?}: {error}"))),
        Err(_) => Err(Failed(format!("{address} does not answer {question:?} in time"))),
    }
}

/// One datagram, one back; sent again if it was lost.
pub(super) async fn ask_udp(address: SocketAddr, question: &[u8]) -> Result<Vec<u8>, Failed> {
    let any = if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { "::".parse()? };
    let socket = tokio::net::UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    let mut answer = vec![0; 65_536];
    for _ in 0..20 {
        // A refusal of an earlier datagram is reported here; the next one may be taken.
        let _ = socket.send(question).await;
        let received = tokio::time::timeout(ANSWER / 20, socket.recv(&mut answer)).await;
        if let Ok(Ok(length)) = received {
            answer.truncate(length);
            return Ok(answer);
        }
    }
    Err(Failed(format!("{address} does not answer over UDP")))
}

/// What an operation that had to fail came to.
pub(super) fn error_of<T>(result: Result<T, DriverError>) -> Result<DriverError, Failed> {
    result.err().ok_or_else(|| Failed("it worked, and should not have".to_owned()))
}
