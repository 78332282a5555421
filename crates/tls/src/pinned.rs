//! A client's side that knows one certificate and takes no other, whatever name it is for.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::identity::{CertificateFault, provider};

/// How TLS is spoken with the one server that shows the first certificate of this PEM file.
///
/// # Errors
/// A sentence that names the file.
pub fn pinned(certificate: &Path) -> Result<ClientConfig, CertificateFault> {
    let fault = |text: &str| CertificateFault(format!("{}: {text}", certificate.display()));
    let pem = std::fs::read(certificate).map_err(|err| fault(&err.to_string()))?;
    let first = CertificateDer::from_pem_slice(&pem).map_err(|_| fault("holds no certificate"))?;
    let only = Arc::new(Only { certificate: first, provider: provider() });
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|err| fault(&err.to_string()))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(only).with_no_client_auth())
}

/// Takes one certificate.
#[derive(Debug)]
struct Only {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *shown == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    // That the server has the certificate's key is proven by these, as always.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Acceptor, Authority, Identity};
    use tokio_rustls::TlsConnector;

    #[tokio::test]
    async fn the_one_certificate_is_taken_under_any_name_and_another_of_the_same_authority_is_not() {
        let authority = Authority::make("test", 1_795_000_000).unwrap();
        let issue = || authority.issue(&["a.test".into()], 1_795_000_000).unwrap();
        let (shown, other) = (issue(), issue());
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, key: &rustls::sign::CertifiedKey| {
            let path = dir.path().join(name);
            std::fs::write(&path, pem(&key.cert[0])).unwrap();
            path
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = Identity::new(shown.clone()).server_config().unwrap();
        let mut acceptor = Acceptor::new(listener, config).unwrap();
        let address = acceptor.local_addr();
        tokio::spawn(async move { while acceptor.accept().await.1.port() != 0 {} });
        for (certificate, expected) in [(file("shown.pem", &shown), true), (file("other.pem", &other), false)]
        {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let connector = TlsConnector::from(Arc::new(pinned(&certificate).unwrap()));
            let name = ServerName::try_from("127.0.0.1").unwrap();
            assert_eq!(connector.connect(name, stream).await.is_ok(), expected, "{certificate:?}");
        }
        assert!(pinned(&dir.path().join("missing.pem")).unwrap_err().to_string().contains("missing.pem"));
    }

    /// Base64 in lines between two marks.
    fn pem(der: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in der.chunks(48) {
            for three in line.chunks(3) {
                let bits = (0..3)
                    .fold(0_usize, |bits, i| bits << 8 | usize::from(three.get(i).copied().unwrap_or(0)));
                for i in 0..4 {
                    let digit = char::from(DIGITS[(bits >> (18 - 6 * i)) & 63]);
                    text.push(if i <= three.len() { digit } else { '=' });
                }
            }
            text.push('\n');
        }
        text + "-----END CERTIFICATE-----\n"
    }
}
