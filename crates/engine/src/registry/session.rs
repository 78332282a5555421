//! A conversation with one registry: each question is sent with the login that the last one needed, and once more with
//! another if the registry wants that. Answers are read up to a bound; of them nothing but HTTP's status gets into an error.
//!
//! The login goes to the registry's own address and to the login server that it names, and nowhere else.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use spawnpoint_driver::Credentials;
use url::Url;

use super::challenge::Challenge;
use super::{RegistryError, is_loopback};
use crate::outbound::{Outbound, describe};

/// Bytes of a login server's answer.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// A question.
pub(crate) struct Question {
    method: Method,
    url: Url,
    accept: Option<&'static str>,
    body: Option<(HeaderValue, Bytes)>,
}

impl Question {
    /// With the kinds of answers that are understood.
    pub(crate) const fn accept(mut self, kinds: &'static str) -> Self {
        self.accept = Some(kinds);
        self
    }

    /// With a body.
    pub(crate) fn body(mut self, kind: HeaderValue, body: Bytes) -> Self {
        self.body = Some((kind, body));
        self
    }
}

/// See the module.
pub(crate) struct Session<'a> {
    outbound: &'a Outbound,
    base: Url,
    credentials: Option<&'a Credentials>,
    /// What the registry wanted to see the last time.
    login: Mutex<Option<HeaderValue>>,
}

impl<'a> Session<'a> {
    pub(super) const fn new(outbound: &'a Outbound, base: Url, credentials: Option<&'a Credentials>) -> Self {
        Self { outbound, base, credentials, login: Mutex::new(None) }
    }

    /// The registry's address.
    pub(crate) const fn base(&self) -> &Url {
        &self.base
    }

    /// A question about something below the registry's address. `path` may be an address that the registry named, if it is
    /// one of its own.
    pub(crate) fn about(&self, method: Method, path: &str) -> Result<Question, RegistryError> {
        let url = self.base.join(path).map_err(|error| RegistryError::Address(error.to_string()))?;
        if url.origin() != self.base.origin() || !url.username().is_empty() || url.password().is_some() {
            return Err(RegistryError::Strange("it leads to another address"));
        }
        Ok(Question { method, url, accept: None, body: None })
    }

    /// Asks; once more with a login if the registry wants one.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Response, RegistryError> {
        let kept = self.login.lock().clone();
        let first = self.send(question, kept).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        let Some(login) = self.log_in(&first).await? else { return Ok(first) };
        *self.login.lock() = Some(login.clone());
        self.send(question, Some(login)).await
    }

    /// Asks for something that the registry may keep elsewhere: follows it there once, without the login.
    pub(crate) async fn ask_and_follow(&self, question: &Question) -> Result<Response, RegistryError> {
        let answer = self.ask(question).await?;
        if !answer.status().is_redirection() {
            return Ok(answer);
        }
        let target = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = target.and_then(|text| question.url.join(text).ok());
        let url = target.ok_or(RegistryError::Strange("it leads nowhere"))?;
        if url.scheme() != "https" && !is_loopback(&url) {
            return Err(RegistryError::Strange("it leads to an address without HTTPS"));
        }
        let elsewhere = Question { method: Method::GET, url, accept: None, body: None };
        self.send(&elsewhere, None).await
    }

    async fn send(&self, question: &Question, login: Option<HeaderValue>) -> Result<Response, RegistryError> {
        let Question { method, url, accept, body } = question;
        self.outbound.check_url(url).map_err(RegistryError::Address)?;
        let mut request = self.outbound.client().request(method.clone(), url.clone());
        if let Some(kinds) = accept {
            request = request.header(ACCEPT, *kinds);
        }
        if let Some((kind, body)) = body {
            request = request.header(CONTENT_TYPE, kind).body(body.clone());
        }
        if let Some(login) = login {
            request = request.header(AUTHORIZATION, login);
        }
        request.send().await.map_err(|error| silent(&error))
    }

    /// What the refused question is to be sent with; `None` if nothing is known that would help.
    async fn log_in(&self, refused: &Response) -> Result<Option<HeaderValue>, RegistryError> {
        let challenges = refused.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges = challenges.filter_map(|value| value.to_str().ok());
        match (challenges.filter_map(Challenge::read).next(), self.credentials) {
            (Some(Challenge::Basic), Some(credentials)) => secret("Basic", &basic(credentials)).map(Some),
            (Some(Challenge::Bearer { realm, query }), _) => match self.token(&realm, &query).await? {
                Some(token) => secret("Bearer", &token).map(Some),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// A token of the login server that a registry names; `None` if it gives none.
    async fn token(&self, realm: &str, query: &[(String, String)]) -> Result<Option<String>, RegistryError> {
        let mut url = Url::parse(realm).map_err(|error| RegistryError::Address(error.to_string()))?;
        if url.scheme() != "https" && !is_loopback(&url) {
            return Err(RegistryError::Address("its login server does not speak HTTPS".to_owned()));
        }
        url.query_pairs_mut().extend_pairs(query);
        let question = Question { method: Method::GET, url, accept: None, body: None };
        let login = self.credentials.map(|credentials| secret("Basic", &basic(credentials))).transpose()?;
        let answer = self.send(&question, login).await?;
        match answer.status() {
            status if status.is_success() => {}
            status if matches!(status.as_u16(), 400 | 401 | 403) => {
                return if self.credentials.is_some() { Err(RegistryError::Login) } else { Ok(None) };
            }
            status => return Err(RegistryError::Refused(status.as_u16())),
        }
        let Some(body) = read(answer, TOKEN_BYTES_MAX).await? else {
            return Err(RegistryError::Silent("its login server gave an answer without end".to_owned()));
        };
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let token = body["token"].as_str().or_else(|| body["access_token"].as_str());
        Ok(token.map(str::to_owned))
    }
}

/// The body of an answer; `None` if it has more than `most` bytes.
pub(crate) async fn read(mut answer: Response, most: usize) -> Result<Option<Vec<u8>>, RegistryError> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| silent(&error))? {
        if body.len() + piece.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}

fn basic(Credentials { username, token }: &Credentials) -> String {
    BASE64_STANDARD.encode(format!("{username}:{}", token.reveal()))
}

/// A header's value that no debug output shows.
fn secret(scheme: &str, secret: &str) -> Result<HeaderValue, RegistryError> {
    let value = HeaderValue::try_from(format!("{scheme} {secret}"));
    let mut value = value.map_err(|_| RegistryError::Strange("its login server gave no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn silent(error: &reqwest::Error) -> RegistryError {
    RegistryError::Silent(describe(error))
}
