//! How a container calls back: the numbers and tokens that are injected into it. All four are derived from the
//! installation's key and the deployment's id, so nothing of them is stored; each is good for one deployment and one
//! purpose, and only while the deployment lives.

use spawnpoint_model::DeploymentId;
use spawnpoint_store::Vault;
use subtle::ConstantTimeEq;

/// What a callback is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Stop the own deployment.
    SelfStop,
    /// Ask about the own deployment, and tag it.
    Context,
}

impl Purpose {
    const fn word(self) -> &'static str {
        match self {
            Self::SelfStop => "self-stop",
            Self::Context => "context",
        }
    }
}

/// The secret of a callback, 32 hex digits: the first 128 bits of HMAC-SHA256 over the id.
#[must_use]
pub fn token(vault: &Vault, purpose: Purpose, id: DeploymentId) -> String {
    let mac = vault.mac(purpose.word(), id.to_string().as_bytes());
    mac.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The number in a callback's URL, 1 to 999,999: old clients read it as an `i32`.
#[must_use]
pub fn number(vault: &Vault, purpose: Purpose, id: DeploymentId) -> u32 {
    let mac = vault.mac(purpose.word(), format!("number {id}").as_bytes());
    let bits = mac.iter().take(4).fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    bits % 999_999 + 1
}

/// Whether `given` is the token, in a time that does not depend on where they differ.
#[must_use]
pub fn token_matches(vault: &Vault, purpose: Purpose, id: DeploymentId, given: &str) -> bool {
    token(vault, purpose, id).as_bytes().ct_eq(given.as_bytes()).into()
}

/// Whether `given` is the number.
#[must_use]
pub fn number_matches(vault: &Vault, purpose: Purpose, id: DeploymentId, given: &str) -> bool {
    number(vault, purpose, id).to_string() == given
}
