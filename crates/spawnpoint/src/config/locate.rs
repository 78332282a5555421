//! Finds the line on which an option stands, for messages.

use toml::de::{DeTable, DeValue};

/// The line (from 1) of the option at `key` (`site[0].host[1].name`), or of the innermost table around it that is there.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut found = None;
    for part in key.split('.') {
        let (name, index) = split_index(part);
        let Some((key, value)) = table.get_key_value(name) else { break };
        let value = match (index, value.get_ref()) {
            (Some(index), DeValue::Array(items)) => items.get(index)?,
            _ => value,
        };
        let span = if index.is_some() { value.span() } else { key.span() };
        found = Some(line_at(text, span.start));
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    found
}

/// `host[1]` is `host` and 1.
fn split_index(part: &str) -> (&str, Option<usize>) {
    match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
        Some((name, index)) => (name, index.parse().ok()),
        None => (part, None),
    }
}

/// The line of a byte.
fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
