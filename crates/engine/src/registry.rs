//! What Spawnpoint asks container registries (the OCI distribution API, version 2): whether they have an image, which tags
//! an image has, and that a tag be deleted ([`repository`]).
//!
//! What it must not know: versions, rows, which registry is the installation's own. It pulls nothing: engines do.
//!
//! Every exchange goes through [`Outbound`], also the one with the login server that a registry names. Answers are read up
//! to a bound, and nothing of them but HTTP's status gets into an error. Registries on loopback speak plain HTTP.

mod challenge;
pub(crate) mod repository;
mod session;

use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use spawnpoint_driver::Credentials;
use spawnpoint_model::app::ImageSource;
use url::Url;

use self::session::Session;
use crate::outbound::{Network, Outbound};

/// One exchange.
const EXCHANGE: Duration = Duration::from_secs(8);
/// All exchanges of one question.
const QUESTION: Duration = Duration::from_secs(12);
/// What manifests may be.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// Where images without a registry are.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// Why a registry does not give an image. The sentences are fit for users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistryError {
    /// Its address is not one that may be called, or is none.
    #[error("the registry cannot be asked: {0}")]
    Address(String),
    /// It did not take the credentials that were given.
    #[error("Unable to login with the given credentials")]
    Login,
    /// It has no such image, or does not say so to whom it does not know.
    #[error("the registry does not have the image, or does not give it to this login ({0})")]
    NoImage(u16),
    /// It answered otherwise.
    #[error("the registry answered {0}")]
    Refused(u16),
    /// It did not answer.
    #[error("the registry did not answer: {0}")]
    Silent(String),
    /// It has no repository, or nothing in it, of this name.
    #[error("the registry does not have it")]
    NotThere,
    /// Its answer is none that registries give.
    #[error("the registry gave an answer that cannot be understood: {0}")]
    Strange(&'static str),
    /// It holds more than is looked at.
    #[error(
        "the image has more than {0} tags, which are too many to look at; delete some at the registry itself"
    )]
    TooMany(usize),
    /// It does not delete.
    #[error(
        "the registry does not delete images: that has to be switched on there \
         (Docker's own: REGISTRY_STORAGE_DELETE_ENABLED=true)"
    )]
    NoDeletion,
}

/// Asks registries.
#[derive(Clone, Debug)]
pub(crate) struct Registries(Outbound);

impl Registries {
    /// A client that may call public addresses and those in `allowed`.
    pub(crate) fn new(allowed: &[Network]) -> Result<Self, String> {
        Outbound::new(allowed, EXCHANGE).map(Self)
    }

    /// A conversation with the registry at `host` (no scheme; empty for Docker Hub).
    pub(crate) fn session<'a>(
        &'a self,
        host: &str,
        credentials: Option<&'a Credentials>,
    ) -> Result<Session<'a>, RegistryError> {
        let base = base(host)?;
        self.0.check_url(&base).map_err(RegistryError::Address)?;
        Ok(Session::new(&self.0, base, credentials))
    }

    /// Whether the registry has the image and gives it to this login.
    pub(crate) async fn check(
        &self,
        image: &ImageSource,
        credentials: Option<&Credentials>,
    ) -> Result<(), RegistryError> {
        let session = self.session(&image.registry, credentials)?;
        let tag = if image.tag.is_empty() { "latest" } else { &image.tag };
        let name = name_at(session.base(), &image.name);
        let question = session.about(Method::HEAD, &format!("v2/{name}/manifests/{tag}"))?.accept(MANIFESTS);
        let answer = within(QUESTION, session.ask(&question)).await?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED if credentials.is_some() => Err(RegistryError::Login),
            status if matches!(status.as_u16(), 401 | 403 | 404) => {
                Err(RegistryError::NoImage(status.as_u16()))
            }
            status => Err(RegistryError::Refused(status.as_u16())),
        }
    }
}

/// Ends what takes too long.
pub(crate) async fn within<T>(
    time: Duration,
    asked: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    let answer = tokio::time::timeout(time, asked).await;
    answer.unwrap_or_else(|_| Err(RegistryError::Silent("no answer in time".to_owned())))
}

/// The registry's own address.
fn base(registry: &str) -> Result<Url, RegistryError> {
    let host = match registry {
        "" | "docker.io" | "index.docker.io" => DOCKER_HUB,
        other => other,
    };
    let address = |text: String| Url::parse(&text).map_err(|error| RegistryError::Address(error.to_string()));
    let url = address(format!("https://{host}/"))?;
    if is_loopback(&url) { address(format!("http://{host}/")) } else { Ok(url) }
}

/// Whether a text is a registry's host, with its port or without.
pub(crate) fn is_host(text: &str) -> bool {
    let url = base(text);
    !text.is_empty()
        && url.is_ok_and(|url| url.path() == "/" && url.username().is_empty())
        && !text.contains(['/', '?', '#', '@'])
}

/// An image's name as its registry has it: those of Docker Hub without a user are `library/…`.
fn name_at(base: &Url, name: &str) -> String {
    let is_hub = base.host_str() == Some(DOCKER_HUB);
    if is_hub && !name.contains('/') { format!("library/{name}") } else { name.to_owned() }
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_asked_over_https_but_for_those_on_loopback() {
        for (registry, url) in [
            ("", "https://registry-1.docker.io/"),
            ("docker.io", "https://registry-1.docker.io/"),
            ("registry.example.com:5000", "https://registry.example.com:5000/"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000/"),
            ("localhost:5000", "http://localhost:5000/"),
            ("10.0.0.1", "https://10.0.0.1/"),
        ] {
            assert_eq!(base(registry).unwrap().as_str(), url, "{registry}");
        }
        assert_eq!(name_at(&base("").unwrap(), "alpine"), "library/alpine");
        assert_eq!(name_at(&base("").unwrap(), "studio/arena"), "studio/arena");
        assert_eq!(name_at(&base("127.0.0.1").unwrap(), "arena"), "arena");
    }

    #[tokio::test]
    async fn addresses_that_may_not_be_called_are_not_called() {
        let registries = Registries::new(&[]).unwrap();
        for registry in ["169.254.169.254", "127.0.0.1:5000", "10.0.0.1:5000", "[::1]:5000", "user@10.0.0.1"]
        {
            let image = ImageSource {
                registry: registry.into(),
                name: "a".into(),
                tag: "1".into(),
                username: None,
                token: None,
            };
            let answer = registries.check(&image, None).await;
            assert!(matches!(answer, Err(RegistryError::Address(_))), "{registry}: {answer:?}");
        }
    }
}
