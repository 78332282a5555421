//! Where users keep logs and files: endpoint storages (S3 buckets), and pull profiles (what is copied from one of them into
//! containers before they start).

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::limits;
use crate::names::{self, ProfileName, StorageName};
use crate::secret::Sealed;
use crate::time::Timestamp;

/// How logs are written into a storage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The bytes as they came.
    #[default]
    Text,
    /// One JSON object a line.
    Ndjson,
}

impl LogFormat {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Text, Self::Ndjson];

    /// The word in columns.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Ndjson => "ndjson",
        }
    }

    /// How files of this format end.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Text => "log",
            Self::Ndjson => "ndjson",
        }
    }
}

/// An S3 bucket of a user, and how it is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointStorage {
    /// Its name, unique in the installation.
    pub name: StorageName,
    /// The public half of the credentials.
    pub access_key_id: String,
    /// The secret half.
    pub secret: Sealed,
    /// Address of the S3 service, with scheme, without the bucket.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// How logs are written into it.
    pub format: LogFormat,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a pull profile copies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceType {
    /// One object.
    File,
    /// Everything below a prefix.
    Folder,
}

impl SourceType {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::File, Self::Folder];

    /// The word in columns.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
        }
    }
}

/// What is copied from a storage into containers before they start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PullProfile {
    /// The storage it belongs to.
    pub storage: StorageName,
    /// Its name, unique in the storage.
    pub name: ProfileName,
    /// Where in the bucket.
    pub source: String,
    /// One object or many.
    pub source_type: SourceType,
    /// The folder in the container.
    pub destination: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl PullProfile {
    /// The object's key, or the prefix of all keys, in `bucket`: `source` may begin with the bucket's name. Without
    /// slashes at its ends; empty = the whole bucket.
    #[must_use]
    pub fn key_in(&self, bucket: &str) -> &str {
        let source = self.source.trim_matches('/');
        match source.split_once('/') {
            Some((first, rest)) if first == bucket => rest.trim_matches('/'),
            None if source == bucket && self.source_type == SourceType::Folder => "",
            _ => source,
        }
    }
}

/// A pull profile that an application's version was linked to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PullLink {
    /// The application.
    pub app: crate::names::AppName,
    /// The version.
    pub version: crate::names::VersionName,
    /// The storage of the profile.
    pub storage: StorageName,
    /// The profile.
    pub profile: ProfileName,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last made again.
    pub updated_at: Timestamp,
}

/// Checks a bucket's name by the rules of S3.
///
/// # Errors
/// What is wrong with it.
pub fn check_bucket(name: &str) -> Result<(), Invalid> {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let problem = if !(3..=63).contains(&name.chars().count()) {
        "must have 3 to 63 characters"
    } else if !name.chars().all(|c| alphanumeric(c) || matches!(c, '.' | '-')) {
        "must hold lower-case letters, digits, points and hyphens only"
    } else if !name.starts_with(alphanumeric) || !name.ends_with(alphanumeric) || name.contains("..") {
        "must begin and end with a letter or digit, without two points in a row"
    } else if name.parse::<std::net::Ipv4Addr>().is_ok() {
        "must not look like an IP address"
    } else {
        return Ok(());
    };
    Err(Invalid::new("", problem))
}

/// Checks one half of S3 credentials: they stand in URLs and headers.
///
/// # Errors
/// What is wrong with it. Never the text itself.
pub fn check_credential(text: &str, max: usize) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > max || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Invalid::new(
            "",
            format!("must have 1 to {max} printable ASCII characters without blanks"),
        ));
    }
    Ok(())
}

/// Checks where a pull profile takes from: a path in a bucket without steps, which no URL could express.
///
/// # Errors
/// What is wrong with it.
pub fn check_source(source: &str, source_type: SourceType) -> Result<(), Invalid> {
    names::check_text(source, 1..=limits::OBJECT_KEY_CHARS_MAX)?;
    let inner = source.trim_matches('/');
    if inner.is_empty() {
        if source_type == SourceType::Folder {
            return Ok(());
        }
        return Err(Invalid::new("", "must name a file"));
    }
    if source_type == SourceType::File && source.ends_with('/') {
        return Err(Invalid::new("", "must not end with a slash, since it names a file"));
    }
    check_key(inner)
}

/// Whether every step of a key or path is a name: not empty, not `.` or `..`.
///
/// # Errors
/// Otherwise.
pub fn check_key(key: &str) -> Result<(), Invalid> {
    if key.split('/').any(|step| matches!(step, "" | "." | "..")) || key.chars().any(names::is_invisible) {
        return Err(Invalid::new("", "must not hold empty steps, \".\" or \"..\""));
    }
    Ok(())
}

/// Checks the form of a pull profile's destination: an absolute path without steps back. (Whether it may be written to is
/// seen when a container is made.)
///
/// # Errors
/// What is wrong with it.
pub fn check_destination(path: &str) -> Result<(), Invalid> {
    names::check_text(path, 1..=limits::DESTINATION_CHARS_MAX)?;
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Invalid::new("", "must be an absolute path"));
    };
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() { Ok(()) } else { check_key(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_keep_to_the_rules_of_s3() {
        for good in ["logs", "my-bucket.2026", "a1b", &"x".repeat(63)] {
            assert!(check_bucket(good).is_ok(), "{good}");
        }
        for bad in
            ["", "ab", "My-Bucket", "a_b", "-ab", "ab-", "a..b", "1.2.3.4", "a/b", "a b c", &"x".repeat(64)]
        {
            assert!(check_bucket(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sources_and_destinations_have_no_steps() {
        for good in ["/my-bucket/config.cfg", "config.cfg", "a/b c/ü.json"] {
            assert!(check_source(good, SourceType::File).is_ok(), "{good}");
        }
        for bad in ["", "/", "a/../b", "a//b", "./a", "a/", "a\0"] {
            assert!(check_source(bad, SourceType::File).is_err(), "{bad}");
        }
        assert!(check_source("/", SourceType::Folder).is_ok());
        for good in ["/usr/share/configs", "/data/", "/", "/etc/game"] {
            assert!(check_destination(good).is_ok(), "{good}");
        }
        for bad in ["", "data", "../data", "/a/../etc", "/a//b", "/a\n", "C:\\games"] {
            assert!(check_destination(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_source_may_begin_with_its_bucket() {
        let profile = |source: &str, source_type| PullProfile {
            storage: StorageName::parse("s").unwrap(),
            name: ProfileName::parse("p").unwrap(),
            source: source.into(),
            source_type,
            destination: "/data".into(),
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        };
        let key = |source: &str| profile(source, SourceType::File).key_in("bucket").to_owned();
        assert_eq!(key("/bucket/config.cfg"), "config.cfg");
        assert_eq!(key("config.cfg"), "config.cfg");
        assert_eq!(key("/maps/config.cfg"), "maps/config.cfg");
        assert_eq!(key("bucket"), "bucket");
        let folder = |source: &str| profile(source, SourceType::Folder).key_in("bucket").to_owned();
        assert_eq!(
            (folder("/bucket/"), folder("/"), folder("/bucket/maps/")),
            ("".into(), "".into(), "maps".into())
        );
    }

    #[test]
    fn credentials_are_never_repeated_in_errors() {
        let error = check_credential("hunter 2", 128).unwrap_err();
        assert!(!error.to_string().contains("hunter"));
    }
}
