//! How an ACME server is spoken with: over HTTPS alone, with bounds on time and size, and with an ear for `Retry-After`.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{Request, Response};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use parking_lot::Mutex;
use reqwest::redirect::Policy;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::identity::{CertificateFault, provider};

/// For one exchange.
const PATIENCE: Duration = Duration::from_secs(30);
/// For the connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer: a chain is a few KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Redirects that are followed: a directory may have moved.
const REDIRECTS_MAX: usize = 3;
/// Certificates in a file.
const AUTHORITIES_MAX: usize = 64;

/// A client for one server. Clones share it.
#[derive(Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    /// The last `Retry-After` of a refusal.
    wish: Arc<Mutex<Option<String>>>,
}

impl Http {
    /// Trusts who is signed by a certificate of this file; `None` = of this machine's store.
    pub(super) fn trusting(ca: Option<&Path>) -> Result<Self, CertificateFault> {
        let fault = |text: String| CertificateFault(text);
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|err| fault(err.to_string()))?
            .with_root_certificates(roots(ca)?)
            .with_no_client_auth();
        #[expect(
            clippy::disallowed_methods,
            reason = "the operator names the authority in the configuration; it may well be in a private network"
        )]
        let builder = reqwest::Client::builder();
        let client = builder
            .tls_backend_preconfigured(config)
            .https_only(true)
            .no_proxy()
            .redirect(Policy::limited(REDIRECTS_MAX))
            .connect_timeout(CONNECT_PATIENCE)
            .timeout(PATIENCE)
            .build()
            .map_err(|err| fault(format!("HTTP client: {err}")))?;
        Ok(Self { client, wish: Arc::default() })
    }

    /// Forgets what was wished before.
    pub(super) fn forget(&self) {
        *self.wish.lock() = None;
    }

    /// For how long the server wishes to be left alone. `now` is in seconds since 1970.
    pub(super) fn retry_after(&self, now: u64) -> Option<Duration> {
        let text = self.wish.lock().clone()?;
        read_wish(text.trim(), now)
    }

    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (parts, body) = request.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let url = parts.uri.to_string();
        let request = self.client.request(parts.method, &url).headers(parts.headers).body(body);
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        if status.is_client_error() || status.is_server_error() {
            let wish = answer.headers().get(RETRY_AFTER).and_then(|wish| wish.to_str().ok());
            *self.wish.lock() = wish.map(str::to_owned);
            let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            if !kind.unwrap_or_default().contains("json") {
                return Err(other(format!("{url} answers {status}, and not as an ACME server does")));
            }
        }
        let mut read = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if read.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(other(format!("{url} answers with more than {ANSWER_BYTES_MAX} bytes")));
            }
            read.extend_from_slice(&chunk);
        }
        let mut response = Response::new(Full::new(read.freeze()));
        *response.status_mut() = status;
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(BytesResponse::from(response))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().exchange(request))
    }
}

/// Who is trusted.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, CertificateFault> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        // One that cannot be read is not trusted; that is all there is to say of it.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let fault = |text: &str| CertificateFault(format!("{}: {text}", path.display()));
    let pem = std::fs::read(path).map_err(|err| fault(&err.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&pem).take(AUTHORITIES_MAX) {
        let certificate = certificate.map_err(|_| fault("is no PEM file with certificates"))?;
        roots.add(certificate).map_err(|err| fault(&err.to_string()))?;
    }
    if roots.is_empty() {
        return Err(fault("holds no certificate (\"-----BEGIN CERTIFICATE-----\")"));
    }
    Ok(roots)
}

/// Seconds, or a date.
fn read_wish(text: &str, now: u64) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(date.as_secs().saturating_sub(now)))
}

fn other(text: String) -> Error {
    Error::Other(text.into())
}

fn failed(err: reqwest::Error) -> Error {
    Error::Other(Box::new(err))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_in_seconds_and_as_a_date() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let then = 784_111_777;
        for (text, expected) in [
            ("120", Some(120)),
            (date, Some(60)),
            ("", None),
            ("-1", None),
            ("soon", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(read_wish(text, then - 60).map(|wish| wish.as_secs()), expected, "{text:?}");
        }
        assert_eq!(read_wish(date, then + 60), Some(Duration::ZERO), "what has passed");
    }

    #[test]
    fn a_file_of_authorities_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert!(roots(Some(&path)).unwrap_err().to_string().contains("ca.pem: No such file"));
        std::fs::write(&path, "nothing").unwrap();
        assert!(roots(Some(&path)).unwrap_err().to_string().contains("holds no certificate"));
        let authority = crate::Authority::make("one", 1_790_000_000).unwrap();
        std::fs::write(&path, authority.certificate_pem()).unwrap();
        assert_eq!(roots(Some(&path)).unwrap().len(), 1);
    }
}
