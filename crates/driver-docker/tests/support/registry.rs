//! A registry with one image, on loopback, that refuses, stalls and asks for a login on request.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What it serves, and how.
pub struct Registry {
    manifest: Vec<u8>,
    blobs: HashMap<String, Vec<u8>>,
    /// `Basic …` that must be sent, if any.
    pub login: Option<String>,
    /// Sends the first half of the largest blob and no more.
    pub stalls: bool,
    /// Told when it stalls.
    pub stalled: Notify,
}

impl Registry {
    /// Takes apart an archive of `docker save`.
    pub fn new(archive: &[u8]) -> Self {
        let mut files = HashMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            files.insert(name, bytes);
        }
        let layer = files.remove("layer.tar").unwrap();
        files.remove("manifest.json");
        let (_, config) = files.into_iter().next().unwrap();
        let (config_digest, layer_digest) = (digest(&config), digest(&layer));
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": config.len(),
                "digest": config_digest,
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": layer.len(),
                "digest": layer_digest,
            }],
        });
        Self {
            manifest: serde_json::to_vec(&manifest).unwrap(),
            blobs: HashMap::from([(config_digest, config), (layer_digest, layer)]),
            login: None,
            stalls: false,
            stalled: Notify::new(),
        }
    }

    /// Serves every tag but `nope` from now on; tells its address.
    pub async fn start(self: Arc<Self>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let registry = Arc::clone(&self);
                tokio::spawn(async move { registry.serve(stream).await });
            }
        });
        address
    }

    async fn serve(&self, stream: TcpStream) {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(request)) = lines.next_line().await {
            let mut login = None;
            while let Ok(Some(header)) = lines.next_line().await {
                if header.is_empty() {
                    break;
                }
                let (name, value) = header.split_once(": ").unwrap_or_default();
                if name.eq_ignore_ascii_case("authorization") {
                    login = Some(value.to_owned());
                }
            }
            let path = request.split(' ').nth(1).unwrap_or_default();
            let (status, kind, body) = self.answer(path, login.as_deref());
            let length = body.len();
            let mut head =
                format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n");
            if status.starts_with("401") {
                head.push_str("www-authenticate: Basic realm=\"test\"\r\n");
            } else {
                head.push_str(&format!("docker-content-digest: {}\r\n", digest(body)));
            }
            let body = if request.starts_with("HEAD") { &[][..] } else { body };
            let stall = self.stalls && body.len() > 100_000;
            let body = if stall { &body[..length / 2] } else { body };
            let sent = async {
                write.write_all(format!("{head}\r\n").as_bytes()).await?;
                write.write_all(body).await
            };
            if sent.await.is_err() {
                return;
            }
            if stall {
                self.stalled.notify_one();
                std::future::pending::<()>().await;
            }
        }
    }

    fn answer(&self, path: &str, login: Option<&str>) -> (&'static str, &'static str, &[u8]) {
        if self.login.is_some() && self.login.as_deref() != login {
            return (
                "401 Unauthorized",
                "application/json",
                br#"{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}"#,
            );
        }
        let is_manifest = path.contains("/manifests/") && !path.ends_with("/nope");
        match path.rsplit('/').next().unwrap_or_default() {
            "" => ("200 OK", "application/json", b"{}"),
            _ if is_manifest => ("200 OK", MANIFEST, &self.manifest),
            blob if path.contains("/blobs/") && self.blobs.contains_key(blob) => {
                ("200 OK", "application/octet-stream", &self.blobs[blob])
            }
            _ => (
                "404 Not Found",
                "application/json",
                br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
            ),
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    let hex: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
