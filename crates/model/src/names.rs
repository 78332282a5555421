//! Names that users give. Each is checked once, when it is made; a value of the type is a good one.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::limits;

/// Refuses what no name of ours may hold: control characters, and the invisible ones that let two names look alike
/// (bidirectional overrides, zero-width characters, byte order marks).
///
/// # Errors
/// The field is left empty: the caller knows it.
pub fn check_text(text: &str, chars: std::ops::RangeInclusive<usize>) -> Result<(), Invalid> {
    let count = text.chars().count();
    if !chars.contains(&count) {
        return Err(Invalid::new(
            "",
            format!("must have {} to {} characters, not {count}", chars.start(), chars.end()),
        ));
    }
    if let Some(bad) = text.chars().find(|c| is_invisible(*c)) {
        return Err(Invalid::new(
            "",
            format!("must not hold control or invisible characters (U+{:04X})", u32::from(bad)),
        ));
    }
    Ok(())
}

/// Control characters, bidirectional controls, zero-width characters.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Defines a checked name.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text`.
            ///
            /// # Errors
            /// What is wrong with it; the field is left empty.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                check_text(text, 1..=$max)?;
                let check: fn(&str) -> Result<(), Invalid> = $check;
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

/// Names that stand in a path: no slash, no surrounding blanks, not a path step.
fn path_safe(text: &str) -> Result<(), Invalid> {
    if text.trim() != text {
        return Err(Invalid::new("", "must not begin or end with a blank"));
    }
    if text == "." || text == ".." || text.contains(['/', '\\']) {
        return Err(Invalid::new("", "must not hold a slash or be a path step"));
    }
    Ok(())
}

name!(
    /// An application's name, 1 to 64 characters.
    AppName,
    limits::NAME_CHARS_MAX,
    path_safe
);
name!(
    /// The name of a version of an application, 1 to 64 characters.
    VersionName,
    limits::NAME_CHARS_MAX,
    path_safe
);
name!(
    /// The name of an endpoint storage, 1 to 64 characters.
    StorageName,
    limits::NAME_CHARS_MAX,
    path_safe
);
name!(
    /// A smart fleet's name, 1 to 64 characters.
    FleetName,
    limits::NAME_CHARS_MAX,
    path_safe
);
name!(
    /// The name of a pull profile of an endpoint storage, 1 to 64 characters.
    ProfileName,
    limits::NAME_CHARS_MAX,
    path_safe
);
name!(
    /// The name of a policy of a smart fleet, 1 to 64 characters.
    PolicyName,
    limits::NAME_CHARS_MAX,
    path_safe
);
name!(
    /// The name that a user gave a session, 1 to 64 characters; unique on its deployment.
    CustomId,
    limits::NAME_CHARS_MAX,
    path_safe
);
name!(
    /// A tag, 1 to 40 characters. A comma is allowed, though the injected list is joined by commas.
    TagName,
    limits::TAG_CHARS_MAX,
    |_| Ok(())
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_what_players_of_the_field_use() {
        for good in ["a", "arena", "My Game 2.0", "v1.2.3-rc.1", "日本語", "a_b", &"x".repeat(64)] {
            assert!(AppName::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn names_refuse_what_breaks_paths_terminals_and_eyes() {
        for bad in [
            "",
            &"x".repeat(65),
            "a\0b",
            "a\nb",
            "\u{1b}[31m",
            "a\u{202e}b",
            "a\u{200b}",
            "..",
            "a/b",
            " a",
            "a ",
        ] {
            assert!(AppName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tags_have_one_to_forty_characters() {
        assert!(TagName::parse(&"é".repeat(40)).is_ok());
        assert!(TagName::parse(&"é".repeat(41)).is_err());
        assert!(TagName::parse("ranked,eu").is_ok());
    }
}
