//! Secrets. A row, a log line or an answer only ever holds the sealed form; the plain form exists for the moment in
//! which a container is made or a webhook is called.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An encrypted secret, as text. Only the store's vault makes and opens it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// A secret in the clear. Cannot be printed, compared or serialized.
#[derive(Clone)]
pub struct Plaintext(String);

impl Plaintext {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself. Every call is a place to look at in a review.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plaintext(…)")
    }
}
