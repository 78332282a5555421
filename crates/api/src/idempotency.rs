//! The `Idempotency-Key` header of the deploy calls: the same key with the same body is the same deployment.

use axum::http::HeaderMap;
use sha2::{Digest, Sha256};
use spawnpoint_engine::Idempotency;
use spawnpoint_model::Invalid;
use spawnpoint_model::limits::IDEMPOTENCY_KEY_CHARS_MAX;

use crate::error::ApiError;

const HEADER: &str = "idempotency-key";

/// Reads the header; an absent one asks for nothing.
///
/// # Errors
/// 400 for two of them, an empty, too long or unprintable one.
pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<Option<Idempotency>, ApiError> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim();
    if values.next().is_some()
        || key.is_empty()
        || key.len() > IDEMPOTENCY_KEY_CHARS_MAX
        || key.contains('\t')
    {
        let problem =
            format!("must be one header with 1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters");
        return Err(Invalid::new("Idempotency-Key", problem).into());
    }
    Ok(Some(Idempotency { key: key.to_owned(), body_hash: Sha256::digest(body).into() }))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(values: &[&'static str]) -> Result<Option<Idempotency>, ApiError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_static(value));
        }
        read(&headers, b"{}")
    }

    #[test]
    fn a_key_stands_with_the_hash_of_its_body() {
        assert!(with(&[]).unwrap().is_none());
        let read = with(&[" order-7 "]).unwrap().unwrap();
        assert_eq!(read.key, "order-7");
        assert_eq!(read.body_hash[..2], [0x44, 0x13]);
    }

    #[test]
    fn unusable_keys_are_refused() {
        let long: &'static str = Box::leak("x".repeat(256).into_boxed_str());
        for bad in [&[""][..], &["a", "b"], &["a\tb"], &[long]] {
            assert_eq!(with(bad).unwrap_err().status(), 400, "{bad:?}");
        }
    }
}
