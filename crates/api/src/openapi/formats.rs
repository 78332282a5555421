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
        // Of a site, a host, a private fleet.
        "plain-name" => (r"^(?!\.{1,2}$)[A-Za-z0-9._-]{1,63}$".to_owned(), "chicago-1"),
        "ip-address" => (r"^[0-9a-fA-F:.]{2,45}$".to_owned(), "203.0.113.7"),
        "port-range" => (r"^[1-9][0-9]{3,4}-[1-9][0-9]{3,4}$".to_owned(), "30000-32767"),
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
        "cidr" => (cidr(), "203.0.113.0/24"),
        _ => return None,
    })
}

/// A network of IPv4 or IPv6, or an address.
fn cidr() -> String {
    let byte = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    let v4 = format!(r"({byte}\.){{3}}{byte}(/(3[0-2]|[12]?[0-9]))?");
    let group = "[0-9A-Fa-f]{1,4}";
    let gap = |before: u8| format!("({group}:){{1,{before}}}(:{group}){{1,{}}}", 7 - before);
    let gaps: Vec<_> = (1..=6).map(gap).collect();
    let whole = format!("({group}:){{7}}{group}|({group}:){{1,7}}:|:(:{group}){{1,7}}|::");
    format!("^({v4}|({whole}|{})(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$", gaps.join("|"))
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
