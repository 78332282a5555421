//! Entries of access lists on the wire: `whitelist_entry`.

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::access_lists::NewEntry;
use spawnpoint_model::access::check_label;
use spawnpoint_model::{AccessEntry, Cidr, Invalids};
use utoipa::ToSchema;

use crate::fields::{Fields, Problems};

/// An entry of an access list.
#[derive(Serialize, ToSchema)]
#[schema(as = AppVersionWhitelistEntry)]
pub struct EntryBody<'a> {
    /// Its number.
    #[schema(example = "1807")]
    id: String,
    /// The network that is let in.
    #[schema(example = "203.0.113.0/24")]
    cidr: String,
    /// A note for people.
    #[schema(example = "Matchmaker")]
    label: &'a str,
    /// Whether it counts.
    #[schema(example = true)]
    is_active: bool,
}

impl<'a> EntryBody<'a> {
    /// Of an entry.
    #[must_use]
    pub fn of(entry: &'a AccessEntry) -> Self {
        let AccessEntry { id, network, label, is_active, .. } = entry;
        Self { id: id.to_string(), cidr: network.to_string(), label, is_active: *is_active }
    }
}

/// The answer to a change.
#[derive(Serialize, ToSchema)]
#[schema(as = AppVersionWhitelistEntrySuccess)]
pub struct EntryChangedBody<'a> {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    whitelist_entry: EntryBody<'a>,
}

impl<'a> EntryChangedBody<'a> {
    /// Of an entry that was added or removed.
    #[must_use]
    pub fn of(entry: &'a AccessEntry) -> Self {
        Self { success: true, whitelist_entry: EntryBody::of(entry) }
    }
}

/// The access list of a version.
#[derive(Serialize, ToSchema)]
#[schema(as = AppVersionWhitelistResponse)]
pub struct EntryListBody<'a> {
    whitelist_entries: Vec<EntryBody<'a>>,
}

impl<'a> EntryListBody<'a> {
    /// Of a list.
    #[must_use]
    pub fn of(entries: &'a [AccessEntry]) -> Self {
        Self { whitelist_entries: entries.iter().map(EntryBody::of).collect() }
    }
}

/// A new entry, as [`read_new`] reads it.
#[derive(ToSchema)]
#[schema(as = AppVersionWhitelistEntryPayload)]
pub struct NewEntryBody {
    /// A network, or an address, which is a network of its own. Bits beyond the prefix are cleared.
    #[schema(format = "cidr", example = "203.0.113.0/24")]
    pub cidr: String,
    /// A note for people.
    #[schema(max_length = 255, format = "line", example = "Matchmaker")]
    pub label: Option<String>,
    /// Whether it counts; true if it is not said.
    #[schema(example = true)]
    pub is_active: Option<bool>,
}

/// Reads a new entry.
///
/// # Errors
/// Every bad field.
pub fn read_new(object: &Map<String, Value>) -> Result<NewEntry, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("cidr");
    let network = body.parsed("cidr", Cidr::parse);
    let label = body.parsed("label", |text| check_label(text).map(|()| text.to_owned()));
    let is_active = body.boolean("is_active").unwrap_or(true);
    match network {
        Some(network) if problems.is_empty() => {
            Ok(NewEntry { network, label: label.unwrap_or_default(), is_active })
        }
        _ => Err(problems.into_result().err().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<NewEntry, Vec<String>> {
        let Value::Object(object) = body else { panic!("an object is needed") };
        read_new(&object).map_err(|e| e.0.into_iter().map(|i| i.field).collect())
    }

    #[test]
    fn every_bad_field_of_a_new_entry_is_named() {
        let entry = read(json!({"cidr": "1.2.3.4/16"})).unwrap();
        assert_eq!((entry.network.to_string().as_str(), entry.is_active), ("1.2.0.0/16", true));
        assert_eq!(read(json!({})).unwrap_err(), ["cidr"]);
        for (field, values) in [
            ("cidr", vec![json!(""), json!("1.2.3"), json!("1.2.3.4/33"), json!(16), json!("host")]),
            ("label", vec![json!("x".repeat(256)), json!("a\nb"), json!(5)]),
            ("is_active", vec![json!("yes"), json!(1)]),
        ] {
            for value in values {
                let mut body = json!({"cidr": "10.0.0.0/8"});
                body[field] = value.clone();
                assert_eq!(read(body).unwrap_err(), [field], "{value}");
            }
        }
    }
}
