//! The options of names and certificates: `[dns]`, `[tls]`, `[tls.acme]`, `api.tls`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use spawnpoint_dns::zone::NAME_SERVERS_MAX;

use super::{Config, HttpUrl, Problem};

/// The built-in name server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Where it listens; none = it is off.
    pub listen: Vec<SocketAddr>,
    /// Its names; none = `ns.<suffix>`.
    pub name_servers: Vec<String>,
    /// Addresses of those that lie in the domain.
    pub addresses: Vec<IpAddr>,
    /// Seconds for which an address may be remembered.
    pub seconds: u32,
    /// Questions a second from each network of senders.
    pub questions_per_second: u32,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            name_servers: Vec::new(),
            addresses: Vec::new(),
            seconds: 30,
            questions_per_second: 200,
        }
    }
}

impl Dns {
    /// Addresses to listen on, at most.
    const LISTEN_MAX: usize = 8;

    pub(super) fn check(&self) -> Result<(), Problem> {
        let at = |key: &str, text: String| Err(Problem::at(format!("dns.{key}"), text));
        if self.listen.len() > Self::LISTEN_MAX {
            return at("listen", format!("must be at most {} addresses", Self::LISTEN_MAX));
        }
        if !(1..=3600).contains(&self.seconds) {
            return at("seconds", "must be 1 to 3600".into());
        }
        if self.name_servers.len() > NAME_SERVERS_MAX || self.addresses.len() > NAME_SERVERS_MAX {
            let key = if self.addresses.len() > NAME_SERVERS_MAX { "addresses" } else { "name_servers" };
            return at(key, format!("must be at most {NAME_SERVERS_MAX}"));
        }
        match self.name_servers.iter().find(|name| !is_name(name.trim_end_matches('.'))) {
            Some(name) => {
                at("name_servers", format!("{name:?} must be a domain name, as \"ns1.example.com\""))
            }
            None => Ok(()),
        }
    }
}

/// Whether this is a domain name of several labels.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.contains('.') && name.len() <= 200 && name.split('.').all(is_label)
}

/// A certificate with its chain, and its key; both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate, first in the file, and what leads from it to its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// TLS in front of deployments' ports.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The certificate; `None` = one of the installation's own authority.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The authority that it is got from instead.
    pub acme: Option<Acme>,
    /// Connections that one deployment takes at a time.
    pub connections_per_deployment: u32,
    /// Seconds without a byte after which a connection ends.
    pub idle_seconds: u32,
}

impl Default for Tls {
    fn default() -> Self {
        Self { certificate: None, key: None, acme: None, connections_per_deployment: 1024, idle_seconds: 300 }
    }
}

impl Tls {
    /// Both files, or none.
    #[must_use]
    pub fn files(&self) -> Option<CertificateFiles> {
        let (certificate, key) = (self.certificate.clone()?, self.key.clone()?);
        Some(CertificateFiles { certificate, key })
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let at = |key: &str, text: &str| Err(Problem::at(format!("tls.{key}"), text));
        match (&self.certificate, &self.key) {
            (Some(_), None) => return at("key", "is missing: a certificate has one"),
            (None, Some(_)) => return at("certificate", "is missing: there is a key"),
            _ => {}
        }
        if !(1..=65_536).contains(&self.connections_per_deployment) {
            return at("connections_per_deployment", "must be 1 to 65536");
        }
        if !(5..=86_400).contains(&self.idle_seconds) {
            return at("idle_seconds", "must be 5 to 86400");
        }
        Ok(())
    }
}

/// An authority that speaks ACME.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// Where its directory is.
    pub directory: Option<HttpUrl>,
    /// How it may reach the operator: `mailto:…`.
    pub contact: Vec<String>,
    /// The operator agrees to its terms.
    pub terms_agreed: bool,
    /// Names in the certificate besides `*.<suffix>`.
    pub names: Vec<String>,
    /// The API shows the certificate as well.
    pub api: bool,
    /// Who signs the authority's own certificate, in place of whom this machine trusts.
    pub ca: Option<PathBuf>,
    /// The account at the authority that was made otherwise.
    pub eab: Option<AccountBinding>,
    /// Seconds before the first retry.
    pub retry_seconds: u32,
}

/// External account binding.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountBinding {
    /// The key's name.
    pub kid: String,
    /// A file with the key, in base64url as authorities give it.
    pub key_file: PathBuf,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            directory: None,
            contact: Vec::new(),
            terms_agreed: false,
            names: Vec::new(),
            api: false,
            ca: None,
            eab: None,
            // With doubling, four failures in the first hour: Let's Encrypt takes five.
            retry_seconds: 300,
        }
    }
}

impl Acme {
    /// Names besides the wildcard: each has a TXT value of its own, and all stand in one answer.
    const NAMES_MAX: usize = 4;
    /// Addresses of people.
    const CONTACTS_MAX: usize = 4;

    /// What its certificate is for, in the order in which it is asked for.
    #[must_use]
    pub fn all_names(&self, suffix: &str) -> Vec<String> {
        let mut names = vec![format!("*.{suffix}").to_ascii_lowercase()];
        for name in self.names.iter().map(|name| name.to_ascii_lowercase()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Checks it together with what it depends on.
    pub(super) fn check(&self, config: &Config) -> Result<(), Problem> {
        let at = |key: &str, text: String| Err(Problem::at(format!("tls.acme.{key}"), text));
        if !self.directory.as_ref().is_some_and(|url| url.as_str().starts_with("https://")) {
            let example = "https://acme-v02.api.letsencrypt.org/directory";
            return at(
                "directory",
                format!("must be the https:// address of the authority's directory, as {example:?}"),
            );
        }
        if !self.terms_agreed {
            let text = "must be true: read the authority's terms of service, and say that you agree to them";
            return at("terms_agreed", text.into());
        }
        let is_mail = |one: &&String| {
            one.len() <= 200 && one.strip_prefix("mailto:").is_some_and(|mail| mail.contains('@'))
        };
        if self.contact.len() > Self::CONTACTS_MAX || !self.contact.iter().all(|one| is_mail(&one)) {
            let most = Self::CONTACTS_MAX;
            return at("contact", format!("must be at most {most} addresses, as \"mailto:you@example.com\""));
        }
        if self.names.len() > Self::NAMES_MAX || !self.names.iter().all(|name| is_name(name)) {
            let most = Self::NAMES_MAX;
            return at("names", format!("must be at most {most} domain names, as \"api.example.com\""));
        }
        if !(1..=3600).contains(&self.retry_seconds) {
            return at("retry_seconds", "must be 1 to 3600".into());
        }
        if self.eab.as_ref().is_some_and(|eab| eab.kid.is_empty()) {
            return at("eab", "kid is empty: the authority gives it together with the key".into());
        }
        self.check_neighbours(config)
    }

    fn check_neighbours(&self, config: &Config) -> Result<(), Problem> {
        let at = |key: &str, text: &str| Err(Problem::at(key, text));
        if config.tls.certificate.is_some() {
            return at(
                "tls.acme",
                "cannot be there together with tls.certificate: which of the two is to be shown?",
            );
        }
        if self.api && config.api.tls.is_some() {
            return at(
                "tls.acme.api",
                "cannot be true together with api.tls: which of the two is to be shown?",
            );
        }
        if config.dns.listen.is_empty() {
            return at(
                "tls.acme",
                "needs dns.listen: the authority asks the built-in name server for a TXT record of the domain \
                 (a wildcard is proven by DNS-01 alone)",
            );
        }
        let suffix = &config.domain.suffix;
        if suffix.ends_with(".localhost") || !is_name(suffix) {
            return at("domain.suffix", "must be a domain of yours for tls.acme, as \"play.example.com\"");
        }
        Ok(())
    }
}
