//! A certificate with its key, which can be replaced while it is in use.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// Certificates in a file: the one that is shown, and those that lead to its authority.
const CHAIN_MAX: usize = 16;

/// Certificate or key cannot be used. The text names no content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CertificateFault(pub String);

/// What is shown to clients.
pub struct Identity(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().clone())
    }
}

impl Identity {
    /// Shows this one.
    #[must_use]
    pub fn new(shown: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(shown)))
    }

    /// Shows another one, from the next connection on.
    pub fn replace(&self, shown: Arc<CertifiedKey>) {
        *self.0.write() = shown;
    }

    /// How TLS is spoken with it.
    ///
    /// # Errors
    /// Never with the provider that is built in.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, CertificateFault> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|err| CertificateFault(err.to_string()))?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Ring, and nothing else.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Certificate and key of DER bytes, checked to belong together.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, CertificateFault> {
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(|err| {
        let text = match err {
            rustls::Error::InconsistentKeys(_) => "the key does not belong to the certificate".to_owned(),
            other => other.to_string(),
        };
        CertificateFault(text)
    })
}

/// A certificate that was issued to us.
#[derive(Clone)]
pub struct Issued {
    /// What is shown.
    pub shown: Arc<CertifiedKey>,
    /// From when it is good, in seconds since 1970.
    pub not_before: u64,
    /// Until when.
    pub not_after: u64,
}

impl Issued {
    /// Of its PEM texts: the certificate with its chain, and its key.
    ///
    /// # Errors
    /// They cannot be read, or do not belong together. The text quotes neither.
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> Result<Self, CertificateFault> {
        let fault = |text: &str| CertificateFault(text.to_owned());
        let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).take(CHAIN_MAX);
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|_| fault("is not PEM"))?;
        let first = chain.first().ok_or_else(|| fault("holds no certificate"))?;
        let read = Certificate::from_der(first).map_err(|_| fault("the certificate cannot be read"))?;
        let validity = read.tbs_certificate.validity;
        let not_before = validity.not_before.to_unix_duration().as_secs();
        let not_after = validity.not_after.to_unix_duration().as_secs();
        let key =
            PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| fault("holds no private key"))?;
        Ok(Self { shown: certified(chain, key)?, not_before, not_after })
    }
}

/// Reads a certificate with its chain, and its key, from PEM files.
///
/// # Errors
/// A sentence that names the file.
pub fn load(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, CertificateFault> {
    let fault = |path: &Path, text: &str| CertificateFault(format!("{}: {text}", path.display()));
    let read = |path: &Path| std::fs::read(path).map_err(|err| fault(path, &err.to_string()));
    let (chain_pem, key_pem) = (read(certificate)?, read(key)?);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain_pem).take(CHAIN_MAX).collect();
    let chain = chain.map_err(|_| fault(certificate, "is no PEM file with certificates"))?;
    if chain.is_empty() {
        return Err(fault(certificate, "holds no certificate (\"-----BEGIN CERTIFICATE-----\")"));
    }
    let found = PrivateKeyDer::from_pem_slice(&key_pem);
    let found = found.map_err(|_| fault(key, "holds no private key (\"-----BEGIN PRIVATE KEY-----\")"))?;
    certified(chain, found).map_err(|CertificateFault(text)| fault(certificate, &text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    fn written(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said_without_what_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let one = Authority::make("one", 1_790_000_000).unwrap();
        let other = Authority::make("other", 1_790_000_000).unwrap();
        let certificate = written(dir.path(), "cert.pem", one.certificate_pem());
        let key = written(dir.path(), "key.pem", &one.key_pem());
        assert!(load(&certificate, &key).is_ok());
        let strange = written(dir.path(), "strange.pem", &other.key_pem());
        let empty = written(dir.path(), "empty.pem", "");
        let missing = dir.path().join("missing.pem");
        for (certificate, key, expected) in [
            (&certificate, &strange, "the key does not belong to the certificate"),
            (&empty, &key, "holds no certificate"),
            (&certificate, &empty, "holds no private key"),
            (&certificate, &certificate, "holds no private key"),
            (&missing, &key, "missing.pem: No such file"),
        ] {
            let err = load(certificate, key).unwrap_err().to_string();
            assert!(err.contains(expected) && !err.contains("PRIVATE KEY-----\nM"), "{err}");
        }
    }
}
