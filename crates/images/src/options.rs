//! What callers may ask for, and the bounds of everything.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use spawnpoint_model::secret::Plaintext;
use url::Url;

/// A login at a registry.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: Plaintext,
}

/// Decides which addresses a registry (or whatever it redirects to) may have.
pub trait AddressPolicy: Send + Sync {
    /// Whether `address` may be connected to. Asked of literal addresses and of everything that a name resolves to; the connector
    /// is given nothing else.
    fn permits(&self, address: IpAddr) -> bool;

    /// Looks at a URL before anything is resolved; the error is a sentence fit for users.
    ///
    /// # Errors
    /// The URL may not be called.
    fn check(&self, url: &Url) -> Result<(), String> {
        let _ = url;
        Ok(())
    }
}

/// Every address may be called.
#[derive(Clone, Copy, Debug)]
pub struct Everywhere;

impl AddressPolicy for Everywhere {
    fn permits(&self, _: IpAddr) -> bool {
        true
    }
}

/// How a store is set up.
#[derive(Clone)]
pub struct StoreOptions {
    /// The bounds.
    pub limits: Limits,
    /// Registries on loopback may speak plain HTTP (if they do not speak TLS).
    pub loopback_http: bool,
    /// Registries (`host` or `host:port`) that may speak plain HTTP wherever they are.
    pub insecure_registries: Vec<String>,
    /// Certificates (PEM) to trust besides those of the machine.
    pub authorities: Vec<Vec<u8>>,
    /// Which addresses may be called.
    pub addresses: Arc<dyn AddressPolicy>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            loopback_http: true,
            insecure_registries: Vec::new(),
            authorities: Vec::new(),
            addresses: Arc::new(Everywhere),
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("limits", &self.limits)
            .field("loopback_http", &self.loopback_http)
            .field("insecure_registries", &self.insecure_registries)
            .finish_non_exhaustive()
    }
}

/// The bounds of everything that others decide.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A pull in which nothing arrives for this long is cut.
    pub no_progress: Duration,
    /// How often in a row a request is tried while it brings nothing new.
    pub attempts: u32,
    /// The wait after the first failure; doubled after each further one.
    pub backoff: Duration,
    /// Layers of one pull that are fetched and unpacked at once.
    pub parallel_layers: usize,
    /// Layers of all pulls that are.
    pub parallel_total: usize,
    /// Bytes of a manifest or an index.
    pub manifest_bytes: u64,
    /// Bytes of a configuration.
    pub config_bytes: u64,
    /// Layers of an image.
    pub layers: usize,
    /// Bytes of a layer as it is sent.
    pub layer_bytes: u64,
    /// Bytes of an image's files.
    pub unpacked_bytes: u64,
    /// Files of an image.
    pub files: u64,
    /// Unpacked bytes for each byte sent, of layers that are larger than [`Self::ratio_from`].
    pub ratio: u64,
    /// Below so many unpacked bytes, nobody looks at how well a layer was compressed.
    pub ratio_from: u64,
    /// Bytes of the disk that images leave free.
    pub disk_reserve: u64,
    /// Redirects of one request.
    pub redirects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            no_progress: Duration::from_secs(60),
            attempts: 5,
            backoff: Duration::from_millis(500),
            parallel_layers: 4,
            parallel_total: 32,
            manifest_bytes: 4 << 20,
            config_bytes: 4 << 20,
            layers: 127,
            layer_bytes: 32 << 30,
            unpacked_bytes: 64 << 30,
            files: 2_000_000,
            ratio: 200,
            ratio_from: 256 << 20,
            disk_reserve: 512 << 20,
            redirects: 5,
        }
    }
}

/// What a machine runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v8`, `v7`, …
    pub variant: Option<String>,
}

impl Platform {
    /// This machine's.
    #[must_use]
    pub fn here() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            "x86" => ("386", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// How a pull is going.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that arrived, over all layers that are fetched.
    pub downloaded: u64,
    /// Bytes that all of them have; none before the manifest is there.
    pub total: Option<u64>,
    /// Bytes of files that were written.
    pub unpacked: u64,
    /// Layers that are in place.
    pub layers_done: usize,
    /// Layers of the image.
    pub layers: usize,
}

/// Is told how a pull is going.
pub type ProgressFn<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// How to pull.
#[derive(Clone, Copy, Default)]
pub struct PullOptions<'a> {
    /// For which platform; this machine's if none.
    pub platform: Option<&'a Platform>,
    /// Who [holds](crate::Store::hold) the image from the moment it is there: nothing can take it away in between.
    pub holder: Option<&'a str>,
    /// Is told how it goes on.
    pub progress: Option<ProgressFn<'a>>,
}

impl fmt::Debug for PullOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullOptions")
            .field("platform", &self.platform)
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

/// What a prune is to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PruneWhat {
    /// Images that no name leads to and nobody holds.
    Nameless,
    /// Every image that nobody holds.
    Unused,
}

/// What a prune took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Images.
    pub images: usize,
    /// Layers.
    pub layers: usize,
    /// Bytes of their files.
    pub bytes: u64,
}

/// What became of an image whose name was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// There was no such name.
    Absent,
    /// The name is gone, the image is known by others.
    Name,
    /// The image is gone.
    Image,
}
