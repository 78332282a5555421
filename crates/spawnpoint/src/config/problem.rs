//! A mistake in the configuration, in words for the person who made it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::locate;

/// A mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file it stands in.
    file: Option<PathBuf>,
    /// The line it stands in, from 1.
    line: Option<usize>,
    /// The option, as `site[0].host[1].port_range`.
    key: Option<String>,
    /// What is wrong and what is allowed.
    text: String,
}

impl Problem {
    /// A mistake that belongs to no option.
    pub fn new(text: impl Into<String>) -> Self {
        Self { file: None, line: None, key: None, text: text.into() }
    }

    /// A mistake in the option at `key`.
    pub fn at(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..Self::new(text) }
    }

    /// The option and what is wrong with it.
    #[must_use]
    pub fn into_parts(self) -> (Option<String>, String) {
        (self.key, self.text)
    }

    /// What the TOML reader found; it shows the line and the allowed keys itself.
    pub(super) fn from_toml(err: &toml::de::Error) -> Self {
        Self::new(err.to_string().trim_end())
    }

    /// The same, in this file.
    #[must_use]
    pub(super) fn in_file(self, file: &Path) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }

    /// The same, with the line on which its option (or the table around it) stands in `text`.
    #[must_use]
    pub(super) fn at_line_of(self, text: &str) -> Self {
        let line = self.key.as_deref().and_then(|key| locate::line_of(text, key));
        Self { line, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if let Some(line) = self.line {
                write!(f, ", line {line}")?;
            }
            f.write_str(": ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.text)
    }
}

impl std::error::Error for Problem {}
