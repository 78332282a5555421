//! Environment variables: what users may set, and how names are made.

use serde::{Deserialize, Serialize};

use crate::invalid::{Invalid, Invalids};
use crate::limits;
use crate::secret::Sealed;

/// Variables that the platform sets; users cannot.
pub const RESERVED_PREFIX: &str = "ARBITRIUM_";

/// The value of a variable, as it is stored.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvValue {
    /// Shown in answers.
    Plain(String),
    /// Hidden: encrypted at rest, opened only into the container, never shown.
    Hidden(Sealed),
}

/// A variable of a version or of a deploy request.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name, sanitized.
    pub key: String,
    /// Its value.
    pub value: EnvValue,
}

/// Replaces every character outside `[A-Za-z0-9_]` by `_`, and puts `_` before a leading digit, as the platform is
/// documented to sanitize keys.
///
/// # Errors
/// An empty or too long key, or a reserved one; the field is left empty.
pub fn sanitize_key(key: &str) -> Result<String, Invalid> {
    crate::names::check_text(key, 1..=limits::ENV_KEY_CHARS_MAX)?;
    let mut clean: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if clean.starts_with(|c: char| c.is_ascii_digit()) {
        clean.insert(0, '_');
    }
    if clean.to_ascii_uppercase().starts_with(RESERVED_PREFIX) {
        return Err(Invalid::new(
            "",
            format!("must not begin with {RESERVED_PREFIX}: those are set by the platform"),
        ));
    }
    Ok(clean)
}

/// Checks a value: at most 4096 characters, no NUL (a process cannot be given one).
///
/// # Errors
/// What is wrong; the field is left empty.
pub fn check_value(value: &str) -> Result<(), Invalid> {
    let count = value.chars().count();
    if count > limits::ENV_VALUE_CHARS_MAX {
        let problem = format!("must have at most {} characters, not {count}", limits::ENV_VALUE_CHARS_MAX);
        return Err(Invalid::new("", problem));
    }
    if value.contains('\0') {
        return Err(Invalid::new("", "must not hold a NUL character"));
    }
    Ok(())
}

/// Checks the number of variables and that no two have one key.
///
/// # Errors
/// Every problem, under `field[i]`.
pub fn check_list(field: &str, keys: &[String]) -> Result<(), Invalids> {
    let mut invalids = Invalids::default();
    if keys.len() > limits::ENV_VARS_MAX {
        invalids
            .add(field, format!("must hold at most {} entries, not {}", limits::ENV_VARS_MAX, keys.len()));
        return Err(invalids);
    }
    for (i, key) in keys.iter().enumerate() {
        if keys[..i].contains(key) {
            invalids.add(format!("{field}[{i}].key"), format!("{key} is given twice"));
        }
    }
    invalids.into_result()
}

/// The part of `ARBITRIUM_PORT_<NAME>_INTERNAL` that names the port: upper case, every other character `_`.
#[must_use]
pub fn port_variable(port_name: &str) -> String {
    port_name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sanitized_as_documented() {
        assert_eq!(sanitize_key("MY KEY-1").unwrap(), "MY_KEY_1");
        assert_eq!(sanitize_key("1ST").unwrap(), "_1ST");
        assert!(sanitize_key("").is_err());
        assert!(sanitize_key("A\nB").is_err());
    }

    #[test]
    fn the_platforms_variables_cannot_be_overridden() {
        assert!(sanitize_key("ARBITRIUM_PUBLIC_IP").is_err());
        assert!(sanitize_key("arbitrium-delete-token").is_err());
    }

    #[test]
    fn values_may_hold_newlines_but_no_nul() {
        assert!(check_value("a\nb=c?d&e").is_ok());
        assert!(check_value("a\0b").is_err());
        assert!(check_value(&"é".repeat(4096)).is_ok());
        assert!(check_value(&"é".repeat(4097)).is_err());
    }

    #[test]
    fn port_variables_are_upper_case_with_underscores() {
        assert_eq!(port_variable("Game Port"), "GAME_PORT");
        assert_eq!(port_variable("7777"), "7777");
    }
}
