//! Formats: what our readers ask of a text beyond its length, named once and written out in the documents as a pattern.
//!
//! A field says `#[schema(format = "name")]`; [`expand`] adds the pattern, and an example where the field has none. The
//! patterns say the same as the checks in `spawnpoint_model`; a test holds the readers against them.

use serde_json::Value;

/// Control characters, bidirectional controls, zero-width characters: `spawnpoint_model::names::is_invisible`.
const INVISIBLE: &str = r"\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff";

const WEB_ADDRESS_EXAMPLE: &str = "https://example.com/hooks/spawnpoint";

fn web_address() -> String {
    format!(r"[hH][tT][tT][pP][sS]?://[^\s/?#\\{INVISIBLE}][^{INVISIBLE}]*$")
}

/// The pattern and an example of a format; `None` for those of JSON Schema itself.
#[must_use]
pub fn describe(format: &str) -> Option<(String, &'static str)> {
    Some(match format {
        "deployment-id" => ("^[0-9a-f]{12}$".to_owned(), "5d1e07a9c34b"),
        "session-id" => ("^[0-9a-f]{12}-s$".to_owned(), "5d1e07a9c34b-s"),
        "fqdn" => (r"^[0-9a-f]{12}\..+$".to_owned(), "5d1e07a9c34b.games.example.com"),
        "v1-time" => {
            (r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}\.\d{6}$".to_owned(), "2026-04-11 08:30:12.004211")
        }
        // One line without anything invisible.
        "line" => (format!("^[^{INVISIBLE}]*$"), "text"),
        // A line with something in it.
        "filled-line" => {
            let text = format!("[^{INVISIBLE}]*");
            (format!(r"^{text}[^\s{INVISIBLE}]{text}$"), "text")
        }
        // A line that may stand in a path.
        "name" => {
            let (edge, inner) = (format!(r"[^\s/\\{INVISIBLE}]"), format!(r"[^/\\{INVISIBLE}]"));
            (format!(r"^(?!\.{{1,2}}$){edge}({inner}*{edge})?$"), "arena")
        }
        // The same, or nothing.
        "name-or-empty" => {
            let (edge, inner) = (format!(r"[^\s/\\{INVISIBLE}]"), format!(r"[^/\\{INVISIBLE}]"));
            (format!(r"^(?!\.{{1,2}}$)({edge}({inner}*{edge})?)?$"), "arena")
        }
        // Several lines, tabs included.
        "prose" => {
            let invisible = INVISIBLE.replace(r"\u0000-\u001f", r"\u0000-\u0008\u000b\u000c\u000e-\u001f");
            (format!("^[^{invisible}]*$"), "text")
        }
        // A variable's name: not one of the platform's own, once it is cleaned.
        "env-key" => {
            (format!(r"^(?![aA][rR][bB][iI][tT][rR][iI][uU][mM][^A-Za-z0-9])[^{INVISIBLE}]+$"), "GAME_MODE")
        }
        // What a process can be given.
        "no-nul" => (r"^[^\u0000]*$".to_owned(), "value"),
        "web-address" => (format!("^{}", web_address()), WEB_ADDRESS_EXAMPLE),
        "web-address-or-empty" => (format!(r"^\s*$|^{}", web_address()), WEB_ADDRESS_EXAMPLE),
        // Steps with names, slashes at the ends.
        "object-key" => (format!("^/*{}/*$", steps()), "/my-bucket/config.cfg"),
        // The same, absolute.
        "container-path" => (format!("^/({}/*)?$", steps()), "/usr/share/configs"),
        _ => return None,
    })
}

/// Steps of a path: not empty, not `.` or `..`.
fn steps() -> String {
    let step = format!(r"(?!\.{{1,2}}(/|$))[^/{INVISIBLE}]+");
    format!("{step}(/{step})*")
}

/// Writes out every format of ours below `value`.
pub fn expand(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let described = object.get("format").and_then(Value::as_str).and_then(describe);
            if let Some((pattern, example)) = described {
                object.entry("pattern").or_insert_with(|| Value::from(pattern));
                if !object.contains_key("example") && !object.contains_key("enum") {
                    object.insert("example".to_owned(), Value::from(example));
                }
            }
            object.values_mut().for_each(expand);
        }
        Value::Array(items) => items.iter_mut().for_each(expand),
        _ => {}
    }
}
