//! Seals secrets under the installation's master key (XChaCha20-Poly1305) and derives tokens from it (HMAC-SHA256).
//!
//! A sealed text is `v1.<key id>.<base64 of nonce and ciphertext>`. The purpose (`"env"`, `"registry"`, …) and the key
//! id are authenticated with it: a secret that was moved to another use, or that another key sealed, does not open.
//! Neither key nor plain text is ever part of an error.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use spawnpoint_model::{Plaintext, Sealed};

use crate::error::StoreError;

const FORMAT: &str = "v1";
const NONCE_BYTES: usize = 24;

/// The keys derived from a master key.
#[derive(Clone)]
pub struct Vault {
    cipher: XChaCha20Poly1305,
    mac_key: [u8; 32],
    key_id: String,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({})", self.key_id)
    }
}

impl Vault {
    /// Derives the keys: one for sealing, one for [`Vault::mac`], and a public id to tell master keys apart.
    #[must_use]
    pub fn from_master_key(master: [u8; 32]) -> Self {
        let id = hmac(&master, &[b"spawnpoint key id"]);
        Self {
            cipher: XChaCha20Poly1305::new(&hmac(&master, &[b"spawnpoint seal"]).into()),
            mac_key: hmac(&master, &[b"spawnpoint mac"]),
            key_id: id[..4].iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// Encrypts a secret for a purpose. Each call gives another text.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn seal(&self, secret: &Plaintext, purpose: &str) -> Result<Sealed, StoreError> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let context = self.context(purpose);
        let payload = Payload { msg: secret.reveal().as_bytes(), aad: context.as_bytes() };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| StoreError::Internal("a secret could not be sealed".into()))?;
        let text = STANDARD_NO_PAD.encode([nonce.as_slice(), &sealed].concat());
        Ok(Sealed(format!("{FORMAT}.{}.{text}", self.key_id)))
    }

    /// Decrypts a secret that was sealed for this purpose.
    ///
    /// # Errors
    /// [`StoreError::WrongMasterKey`] if another key sealed it, [`StoreError::Corrupt`] if it was changed or sealed
    /// for another purpose.
    pub fn open(&self, sealed: &Sealed, purpose: &str) -> Result<Plaintext, StoreError> {
        let damaged = || StoreError::Corrupt(format!("the sealed secret for {purpose:?} does not open"));
        let rest =
            sealed.0.strip_prefix(FORMAT).and_then(|rest| rest.strip_prefix('.')).ok_or_else(damaged)?;
        let (key_id, text) = rest.split_once('.').ok_or_else(damaged)?;
        if key_id != self.key_id {
            return Err(StoreError::WrongMasterKey);
        }
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| damaged())?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(damaged)?;
        let context = self.context(purpose);
        let payload = Payload { msg: ciphertext, aad: context.as_bytes() };
        let secret = self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| damaged())?;
        String::from_utf8(secret).map(Plaintext::new).map_err(|_| damaged())
    }

    /// A keyed hash: the same for the same key, purpose and message, and not to be guessed without the key.
    #[must_use]
    pub fn mac(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        // The length keeps (purpose, message) pairs apart.
        let length = u64::try_from(purpose.len()).unwrap_or(u64::MAX).to_be_bytes();
        hmac(&self.mac_key, &[&length, purpose.as_bytes(), message])
    }

    fn context(&self, purpose: &str) -> String {
        format!("{FORMAT}.{}.{purpose}", self.key_id)
    }
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC fills a key up to the hash's block with zeros; done here, the constructor cannot fail.
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new(&block.into());
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Bytes from the system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|e| StoreError::Unavailable(format!("the system gives no randomness: {e}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(byte: u8) -> Vault {
        Vault::from_master_key([byte; 32])
    }

    #[test]
    fn a_secret_opens_for_its_purpose_only() {
        let sealed = vault(1).seal(&Plaintext::new("hunter2"), "env").unwrap();
        assert!(!sealed.0.contains("hunter2"));
        assert_eq!(vault(1).open(&sealed, "env").unwrap().reveal(), "hunter2");
        assert!(matches!(vault(1).open(&sealed, "registry"), Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn another_master_key_is_noticed() {
        let sealed = vault(1).seal(&Plaintext::new("hunter2"), "env").unwrap();
        assert_eq!(vault(2).open(&sealed, "env").unwrap_err(), StoreError::WrongMasterKey);
        let forged = Sealed(sealed.0.replace(&vault(1).key_id, &vault(2).key_id));
        assert!(matches!(vault(2).open(&forged, "env"), Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn a_changed_or_foreign_text_does_not_open_and_does_not_panic() {
        let vault = vault(1);
        let sealed = vault.seal(&Plaintext::new("hunter2"), "env").unwrap().0;
        let mut changed = sealed.clone().into_bytes();
        let middle = changed.len() - 5;
        changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        let short = format!("v1.{}.AAAA", vault.key_id);
        for bad in ["", "v1", "v1.", "v2.x.y", "hunter2", &short, &changed, &sealed[..sealed.len() - 4]] {
            assert!(vault.open(&Sealed(bad.to_owned()), "env").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_same_secret_is_sealed_differently_each_time() {
        let secret = Plaintext::new("hunter2");
        assert_ne!(vault(1).seal(&secret, "env").unwrap(), vault(1).seal(&secret, "env").unwrap());
    }

    #[test]
    fn macs_depend_on_key_purpose_and_message() {
        let base = vault(1).mac("stop", b"a");
        assert_eq!(base, vault(1).mac("stop", b"a"));
        assert_ne!(base, vault(2).mac("stop", b"a"));
        assert_ne!(base, vault(1).mac("context", b"a"));
        assert_ne!(base, vault(1).mac("stop", b"b"));
        assert_ne!(vault(1).mac("sto", b"pa"), base);
    }
}
