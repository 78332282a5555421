//! Certificates of this installation, and the fronts that end TLS in front of deployments' ports.
//!
//! What is shown comes from the configured files, from an authority that is asked by ACME, or from an authority of the
//! installation's own: `ca-key.pem` and `ca.pem` in the data directory, made when they are first needed.
//!
//! ```text
//! [api] tls, or [tls.acme] api ─────▶ Identity ──▶ the API's listener
//! [tls] certificate, acme, or own ──▶ Identity ──▶ a Proxy for each host whose engine is on this machine
//!        └── read again every few seconds if the files changed, and on SIGHUP; the own authority signs anew every month;
//!            what comes by ACME is shown from when it comes until it expires, the own authority's before and after: that
//!            an authority of others is not there keeps no match from starting
//! ```

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use rustls::sign::CertifiedKey;
use spawnpoint_engine::{Clock, Front, FrontError, Guests, SystemClock};
use spawnpoint_model::{DeploymentId, WorkloadId};
use spawnpoint_tls::{
    Acceptor, Authority, CertificateFault, Identity, Limits, Proxy, Route, TlsStream, load,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::acme::{Held, Keeper};
use crate::config::{CertificateFiles, Config, Plan};
use crate::failure::Failure;
use crate::keys;
use crate::opened::Opened;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// After so long a certificate of our own authority is replaced; it is good for three times as long.
const SIGN_EVERY: Duration = Duration::from_secs(30 * 24 * 3600);
/// What people see of our own authority.
const AUTHORITY: &str = "Spawnpoint's own authority";

/// How TLS is spoken by a server.
pub type TlsConfig = Arc<rustls::ServerConfig>;

/// Everything of this process that speaks TLS.
pub struct Tls {
    api: Option<Shown>,
    /// What ends TLS in front of deployments' ports.
    pub fronts: Arc<Fronts>,
    reload: Arc<Notify>,
    clock: Arc<SystemClock>,
    keeper: Option<Arc<Keeper>>,
}

/// A certificate in use, and where it comes from.
#[derive(Clone)]
struct Shown {
    identity: Arc<Identity>,
    source: Source,
    /// A copy of the certificate, for commands that look for the server; `None` = the source is a file.
    copy: Option<PathBuf>,
}

#[derive(Clone)]
enum Source {
    Files(CertificateFiles),
    Own(Own),
    /// What is held, or else the own authority's.
    Acme(Held, Own),
}

/// The own authority, and what it signs for: these names, and the addresses of hosts that were added.
#[derive(Clone)]
struct Own {
    authority: Arc<Authority>,
    names: Vec<String>,
    standing: Arc<Standing>,
}

impl Own {
    fn issue(&self, clock: &SystemClock) -> Result<Arc<CertifiedKey>, CertificateFault> {
        self.authority.issue(&with_addresses(self.names.clone(), self.standing.addresses()), seconds(clock))
    }
}

impl Shown {
    fn of(source: Source, copy: Option<PathBuf>, clock: &SystemClock) -> Result<Self, Failure> {
        let certificate = source.read(clock)?;
        leave_copy(copy.as_deref(), &certificate)?;
        Ok(Self { identity: Identity::new(certificate), source, copy })
    }

    /// Shows what the source has now.
    fn refresh(&self, clock: &SystemClock) -> Result<(), Failure> {
        let certificate = self.source.read(clock)?;
        leave_copy(self.copy.as_deref(), &certificate)?;
        self.identity.replace(certificate);
        Ok(())
    }
}

/// Writes the certificate (it is no secret) to a file that others read.
fn leave_copy(path: Option<&Path>, certificate: &CertifiedKey) -> Result<(), Failure> {
    let (Some(path), Some(first)) = (path, certificate.cert.first()) else { return Ok(()) };
    let body = BASE64_STANDARD.encode(first);
    let lines = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    let draft = path.with_extension("new");
    let text = format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n");
    std::fs::write(&draft, text)
        .and_then(|()| std::fs::rename(&draft, path))
        .map_err(|err| Failure::new(format!("{}: {err}", path.display())))
}

impl Source {
    fn read(&self, clock: &SystemClock) -> Result<Arc<CertifiedKey>, Failure> {
        let made = match self {
            Self::Files(files) => load(&files.certificate, &files.key),
            Self::Own(own) => own.issue(clock),
            Self::Acme(held, own) => match held.good_at(seconds(clock)) {
                Some((_, issued)) => Ok(issued.shown),
                None => own.issue(clock),
            },
        };
        made.map_err(|err| Failure::new(err.to_string()))
    }

    /// What changes when the source does. It may be odd while files are being replaced, and is then odd the next time, too.
    fn stamp(&self, clock: &SystemClock) -> Stamp {
        match self {
            Self::Files(files) => {
                let stamp = |path: &PathBuf| {
                    let metadata = std::fs::metadata(path).ok()?;
                    Some((metadata.modified().ok()?, metadata.len()))
                };
                Stamp::Files([stamp(&files.certificate), stamp(&files.key)])
            }
            Self::Acme(held, _) if let Some((number, _)) = held.good_at(seconds(clock)) => {
                Stamp::Held(number)
            }
            Self::Own(_) | Self::Acme(..) => Stamp::Own(seconds(clock) / SIGN_EVERY.as_secs()),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Stamp {
    Files([Option<(SystemTime, u64)>; 2]),
    Held(u64),
    Own(u64),
}

fn seconds(clock: &SystemClock) -> u64 {
    u64::try_from(clock.now().micros() / 1_000_000).unwrap_or_default()
}

/// The installation's own authority; made if there is none yet.
///
/// # Errors
/// A file cannot be read or written.
pub fn authority(config: &Config) -> Result<Authority, Failure> {
    let dir = &config.data.dir;
    keys::make_data_dir(dir).map_err(Failure::new)?;
    let (key_file, certificate_file) = (dir.join("ca-key.pem"), dir.join("ca.pem"));
    let fault = |path: &PathBuf, text: String| Failure::new(format!("{}: {text}", path.display()));
    let write = |path: &PathBuf, text: &str| match keys::write_once(path, text.trim_end()) {
        // Somebody else was faster: theirs counts.
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(fault(path, err.to_string())),
        _ => Ok(()),
    };
    let now = seconds(&SystemClock::new());
    let failed = |err: CertificateFault| fault(&key_file, err.to_string());
    if !key_file.exists() {
        write(&key_file, &Authority::make(AUTHORITY, now).map_err(failed)?.key_pem())?;
    }
    let key = keys::read_secret(&key_file).map_err(|text| fault(&key_file, text))?;
    if !certificate_file.exists() {
        let made = Authority::with_key(AUTHORITY, key.reveal(), now).map_err(failed)?;
        write(&certificate_file, made.certificate_pem())?;
    }
    let certificate = std::fs::read_to_string(&certificate_file)
        .map_err(|err| fault(&certificate_file, err.to_string()))?;
    Authority::from_pem(AUTHORITY, &certificate, key.reveal()).map_err(failed)
}

impl Tls {
    /// Reads or makes every certificate.
    ///
    /// # Errors
    /// A configured one cannot be used.
    pub async fn open(
        config: &Config,
        plan: &Plan,
        opened: &Opened,
        drain: Duration,
    ) -> Result<Self, Failure> {
        let clock = opened.clock.clone();
        let keeper = match &config.tls.acme {
            Some(acme) => Some(Arc::new(Keeper::open(config, acme, opened).await?)),
            None => None,
        };
        let standing = Arc::new(Standing::default());
        let own = || -> Result<Own, Failure> {
            let names = names(config, plan.hosts.iter().map(|host| host.public_address));
            Ok(Own { authority: Arc::new(authority(config)?), names, standing: standing.clone() })
        };
        let source = match (&keeper, config.tls.files()) {
            (Some(keeper), _) => Source::Acme(keeper.held(), own()?),
            (None, Some(files)) => Source::Files(files),
            (None, None) => Source::Own(own()?),
        };
        let at = |key: &str, result: Result<Shown, Failure>| {
            result.map_err(|err| Failure::misused(format!("{key}: {err}")))
        };
        let api = match &config.api.tls {
            Some(files) => Some(at("api.tls", Shown::of(Source::Files(files.clone()), None, &clock))?),
            None if config.api_speaks_tls() => {
                let copy = config.data.dir.join("api-shown.pem");
                Some(at("tls.acme.api", Shown::of(source.clone(), Some(copy), &clock))?)
            }
            None => None,
        };
        let ports = at("tls.certificate", Shown::of(source, None, &clock))?;
        let limits = Limits {
            connections_per_owner: usize::try_from(config.tls.connections_per_deployment)
                .unwrap_or(usize::MAX),
            idle: Duration::from_secs(config.tls.idle_seconds.into()),
            drain,
        };
        let config = server_config(&ports)?;
        let fronts = Arc::new(Fronts { shown: ports, config, limits, clock: clock.clone(), standing });
        Ok(Self { api, fronts, reload: Arc::new(Notify::new()), clock, keeper })
    }

    /// The file with the certificate that the API shows; `None` = it speaks plain HTTP.
    #[must_use]
    pub fn api_certificate(&self) -> Option<&Path> {
        self.api.as_ref().and_then(|shown| match &shown.source {
            Source::Files(files) => Some(files.certificate.as_path()),
            _ => shown.copy.as_deref(),
        })
    }

    /// How the API speaks TLS; `None` = it does not.
    ///
    /// # Errors
    /// Never with the TLS that is built in.
    pub fn api_config(&self) -> Result<Option<TlsConfig>, Failure> {
        self.api.as_ref().map(server_config).transpose()
    }

    /// Reads certificates again, soon.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Replaces certificates whose source has another one, and keeps what comes by ACME good, until `stop`.
    pub fn watch(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        let shown: Vec<Shown> = self.api.iter().chain([&self.fronts.shown]).cloned().collect();
        let watching = watch(shown, self.reload.clone(), self.held(), self.clock.clone());
        let keeper = self.keeper.clone();
        let keeping = async move {
            match keeper {
                Some(keeper) => keeper.run().await,
                None => std::future::pending().await,
            }
        };
        async move {
            let _ = stop.run_until_cancelled(async { tokio::join!(watching, keeping) }).await;
        }
    }

    /// What comes by ACME; without it, what never changes.
    fn held(&self) -> Held {
        self.keeper.as_ref().map(|keeper| keeper.held()).unwrap_or_default()
    }

    /// Closes all ports.
    pub async fn close(&self) {
        let all = self.fronts.standing.fronts();
        futures_util::future::join_all(all.iter().map(|front| front.0.close())).await;
    }
}

/// Shows what the sources have, for ever.
async fn watch(shown: Vec<Shown>, reload: Arc<Notify>, held: Held, clock: Arc<SystemClock>) {
    let mut known: Vec<Stamp> = shown.iter().map(|shown| shown.source.stamp(&clock)).collect();
    let mut told = HashSet::new();
    loop {
        let asked = tokio::select! {
            () = reload.notified() => true,
            () = held.changed() => false,
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        for (number, (shown, known)) in shown.iter().zip(&mut known).enumerate() {
            let stamp = shown.source.stamp(&clock);
            if stamp == *known && !asked {
                continue;
            }
            match shown.refresh(&clock) {
                Ok(()) => {
                    *known = stamp;
                    told.remove(&number);
                    tracing::info!("a certificate was replaced");
                }
                // Certificate and key are two files: between the two they do not fit. Said once.
                Err(error) if told.insert(number) => {
                    tracing::warn!(error = %error, "a new certificate cannot be used; the one before stays");
                }
                Err(_) => {}
            }
        }
    }
}

fn server_config(shown: &Shown) -> Result<TlsConfig, Failure> {
    shown.identity.server_config().map_err(|err| Failure::new(err.to_string()))
}

/// What certificates of our own authority are for.
fn names(config: &Config, hosts: impl Iterator<Item = IpAddr>) -> Vec<String> {
    let suffix = &config.domain.suffix;
    let mut names = vec![format!("*.{suffix}"), suffix.clone(), "localhost".to_owned()];
    for wanted in config.tls.acme.iter().flat_map(|acme| &acme.names) {
        if !names.contains(wanted) {
            names.push(wanted.clone());
        }
    }
    let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    with_addresses(names, here.into_iter().chain(hosts))
}

/// These names and addresses, each once.
fn with_addresses(mut names: Vec<String>, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<String> {
    for address in addresses {
        let address = address.to_string();
        if !names.contains(&address) {
            names.push(address);
        }
    }
    names
}

/// Puts fronts before hosts that have containers on this machine, those that are added later too.
pub struct Fronts {
    shown: Shown,
    config: TlsConfig,
    limits: Limits,
    clock: Arc<SystemClock>,
    standing: Arc<Standing>,
}

impl Fronts {
    /// A front for a host that players reach at this address, for as long as somebody has it. What is shown is for that
    /// address, too, if it comes from our own authority.
    pub fn stand_before(&self, address: IpAddr) -> Arc<dyn Front> {
        let front = Arc::new(HostFront(Proxy::new(self.config.clone(), self.limits)));
        self.standing.put(&front, address);
        if let Source::Own(own) | Source::Acme(_, own) = &self.shown.source
            && !own.names.contains(&address.to_string())
            && let Err(error) = self.shown.refresh(&self.clock)
        {
            tracing::warn!(%address, error = %error, "the certificate is not for the address of a new host");
        }
        front
    }
}

/// The fronts that somebody has, and where players reach their hosts.
#[derive(Default)]
struct Standing(Mutex<Vec<(Weak<HostFront>, IpAddr)>>);

impl Standing {
    fn put(&self, front: &Arc<HostFront>, address: IpAddr) {
        let mut all = self.0.lock();
        all.retain(|(front, _)| front.strong_count() > 0);
        all.push((Arc::downgrade(front), address));
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let all = self.0.lock();
        all.iter().filter(|(front, _)| front.strong_count() > 0).map(|(_, address)| *address).collect()
    }

    fn fronts(&self) -> Vec<Arc<HostFront>> {
        self.0.lock().iter().filter_map(|(front, _)| front.upgrade()).collect()
    }
}

/// The front of one host.
struct HostFront(Proxy);

impl Front for HostFront {
    fn set_guests(&self, deployment: DeploymentId, guests: &Guests) {
        self.0.set_guests(&deployment.to_string(), guests);
    }

    fn open(
        &self,
        workload: WorkloadId,
        port: u16,
        to: SocketAddr,
        guests: Guests,
    ) -> Result<(), FrontError> {
        let (owner, label) = (workload.deployment.to_string(), workload.to_string());
        self.0.open(&Route { owner, label, port, to }, guests).map_err(|err| match err.kind() {
            io::ErrorKind::AddrInUse => FrontError::PortTaken(port),
            _ => {
                tracing::warn!(port, error = %err, "a TLS port could not be opened");
                FrontError::Failed(format!(
                    "the port {port}, on which TLS is to be ended, could not be opened"
                ))
            }
        })
    }

    fn is_open(&self, workload: WorkloadId, port: u16) -> bool {
        self.0.is_open(&workload.to_string(), port)
    }

    fn close(&self, deployment: DeploymentId) {
        self.0.close_owner(&deployment.to_string());
    }

    fn deployments(&self) -> HashSet<DeploymentId> {
        self.0.owners().iter().filter_map(|owner| owner.parse().ok()).collect()
    }
}

/// The API's listener with TLS.
pub struct SecureListener(Acceptor);

impl SecureListener {
    /// Takes connections of `listener` from now on.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn new(listener: TcpListener, config: TlsConfig) -> io::Result<Self> {
        Acceptor::new(listener, config).map(Self)
    }
}

impl axum::serve::Listener for SecureListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.0.local_addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn config(dir: &std::path::Path) -> Config {
        let mut config = Config::default();
        config.data.dir = dir.join("data");
        config
    }

    #[test]
    fn the_authority_is_made_once_and_its_key_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let first = authority(&config).unwrap();
        assert_eq!(first.certificate_pem(), authority(&config).unwrap().certificate_pem());
        for file in ["ca-key.pem", "ca.pem"] {
            let path = config.data.dir.join(file);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        }
        // The certificate can be made again, of the key.
        std::fs::remove_file(config.data.dir.join("ca.pem")).unwrap();
        assert!(authority(&config).unwrap().certificate_pem().starts_with("-----BEGIN CERTIFICATE-----"));
    }

    #[test]
    fn a_damaged_or_public_key_is_neither_used_nor_replaced_nor_shown() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let key = authority(&config).unwrap().key_pem();
        let path = config.data.dir.join("ca-key.pem");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(authority(&config).err().unwrap().to_string().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let damaged = key[..key.len() / 2].to_owned();
        std::fs::write(&path, &damaged).unwrap();
        let told = authority(&config).err().unwrap().to_string();
        assert!(told.contains("holds no private key") && !told.contains(&key[30..60]), "{told}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
    }

    #[test]
    fn certificates_are_for_the_domain_and_every_address_once() {
        let hosts = ["127.0.0.1", "203.0.113.7"].map(|ip| ip.parse().unwrap());
        let names = names(&Config::default(), hosts.into_iter());
        let expected = [
            "*.spawnpoint.localhost",
            "spawnpoint.localhost",
            "localhost",
            "127.0.0.1",
            "::1",
            "203.0.113.7",
        ];
        assert_eq!(names, expected);
    }
}
