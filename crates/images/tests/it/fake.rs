//! A registry in this process that serves what it is told to, and can be told to misbehave.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use spawnpoint_images::{Digest, Limits, Platform, Reference, Store, StoreOptions};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::tarball::{Item, dir, file, tarball};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub headers: HashMap<String, String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn range(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What happens after the bytes were sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Keep,
    Close,
    Stall,
}

/// What is answered.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub length: Option<usize>,
    pub then: Then,
}

pub fn answer(status: u16) -> Answer {
    Answer { status, headers: Vec::new(), body: Vec::new(), length: None, then: Then::Keep }
}

impl Answer {
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }
}

type Rule = Box<dyn Fn(&Asked) -> Option<Answer> + Send + Sync>;

/// The registry.
#[derive(Default)]
pub struct Fake {
    blobs: Mutex<HashMap<String, Vec<u8>>>,
    manifests: Mutex<HashMap<String, (String, Vec<u8>)>>,
    asked: Mutex<Vec<Asked>>,
    rule: Mutex<Option<Rule>>,
    address: Mutex<Option<SocketAddr>>,
    pub no_ranges: Mutex<bool>,
}

/// A layer as it is sent, and its archive.
#[derive(Clone)]
pub struct Layer {
    pub sent: Vec<u8>,
    pub archive: Vec<u8>,
}

pub fn gzip(archive: &[u8]) -> Layer {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(archive).unwrap();
    Layer { sent: encoder.finish().unwrap(), archive: archive.to_vec() }
}

pub fn zstd(archive: &[u8]) -> Layer {
    Layer { sent: zstd::encode_all(archive, 1).unwrap(), archive: archive.to_vec() }
}

pub fn plain(archive: &[u8]) -> Layer {
    Layer { sent: archive.to_vec(), archive: archive.to_vec() }
}

/// A layer that cannot be compressed, so that its size is known.
pub fn noise(name: &str, bytes: usize) -> Layer {
    let mut state = Digest::of(name.as_bytes());
    let mut data = Vec::with_capacity(bytes + 64);
    while data.len() < bytes {
        state = Digest::of(state.as_str().as_bytes());
        data.extend_from_slice(state.hex().as_bytes());
    }
    data.truncate(bytes);
    plain(&tarball(&[file(name, &data)]))
}

pub fn items(items: &[Item]) -> Vec<u8> {
    tarball(items)
}

pub fn small() -> Layer {
    gzip(&tarball(&[dir("etc"), file("etc/motd", b"hello")]))
}

impl Fake {
    pub async fn start() -> Arc<Self> {
        Self::serve(None).await
    }

    /// With a certificate for `localhost`, and the authority to trust.
    pub async fn start_tls() -> (Arc<Self>, Vec<u8>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pem = key.cert.pem().into_bytes();
        let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![key.cert.der().clone()], private).unwrap();
        (Self::serve(Some(TlsAcceptor::from(Arc::new(config)))).await, pem)
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Arc::new(Self::default());
        *fake.address.lock() = Some(listener.local_addr().unwrap());
        let server = Arc::clone(&fake);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, tls) = (Arc::clone(&server), tls.clone());
                tokio::spawn(async move {
                    // Who tries TLS on a plain port is sent away at once, as web servers do.
                    let mut first = [0];
                    let plain = tls.is_none();
                    if plain && stream.peek(&mut first).await.is_ok() && first == [0x16] {
                        return;
                    }
                    match tls {
                        None => server.talk(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                server.talk(stream).await;
                            }
                        }
                    }
                });
            }
        });
        fake
    }

    pub fn port(&self) -> u16 {
        self.address.lock().unwrap().port()
    }

    /// `127.0.0.1:port/game:tag`
    pub fn reference(&self, tag: &str) -> Reference {
        format!("127.0.0.1:{}/game:{tag}", self.port()).parse().unwrap()
    }

    pub fn rule(&self, rule: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) {
        *self.rule.lock() = Some(Box::new(rule));
    }

    pub fn honest(&self) {
        *self.rule.lock() = None;
    }

    pub fn asked(&self, part: &str) -> Vec<Asked> {
        self.asked.lock().iter().filter(|asked| asked.path.contains(part)).cloned().collect()
    }

    pub fn forget(&self) {
        self.asked.lock().clear();
    }

    pub fn blob(&self, bytes: &[u8]) -> serde_json::Value {
        let digest = Digest::of(bytes);
        self.blobs.lock().insert(digest.to_string(), bytes.to_vec());
        serde_json::json!({"mediaType": "application/octet-stream", "digest": digest, "size": bytes.len()})
    }

    pub fn manifest(&self, tag: &str, kind: &str, manifest: &serde_json::Value) -> Digest {
        let bytes = serde_json::to_vec(manifest).unwrap();
        let digest = Digest::of(&bytes);
        let mut manifests = self.manifests.lock();
        manifests.insert(tag.to_owned(), (kind.to_owned(), bytes.clone()));
        manifests.insert(digest.to_string(), (kind.to_owned(), bytes));
        digest
    }

    /// Puts an image for this machine under a tag.
    pub fn push(&self, tag: &str, kind: &str, layers: &[Layer]) -> Digest {
        self.push_for(tag, kind, layers, &Platform::here())
    }

    pub fn push_for(&self, tag: &str, kind: &str, layers: &[Layer], platform: &Platform) -> Digest {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(&layer.archive)).collect();
        let config = serde_json::json!({
            "os": platform.os, "architecture": platform.architecture,
            "config": {"Entrypoint": ["/game"], "Env": ["TAG=".to_owned() + tag]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": kind,
            "config": self.blob(&serde_json::to_vec(&config).unwrap()),
            "layers": layers.iter().map(|layer| self.blob(&layer.sent)).collect::<Vec<_>>(),
        });
        self.manifest(tag, kind, &manifest)
    }

    async fn talk(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite) {
        let (read, mut write) = tokio::io::split(stream);
        let read = std::pin::pin!(read);
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(request)) = lines.next_line().await {
            let mut headers = HashMap::new();
            while let Ok(Some(header)) = lines.next_line().await {
                let Some((name, value)) = header.split_once(": ") else { break };
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let asked = Asked { path, headers };
            self.asked.lock().push(asked.clone());
            let ruled = self.rule.lock().as_ref().and_then(|rule| rule(&asked));
            let Answer { status, headers, body, length, then } = ruled.unwrap_or_else(|| self.answer(&asked));
            let mut head =
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", length.unwrap_or(body.len()));
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            if write.write_all(head.as_bytes()).await.is_err() || write.write_all(&body).await.is_err() {
                return;
            }
            let _ = write.flush().await;
            match then {
                Then::Keep => {}
                Then::Close => {
                    let _ = write.shutdown().await;
                    return;
                }
                Then::Stall => std::future::pending().await,
            }
        }
    }

    /// What an honest registry says.
    pub fn answer(&self, asked: &Asked) -> Answer {
        let name = asked.path.rsplit('/').next().unwrap_or_default();
        if asked.path.contains("/manifests/") {
            let manifests = self.manifests.lock();
            let Some((kind, bytes)) = manifests.get(name) else { return answer(404) };
            return answer(200).header("content-type", kind).body(bytes);
        }
        let Some(blob) = self.blobs.lock().get(name).cloned() else { return answer(404) };
        match asked.range() {
            Some(start) if !*self.no_ranges.lock() => {
                let range = format!("bytes {start}-{}/{}", blob.len() - 1, blob.len());
                answer(206).header("content-range", &range).body(&blob[start..])
            }
            _ => answer(200).body(&blob),
        }
    }
}

/// Bounds for tests: nobody waits for long.
pub fn limits() -> Limits {
    Limits {
        no_progress: Duration::from_secs(20),
        backoff: Duration::from_millis(5),
        disk_reserve: 0,
        ..Limits::default()
    }
}

/// A store in a directory of its own.
pub struct TestStore {
    pub store: Store,
    pub dir: tempfile::TempDir,
}

pub fn store() -> TestStore {
    store_with(|_| {})
}

pub fn store_with(change: impl FnOnce(&mut StoreOptions)) -> TestStore {
    let dir = tempfile::tempdir().unwrap();
    let mut options = StoreOptions { limits: limits(), ..StoreOptions::default() };
    change(&mut options);
    TestStore { store: Store::open_with(dir.path().join("images"), options).unwrap(), dir }
}

impl TestStore {
    /// The names in one of the store's directories.
    pub fn entries(&self, part: &str) -> Vec<String> {
        let dir = self.dir.path().join("images").join(part);
        let names =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

/// Whether tests that unpack can run; says why not.
pub fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || !required(), "root is required here");
    if !root {
        println!("skipped: images are unpacked by root");
    }
    root
}

/// Whether a missing tool is a failure.
pub fn required() -> bool {
    let is_set = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
    is_set("CI", "true") || is_set("SPAWNPOINT_REQUIRE_DOCKER", "1")
}

/// Waits for something, for 20 s at most.
pub async fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !test() {
        assert!(tokio::time::Instant::now() < end, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
