//! What a registry wants before it answers, as its `WWW-Authenticate` header says it.

/// What a registry wants before it answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, query: Vec<(String, String)> },
}

impl Challenge {
    /// Reads `Bearer realm="…",service="…",scope="…"` or `Basic realm="…"`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut query) = (None, Vec::new());
        let mut rest = rest.trim_start();
        while let Some((key, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').unwrap_or((after, "")),
            };
            match key.trim().to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                key @ ("service" | "scope") => query.push((key.to_owned(), value.to_owned())),
                _ => {}
            }
            rest = after.trim_start_matches([',', ' ']);
        }
        Some(Self::Bearer { realm: realm?, query })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let text =
            r#"Bearer realm="https://auth.example.com/token",service="reg",scope="repository:a/b:pull,push""#;
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let bearer = Challenge::Bearer {
            realm: "https://auth.example.com/token".to_owned(),
            query: vec![pair("service", "reg"), pair("scope", "repository:a/b:pull,push")],
        };
        assert_eq!(Challenge::read(text), Some(bearer));
        assert_eq!(Challenge::read("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(Challenge::read("basic"), Some(Challenge::Basic));
        for none in ["", "Negotiate", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"x"] {
            assert_eq!(Challenge::read(none), None, "{none}");
        }
    }
}
