//! Image references: `[registry/]repository[:tag][@digest]`, with Docker Hub's habits for what is left out.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// The longest reference that is taken.
const MAX_LENGTH: usize = 512;
/// The longest repository name, as the distribution specification has it.
const MAX_REPOSITORY: usize = 255;
/// The longest tag, as the distribution specification has it.
const MAX_TAG: usize = 128;

/// A checked reference. Shown in its full form: `docker.io/library/busybox:latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an image reference: {0}")]
pub struct ReferenceError(&'static str);

impl Reference {
    /// Host and port of the registry, as written; `docker.io` for Docker Hub.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Host and port to connect to.
    #[must_use]
    pub fn host(&self) -> &str {
        if self.registry == "docker.io" { "registry-1.docker.io" } else { &self.registry }
    }

    /// The path in the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` if neither a tag nor a digest was written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, which counts more than a tag.
    #[must_use]
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to ask the registry's manifests for.
    #[must_use]
    pub fn selector(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }

    /// As Docker lists it: without what stands for Docker Hub.
    #[must_use]
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").unwrap_or(&full);
        short.strip_prefix("library/").unwrap_or(short).to_owned()
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() || text.len() > MAX_LENGTH {
            return Err(ReferenceError("it must have 1 to 512 characters"));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse().map_err(|_| ReferenceError("what follows @ is no digest"))?;
                (name, Some(digest))
            }
            None => (text, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError("its tag must be 1 to 128 of letters, digits, '_', '.' and '-'"));
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
            _ => ("docker.io", name),
        };
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        if !is_registry(registry) {
            return Err(ReferenceError("its registry must be a host name or address with an optional port"));
        }
        let repository = match registry {
            "docker.io" if !path.contains('/') => format!("library/{path}"),
            _ => path.to_owned(),
        };
        if repository.len() > MAX_REPOSITORY || !repository.split('/').all(is_component) {
            return Err(ReferenceError(
                "its repository must be lower-case letters and digits, separated by '.', '_', '-' and '/'",
            ));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { registry: registry.to_ascii_lowercase(), repository, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

fn is_tag(tag: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= MAX_TAG && bytes.next().is_some_and(fits) && bytes.all(|b| fits(b) || b == b'.' || b == b'-')
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = if let Some(rest) = registry.strip_prefix('[') {
        let Some((host, port)) = rest.split_once(']') else { return false };
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        ("v6", port)
    } else {
        registry.find(':').map_or((registry, ""), |at| registry.split_at(at))
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let port_fits = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => {
            digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|port| port > 0)
        }
    };
    port_fits && host.split('.').all(label)
}

/// Runs of lower-case letters and digits, separated by one dot, one or two underscores, or dashes.
fn is_component(component: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends = |b: Option<&u8>| b.copied().is_some_and(word);
    if !ends(bytes.first()) || !ends(bytes.last()) {
        return false;
    }
    let separator = |s: &[u8]| matches!(s, b"." | b"_" | b"__") || s.iter().all(|b| *b == b'-');
    bytes.split(|b| word(*b)).all(|between| between.is_empty() || separator(between))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_docker_hubs() {
        let digest = Digest::of(b"");
        for (text, full) in [
            ("busybox", "docker.io/library/busybox:latest".to_owned()),
            ("studio/arena:1", "docker.io/studio/arena:1".to_owned()),
            ("index.docker.io/a/b", "docker.io/a/b:latest".to_owned()),
            ("localhost/a", "localhost/a:latest".to_owned()),
            ("127.0.0.1:5000/a/b/c:v1", "127.0.0.1:5000/a/b/c:v1".to_owned()),
            ("[::1]:5000/a", "[::1]:5000/a:latest".to_owned()),
            ("Ghcr.IO/a__b/c-d.e", "ghcr.io/a__b/c-d.e:latest".to_owned()),
            (&format!("r.test/a@{digest}"), format!("r.test/a@{digest}")),
            (&format!("r.test/a:t@{digest}"), format!("r.test/a:t@{digest}")),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), full);
            assert_eq!(full.parse::<Reference>().unwrap().to_string(), full);
        }
        let hub: Reference = "busybox".parse().unwrap();
        assert_eq!((hub.host(), hub.familiar().as_str()), ("registry-1.docker.io", "busybox:latest"));
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        let long = format!("a/{}", "b".repeat(300));
        for bad in [
            "",
            "A",
            "../a",
            "a/../b",
            "a//b",
            "/a",
            "a/",
            "r.test/",
            "a:",
            "a:-t",
            "a:t/b:",
            "a@sha256:00",
            "a b",
            "r.test:0/a",
            "r.test:x/a",
            "r.test:70000/a",
            "user@r.test/a",
            "r.test/a?b",
            "r.test/a#b",
            "-r.test/a",
            "r..test/a",
            "[::1/a",
            "[x]:1/a",
            "a\n",
            "a.",
            "a___b",
            "http://r.test/a",
            &long,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
