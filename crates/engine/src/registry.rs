//! What Spawnpoint asks container registries: whether they have an image (the OCI distribution API, version 2).
//!
//! What it must not know: versions, rows. It pulls nothing: engines do.
//!
//! Every exchange goes through [`Outbound`], also the one with the login server that a registry names. Answers are read up
//! to a bound, and nothing of them but HTTP's status gets into an error. Registries on loopback speak plain HTTP.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{ACCEPT, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use spawnpoint_driver::Credentials;
use spawnpoint_model::app::ImageSource;
use url::Url;

use crate::outbound::{Network, Outbound, describe};

/// One exchange.
const EXCHANGE: Duration = Duration::from_secs(8);
/// All exchanges of one question.
const QUESTION: Duration = Duration::from_secs(12);
/// Bytes of a login server's answer.
const TOKEN_BYTES_MAX: usize = 64 * 1024;
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
}

/// Asks registries.
#[derive(Clone, Debug)]
pub(crate) struct Registries(Outbound);

impl Registries {
    /// A client that may call public addresses and those in `allowed`.
    pub(crate) fn new(allowed: &[Network]) -> Result<Self, String> {
        Outbound::new(allowed, EXCHANGE).map(Self)
    }

    /// Whether the registry has the image and gives it to this login.
    pub(crate) async fn check(
        &self,
        image: &ImageSource,
        credentials: Option<&Credentials>,
    ) -> Result<(), RegistryError> {
        let base = base(&image.registry)?;
        let tag = if image.tag.is_empty() { "latest" } else { &image.tag };
        let name = name_at(&base, &image.name);
        let path = format!("v2/{name}/manifests/{tag}");
        let url = base.join(&path).map_err(|error| RegistryError::Address(error.to_string()))?;
        let ask = self.ask(Method::HEAD, url, credentials);
        let answer = tokio::time::timeout(QUESTION, ask).await;
        let answer = answer.unwrap_or_else(|_| Err(RegistryError::Silent("no answer in time".to_owned())))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED if credentials.is_some() => Err(RegistryError::Login),
            status if matches!(status.as_u16(), 401 | 403 | 404) => {
                Err(RegistryError::NoImage(status.as_u16()))
            }
            status => Err(RegistryError::Refused(status.as_u16())),
        }
    }

    /// One question; asked again with a login if the registry wants one.
    async fn ask(
        &self,
        method: Method,
        url: Url,
        credentials: Option<&Credentials>,
    ) -> Result<Response, RegistryError> {
        let request =
            || Ok::<_, RegistryError>(self.request(method.clone(), &url)?.header(ACCEPT, MANIFESTS));
        let first = send(request()?).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        let challenges = first.headers().get_all(WWW_AUTHENTICATE);
        let challenges = challenges.iter().filter_map(|value| value.to_str().ok());
        let challenge = challenges.filter_map(Challenge::read).next();
        match (challenge, credentials) {
            (Some(Challenge::Basic), Some(Credentials { username, token })) => {
                send(request()?.basic_auth(username, Some(token.reveal()))).await
            }
            (Some(Challenge::Bearer { realm, query }), _) => {
                let token = self.token(&realm, &query, credentials).await?;
                match token {
                    Some(token) => send(request()?.bearer_auth(token)).await,
                    None => Ok(first),
                }
            }
            _ => Ok(first),
        }
    }

    /// A token of the login server that a registry names; `None` if it gives none.
    async fn token(
        &self,
        realm: &str,
        query: &[(String, String)],
        credentials: Option<&Credentials>,
    ) -> Result<Option<String>, RegistryError> {
        let mut url = Url::parse(realm).map_err(|error| RegistryError::Address(error.to_string()))?;
        if url.scheme() != "https" && !is_loopback(&url) {
            return Err(RegistryError::Address("its login server does not speak HTTPS".to_owned()));
        }
        url.query_pairs_mut().extend_pairs(query);
        let mut request = self.request(Method::GET, &url)?;
        if let Some(Credentials { username, token }) = credentials {
            request = request.basic_auth(username, Some(token.reveal()));
        }
        let mut answer = send(request).await?;
        match answer.status() {
            status if status.is_success() => {}
            status if matches!(status.as_u16(), 400 | 401 | 403) => {
                return if credentials.is_some() { Err(RegistryError::Login) } else { Ok(None) };
            }
            status => return Err(RegistryError::Refused(status.as_u16())),
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| silent(&error))? {
            body.extend_from_slice(&piece);
            if body.len() > TOKEN_BYTES_MAX {
                return Err(RegistryError::Silent("its login server gave an answer without end".to_owned()));
            }
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let token = body["token"].as_str().or_else(|| body["access_token"].as_str());
        Ok(token.map(str::to_owned))
    }

    fn request(&self, method: Method, url: &Url) -> Result<RequestBuilder, RegistryError> {
        self.0.check_url(url).map_err(RegistryError::Address)?;
        Ok(self.0.client().request(method, url.clone()))
    }
}

async fn send(request: RequestBuilder) -> Result<Response, RegistryError> {
    request.send().await.map_err(|error| silent(&error))
}

fn silent(error: &reqwest::Error) -> RegistryError {
    RegistryError::Silent(describe(error))
}

/// What a registry wants before it answers.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, query: Vec<(String, String)> },
}

impl Challenge {
    /// Reads `Bearer realm="…",service="…",scope="…"` or `Basic realm="…"`.
    fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut query) = (None, Vec::new());
        let mut rest = rest.trim_start();
        while let Some((key, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').unwrap_or((after, "")),
            };
            match key.trim().to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                key @ ("service" | "scope") => query.push((key.to_owned(), value.to_owned())),
                _ => {}
            }
            rest = after.trim_start_matches([',', ' ']);
        }
        Some(Self::Bearer { realm: realm?, query })
    }
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

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let text =
            r#"Bearer realm="https://auth.example.com/token",service="reg",scope="repository:a/b:pull,push""#;
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let bearer = Challenge::Bearer {
            realm: "https://auth.example.com/token".to_owned(),
            query: vec![pair("service", "reg"), pair("scope", "repository:a/b:pull,push")],
        };
        assert_eq!(Challenge::read(text), Some(bearer));
        assert_eq!(Challenge::read("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(Challenge::read("basic"), Some(Challenge::Basic));
        for none in ["", "Negotiate", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"x"] {
            assert_eq!(Challenge::read(none), None, "{none}");
        }
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
