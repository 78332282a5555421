//! A certificate authority of an installation's own, for development and for closed groups: clients are told to trust it.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use crate::identity::{CertificateFault, certified};

const DAY: u64 = 24 * 3600;
/// How long the authority is good.
const AUTHORITY_DAYS: u64 = 3650;
/// How long a certificate of it is good. Browsers take no longer ones than 398 days.
const CERTIFICATE_DAYS: u64 = 90;
/// Clients' clocks may be behind by so much.
const BEFORE: u64 = DAY;

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Authority {
    /// Makes one. `name` is shown by clients to people; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// No key can be made.
    pub fn make(name: &str, now: u64) -> Result<Self, CertificateFault> {
        Self::of(name, KeyPair::generate().map_err(fault)?, now)
    }

    /// Makes one of a key that is there already.
    ///
    /// # Errors
    /// The key is none.
    pub fn with_key(name: &str, key_pem: &str, now: u64) -> Result<Self, CertificateFault> {
        Self::of(name, read_key(key_pem)?, now)
    }

    fn of(name: &str, key: KeyPair, now: u64) -> Result<Self, CertificateFault> {
        let params = params(name, now);
        let certificate_pem = params.self_signed(&key).map_err(fault)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem })
    }

    /// The one that was made before under this name.
    ///
    /// # Errors
    /// The key is none.
    pub fn from_pem(name: &str, certificate_pem: &str, key_pem: &str) -> Result<Self, CertificateFault> {
        let key = read_key(key_pem)?;
        // What it issues names it and its key; when it began is nobody's business then.
        Ok(Self { issuer: Issuer::new(params(name, 0), key), certificate_pem: certificate_pem.to_owned() })
    }

    /// Its certificate, for clients that are to trust it.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its key: a secret.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A new certificate for these names and addresses, with a key of its own that exists in memory only.
    ///
    /// # Errors
    /// A name cannot stand in a certificate.
    pub fn issue(&self, names: &[String], now: u64) -> Result<Arc<CertifiedKey>, CertificateFault> {
        let key = KeyPair::generate().map_err(fault)?;
        let mut params = CertificateParams::new(names).map_err(fault)?;
        params.distinguished_name = DistinguishedName::new();
        if let Some(first) = names.first().filter(|name| name.len() <= 64) {
            params.distinguished_name.push(DnType::CommonName, first.as_str());
        }
        good(&mut params, now.saturating_sub(BEFORE), now + CERTIFICATE_DAYS * DAY);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(fault)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        certified(vec![certificate.der().clone()], key)
    }
}

fn params(name: &str, now: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    good(&mut params, now.saturating_sub(BEFORE), now + AUTHORITY_DAYS * DAY);
    params
}

/// Sets from when to when it is good, in seconds since 1970.
fn good(params: &mut CertificateParams, from: u64, until: u64) {
    let at = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = at(from);
    params.not_after = at(until);
}

fn read_key(pem: &str) -> Result<KeyPair, CertificateFault> {
    // What it says may quote the key.
    KeyPair::from_pem(pem).map_err(|_| CertificateFault("holds no private key".to_owned()))
}

fn fault(err: rcgen::Error) -> CertificateFault {
    CertificateFault(err.to_string())
}
