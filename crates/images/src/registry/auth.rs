//! Logins: `Basic`, and `Bearer` with a token service, as registries ask for them.
//!
//! The login goes to the registry itself (`Basic`) or to the token service that the registry names; never to where a redirect leads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{self, HeaderMap, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::{Registry, Trouble, said_no};
use crate::PullError;

/// Bytes of a token service's answer.
const MAX_ANSWER: u64 = 256 << 10;

/// What a registry wants.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

impl Registry {
    /// Gets what the registry wants to see, after it has said so.
    pub(super) async fn log_in(&self, headers: &HeaderMap) -> Result<(), Trouble> {
        let told = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<Challenge> = told.flat_map(challenges).collect();
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let denied = || Trouble::Final(PullError::Denied { status: 401 });
        let value = match (bearer.or(challenges.first()), self.basic()) {
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                self.token(realm, service.as_deref(), scope.as_deref()).await?
            }
            (Some(Challenge::Basic), Some(basic)) => basic,
            _ => return Err(denied()),
        };
        *self.authorization.lock() = Some(value);
        Ok(())
    }

    fn basic(&self) -> Option<HeaderValue> {
        let login = self.credentials.as_ref()?;
        let text = format!("{}:{}", login.username, login.password.reveal());
        secret(&format!("Basic {}", STANDARD.encode(text)))
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<HeaderValue, Trouble> {
        let odd = || PullError::Unreachable("it names a token service that cannot be called".to_owned());
        let mut url = Url::parse(realm).map_err(|_| odd())?;
        if self.base.scheme() == "https" && url.scheme() != "https" {
            return Err(PullError::Forbidden("its token service speaks plain HTTP".to_owned()).into());
        }
        self.check(&url)?;
        let default = format!("repository:{}:pull", self.repository);
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", scope.unwrap_or(&default));
        }
        let mut headers = HeaderMap::new();
        if let Some(basic) = self.basic() {
            headers.insert(header::AUTHORIZATION, basic);
        }
        let response = self.send(&url, &headers, false).await?;
        if !response.status().is_success() {
            return Err(match said_no(response.status(), response.headers()) {
                Trouble::Final(PullError::NotFound) => odd().into(),
                other => other,
            });
        }
        let bytes = self.body(response, MAX_ANSWER).await?;
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| odd())?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty()).ok_or_else(odd)?;
        Ok(secret(&format!("Bearer {token}")).ok_or_else(odd)?)
    }
}

/// A header whose value is not shown by anything that prints headers.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Reads `Bearer realm="…",service="…", Basic realm="…"`. What is not understood is passed over.
fn challenges(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find([' ', ',']).unwrap_or(rest.len());
        let scheme = &rest[..end];
        rest = rest[end..].trim_start_matches([' ', ',']);
        let mut parameters = Vec::new();
        while let Some((name, value, after)) = parameter(rest) {
            parameters.push((name, value));
            rest = after;
        }
        let mut take = |name: &str| {
            let at = parameters.iter().position(|(other, _)| other == name)?;
            Some(parameters.swap_remove(at).1)
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = take("realm")
        {
            found.push(Challenge::Bearer { realm, service: take("service"), scope: take("scope") });
        }
    }
    found
}

/// `name=value` or `name="value"` at the start of a text, and what follows it.
fn parameter(text: &str) -> Option<(String, String, &str)> {
    let equals = text.find('=')?;
    let name = &text[..equals];
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        return None;
    }
    let value = &text[equals + 1..];
    let (value, after) = if let Some(quoted) = value.strip_prefix('"') {
        let mut unquoted = String::new();
        let mut escaped = false;
        let mut end = None;
        for (at, c) in quoted.char_indices() {
            match (escaped, c) {
                (false, '\\') => escaped = true,
                (false, '"') => {
                    end = Some(at + 1);
                    break;
                }
                _ => {
                    escaped = false;
                    unquoted.push(c);
                }
            }
        }
        (unquoted, &quoted[end.unwrap_or(quoted.len())..])
    } else {
        let end = value.find([',', ' ']).unwrap_or(value.len());
        (value[..end].to_owned(), &value[end..])
    };
    Some((name.to_ascii_lowercase(), value, after.trim_start_matches([' ', ','])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) }
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        for (text, expected) in [
            ("Basic realm=\"x\"", vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                "Bearer realm=\"https://a.test/t\",service=\"s\",scope=\"repository:a/b:pull,push\"",
                vec![bearer("https://a.test/t", Some("s"), Some("repository:a/b:pull,push"))],
            ),
            (
                "Negotiate, Bearer realm=https://a.test , Basic realm=\"a \\\"b\\\", c\"",
                vec![bearer("https://a.test", None, None), Challenge::Basic],
            ),
            ("Bearer service=\"no realm\"", vec![]),
            ("Bearer realm=\"open", vec![bearer("open", None, None)]),
            ("", vec![]),
            (",=,\"", vec![]),
        ] {
            assert_eq!(challenges(text), expected, "{text}");
        }
    }
}
