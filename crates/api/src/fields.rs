//! Typed readers over a JSON object that collect every bad field instead of stopping at the first.
//!
//! Each reader notes what is wrong under the field's path (`ports[2].protocol`) and returns `None`; whoever reads goes
//! on and asks [`Problems::into_result`] at the end. `null` counts as absent unless a reader says otherwise.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use spawnpoint_model::names::is_invisible;
use spawnpoint_model::{Invalid, Invalids};

/// What was wrong so far.
#[derive(Default)]
pub struct Problems(RefCell<Invalids>);

impl Problems {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes one.
    pub fn note(&self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.borrow_mut().add(field, problem);
    }

    /// Notes all of these.
    pub fn extend(&self, invalids: Invalids) {
        self.0.borrow_mut().0.extend(invalids.0);
    }

    /// Whether nothing was noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.borrow().0.is_empty()
    }

    /// `Ok` if nothing was noted.
    ///
    /// # Errors
    /// Everything that was noted.
    pub fn into_result(self) -> Result<(), Invalids> {
        self.0.into_inner().into_result()
    }
}

/// The fields of one object.
#[derive(Clone)]
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: String,
    problems: &'a Problems,
}

impl<'a> Fields<'a> {
    /// Of a whole body.
    #[must_use]
    pub fn new(object: &'a Map<String, Value>, problems: &'a Problems) -> Self {
        Self { object, path: String::new(), problems }
    }

    /// The path of `key`, seen from outside.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a problem of `key`.
    pub fn note(&self, key: &str, problem: impl Into<String>) {
        self.problems.note(self.path_of(key), problem);
    }

    /// Keeps a checked value, or notes what is wrong with it.
    pub fn check<T>(&self, key: &str, result: Result<T, Invalid>) -> Option<T> {
        result.map_err(|invalid| self.problems.extend(invalid.within(&self.path_of(key)).into())).ok()
    }

    /// Whether `key` is there, `null` or not.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// Whether `key` is there and `null`.
    #[must_use]
    pub fn is_null(&self, key: &str) -> bool {
        self.object.get(key).is_some_and(Value::is_null)
    }

    /// The raw value, unless it is absent or `null`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Notes `key` if it is absent or `null`.
    pub fn require(&self, key: &str) {
        if self.value(key).is_none() {
            self.note(key, "is missing");
        }
    }

    fn typed<T>(&self, key: &str, wanted: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.value(key)?;
        let read = read(value);
        if read.is_none() {
            self.note(key, format!("must be {wanted}, not {}", kind(value)));
        }
        read
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.typed(key, "a text", Value::as_str)
    }

    /// A text of bounded length without control or invisible characters.
    pub fn line(&self, key: &str, chars: RangeInclusive<usize>) -> Option<&'a str> {
        let text = self.text(key)?;
        self.check(key, spawnpoint_model::names::check_text(text, chars))?;
        Some(text)
    }

    /// A text of bounded length that may hold line breaks and tabs.
    pub fn prose(&self, key: &str, max_chars: usize) -> Option<&'a str> {
        let text = self.text(key)?;
        let count = text.chars().count();
        if count > max_chars {
            self.note(key, format!("must have at most {max_chars} characters, not {count}"));
            return None;
        }
        if text.chars().any(|c| is_invisible(c) && !matches!(c, '\n' | '\r' | '\t')) {
            self.note(key, "must not hold control or invisible characters");
            return None;
        }
        Some(text)
    }

    /// A text that `parse` understands.
    pub fn parsed<T>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, Invalid>) -> Option<T> {
        let text = self.text(key)?;
        self.check(key, parse(text))
    }

    /// A truth value.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// A whole number in a range; `5.0` is one, `"5"` is not.
    pub fn integer<T: TryFrom<i64>>(&self, key: &str, range: RangeInclusive<i64>) -> Option<T> {
        let number = self.typed(key, "a whole number", whole)?;
        let fitting = Some(number).filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok());
        if fitting.is_none() {
            self.note(key, format!("must be {} to {}", range.start(), range.end()));
        }
        fitting
    }

    /// A number.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// A list of at most `max` items.
    pub fn list(&self, key: &str, max: usize) -> Option<&'a [Value]> {
        let items = self.typed(key, "a list", Value::as_array)?;
        if items.len() > max {
            self.note(key, format!("must hold at most {max} entries, not {}", items.len()));
            return None;
        }
        Some(items)
    }

    /// Whether `key` is a list without items.
    #[must_use]
    pub fn is_empty_list(&self, key: &str) -> bool {
        self.value(key).and_then(Value::as_array).is_some_and(Vec::is_empty)
    }

    /// A list of objects. Items that are none are noted and left out.
    pub fn objects(&self, key: &str, max: usize) -> Option<Vec<Self>> {
        let items = self.list(key, max)?;
        let read = |(i, item): (usize, &'a Value)| {
            let path = format!("{}[{i}]", self.path_of(key));
            match item {
                Value::Object(object) => Some(Self { object, path, problems: self.problems }),
                other => {
                    self.problems.note(path, format!("must be an object, not {}", kind(other)));
                    None
                }
            }
        };
        Some(items.iter().enumerate().filter_map(read).collect())
    }

    /// A list of texts that `parse` understands. Items that are none are noted and left out.
    pub fn texts<T>(
        &self,
        key: &str,
        max: usize,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Option<Vec<T>> {
        let items = self.list(key, max)?;
        let read = |(i, item): (usize, &'a Value)| {
            let parsed = match item {
                Value::String(text) => parse(text),
                other => Err(Invalid::new("", format!("must be a text, not {}", kind(other)))),
            };
            let path = format!("{}[{i}]", self.path_of(key));
            parsed.map_err(|invalid| self.problems.extend(invalid.within(&path).into())).ok()
        };
        Some(items.iter().enumerate().filter_map(read).collect())
    }

    /// An object.
    pub fn object(&self, key: &str) -> Option<Self> {
        let object = self.typed(key, "an object", Value::as_object)?;
        Some(Self { object, path: self.path_of(key), problems: self.problems })
    }
}

/// A whole number, also one that is written as `5.0`.
fn whole(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    if value.is_u64() {
        return Some(i64::MAX);
    }
    let float = value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15)?;
    format!("{float:.0}").parse().ok()
}

/// What a value is, in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(n) if n.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with<T>(value: Value, read: impl FnOnce(&Fields<'_>) -> T) -> (T, Vec<String>) {
        let Value::Object(object) = value else { panic!("an object is needed") };
        let problems = Problems::new();
        let out = read(&Fields::new(&object, &problems));
        let notes = problems.into_result().err().unwrap_or_default();
        (out, notes.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_bad_field_is_noted_under_its_path() {
        let body = json!({"a": 1, "list": [{"b": "x"}, 7, {"b": true}], "names": ["ok", 3]});
        let ((), notes) = with(body, |fields| {
            fields.text("a");
            for item in fields.objects("list", 9).unwrap_or_default() {
                item.boolean("b");
            }
            fields.texts("names", 9, |text| Ok(text.len()));
            fields.require("gone");
        });
        assert_eq!(
            notes,
            [
                "a: must be a text, not a number",
                "list[1]: must be an object, not a number",
                "list[0].b: must be true or false, not a text",
                "names[1]: must be a text, not a number",
                "gone: is missing",
            ]
        );
    }

    #[test]
    fn whole_numbers_may_be_written_with_a_point_but_not_as_text() {
        let read = |value: Value| with(json!({"n": value}), |fields| fields.integer::<u32>("n", 1..=100));
        assert_eq!(read(json!(5)).0, Some(5));
        assert_eq!(read(json!(5.0)).0, Some(5));
        for bad in [
            json!("5"),
            json!(5.5),
            json!(0),
            json!(101),
            json!(-1),
            json!(u64::MAX),
            json!(1e300),
            json!([]),
        ] {
            let (value, notes) = read(bad.clone());
            assert_eq!((value, notes.len()), (None, 1), "{bad}");
        }
    }

    #[test]
    fn null_is_absent() {
        let (value, notes) =
            with(json!({"a": null}), |fields| (fields.text("a").is_none(), fields.is_null("a")));
        assert_eq!((value, notes), ((true, true), vec![]));
    }

    #[test]
    fn lists_are_bounded() {
        let (items, notes) = with(json!({"a": [1, 2, 3]}), |fields| fields.list("a", 2).map(<[Value]>::len));
        assert_eq!(items, None);
        assert_eq!(notes, ["a: must hold at most 2 entries, not 3"]);
    }
}
