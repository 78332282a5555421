//! Who calls, and whether they may: the `Authorization` header in all spellings in use, the scope and the rate of each
//! kind of call.
//!
//! Clients send `token X` (the documented form), `Token X`, `Bearer X`, the bare `X`, and, where a plugin adds the word to
//! what the user typed with it, `token token X`. Containers send their own bare token.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use spawnpoint_engine::Error;
use spawnpoint_model::token::{Actor, Scope};

use crate::client::ClientAddress;
use crate::error::ApiError;
use crate::limits::TOKEN_BYTES_MAX;
use crate::rate::Kind;
use crate::state::ApiState;

/// What a call needs.
pub trait Operation: Send + Sync + 'static {
    /// The scope of the token.
    const SCOPE: Scope;
    /// The rate limit that it counts against.
    const RATE: Option<Kind> = None;
}

/// Kinds of calls, for [`Caller`].
pub mod op {
    use spawnpoint_model::token::Scope;

    use super::{Kind, Operation};

    /// Looks at something.
    pub struct Read;
    /// Looks at a status.
    pub struct Status;
    /// Lists deployments, or tags of images: what costs more than other lists.
    pub struct List;
    /// Lists the hosts of a private fleet.
    pub struct Hosts;
    /// Deploys.
    pub struct Deploy;
    /// Stops.
    pub struct Stop;
    /// Changes or reports a deployment.
    pub struct Change;
    /// Changes applications, versions, settings.
    pub struct Administer;

    impl Operation for Read {
        const SCOPE: Scope = Scope::Read;
    }
    impl Operation for Status {
        const SCOPE: Scope = Scope::Read;
        const RATE: Option<Kind> = Some(Kind::Status);
    }
    impl Operation for List {
        const SCOPE: Scope = Scope::Read;
        const RATE: Option<Kind> = Some(Kind::List);
    }
    impl Operation for Hosts {
        const SCOPE: Scope = Scope::Read;
        const RATE: Option<Kind> = Some(Kind::Hosts);
    }
    impl Operation for Deploy {
        const SCOPE: Scope = Scope::Deploy;
        const RATE: Option<Kind> = Some(Kind::Deploy);
    }
    impl Operation for Stop {
        const SCOPE: Scope = Scope::Deploy;
    }
    impl Operation for Change {
        const SCOPE: Scope = Scope::Deploy;
    }
    impl Operation for Administer {
        const SCOPE: Scope = Scope::Admin;
    }
}

/// A caller with a valid token that may do `O` now. As an extractor it answers 401, 403 and 429 by itself.
pub struct Caller<O> {
    /// Who it is.
    pub actor: Actor,
    operation: PhantomData<O>,
}

impl<O: Operation> FromRequestParts<ApiState> for Caller<O> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let outcome = match secret(&parts.headers) {
            Some(secret) => state.engine().authenticate(secret).await,
            None => Err(Error::Unauthorized),
        };
        let actor =
            outcome.map_err(|error| refused(error, ClientAddress::of(parts, state.config()), state))?;
        if !actor.may(O::SCOPE) {
            return Err(ApiError::forbidden(format!("this needs a token with the scope {}", word(O::SCOPE))));
        }
        if let Some(kind) = O::RATE {
            state.rates().check(kind, &actor.token)?;
        }
        Ok(Self { actor, operation: PhantomData })
    }
}

/// The token of a container for its own deployment, not yet checked: the engine does that.
pub struct OwnToken {
    /// The token, if there is a readable one.
    pub secret: Option<String>,
    client: ClientAddress,
}

impl FromRequestParts<ApiState> for OwnToken {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let client = ClientAddress::of(parts, state.config());
        Ok(Self { secret: secret(&parts.headers).map(str::to_owned), client })
    }
}

impl OwnToken {
    /// The error of a verb that checked the token.
    #[must_use]
    pub fn refused(&self, error: Error, state: &ApiState) -> ApiError {
        refused(error, self.client, state)
    }
}

/// A failed login is counted; too many are told to wait.
fn refused(error: Error, client: ClientAddress, state: &ApiState) -> ApiError {
    let limited = match (&error, client.0) {
        (Error::Unauthorized, Some(address)) => state.rates().count_failure(address).err(),
        _ => None,
    };
    limited.unwrap_or_else(|| error.into())
}

/// The secret in the `Authorization` header. Two headers, anything but printable ASCII, or several words have none.
fn secret(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() || value.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return None;
    }
    let is_scheme = |word: &&str| word.eq_ignore_ascii_case("token") || word.eq_ignore_ascii_case("bearer");
    let mut words = text.split(' ').filter(|word| !word.is_empty()).skip_while(is_scheme);
    let secret = words.next()?;
    words.next().is_none().then_some(secret)
}

const fn word(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Deploy => "deploy",
        Scope::Admin => "admin",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        secret(&headers).map(str::to_owned)
    }

    #[test]
    fn every_spelling_in_use_is_read() {
        for good in [
            "token X1",
            "Token X1",
            "TOKEN X1",
            "Bearer X1",
            "bearer X1",
            "X1",
            "token token X1",
            "token  X1",
            "  token X1",
            "token X1  ",
            "Bearer token X1",
            "token   token   X1",
        ] {
            assert_eq!(read(&[good.as_bytes()]).as_deref(), Some("X1"), "{good:?}");
        }
    }

    #[test]
    fn what_could_be_a_trick_is_refused() {
        for bad in
            ["", " ", "token", "Bearer ", "token token", "token X1 X2", "Basic X1", "token\tX1", "token X1\t"]
        {
            assert_eq!(read(&[bad.as_bytes()]), None, "{bad:?}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[b"token X1", b"token X1"]), None);
        assert_eq!(read(&[b"token X\xff"]), None);
        assert_eq!(read(&[&[b'x'; 513]]), None);
    }
}
