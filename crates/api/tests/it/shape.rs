//! What a schema says of a body, whichever way it says it: types, fields, items, values; references followed, parts merged.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A schema, flattened.
#[derive(Default, Clone, Debug)]
pub struct Shape {
    /// `string`, `null`, ...; none for anything.
    pub types: BTreeSet<String>,
    /// Of an object.
    pub fields: BTreeMap<String, Shape>,
    /// Fields that are always there.
    pub required: BTreeSet<String>,
    /// Of a list.
    pub items: Option<Box<Shape>>,
    /// The only values, if there are only some.
    pub values: Option<BTreeSet<String>>,
}

impl Shape {
    /// Whether what has one of these types takes everything of this shape.
    pub fn takes(&self, types: &BTreeSet<String>) -> bool {
        types.is_empty()
            || self
                .types
                .iter()
                .all(|kind| types.contains(kind) || (kind == "integer" && types.contains("number")))
    }

    /// Both hold.
    fn and(mut self, other: Self) -> Self {
        if self.types.is_empty() {
            self.types = other.types;
        }
        for (name, field) in other.fields {
            let merged =
                self.fields.remove(&name).map_or_else(|| field.clone(), |mine| mine.and(field.clone()));
            self.fields.insert(name, merged);
        }
        self.required.extend(other.required);
        self.items = self.items.or(other.items);
        self.values = self.values.or(other.values);
        self
    }

    /// One of them holds.
    fn or(mut self, other: Self) -> Self {
        let (mine, others) = (self.types.contains("object"), other.types.contains("object"));
        self.required = match (mine, others) {
            (true, true) => self.required.intersection(&other.required).cloned().collect(),
            (_, false) => self.required,
            (false, true) => other.required,
        };
        self.types.extend(other.types);
        for (name, field) in other.fields {
            let merged =
                self.fields.remove(&name).map_or_else(|| field.clone(), |mine| mine.or(field.clone()));
            self.fields.insert(name, merged);
        }
        self.items = self.items.or(other.items);
        self.values = match (self.values, other.values) {
            (Some(mut mine), Some(others)) => {
                mine.extend(others);
                Some(mine)
            }
            (values, None) | (None, values) => values,
        };
        self
    }
}

/// What `schema` of `document` says, to a depth.
pub fn shape(schema: &Value, document: &Value, depth: usize) -> Shape {
    let mut shape = Shape::default();
    if depth == 0 {
        return shape;
    }
    let inner = |schema: &Value| self::shape(schema, document, depth - 1);
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        return self::shape(target.unwrap_or_else(|| panic!("{reference} leads nowhere")), document, depth);
    }
    match &schema["type"] {
        Value::String(kind) => drop(shape.types.insert(kind.clone())),
        Value::Array(kinds) => {
            shape.types.extend(kinds.iter().filter_map(|kind| kind.as_str().map(str::to_owned)))
        }
        _ => {}
    }
    if schema["nullable"] == true || schema["x-nullable"] == true {
        shape.types.insert("null".to_owned());
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    shape.fields = properties.map(|(name, field)| (name.clone(), inner(field))).collect();
    if !shape.fields.is_empty() && shape.types.is_empty() {
        shape.types.insert("object".to_owned());
    }
    shape.required = texts(&schema["required"]).collect();
    shape.items = schema["items"].is_object().then(|| Box::new(inner(&schema["items"])));
    if schema["enum"].is_array() {
        shape.values = Some(texts(&schema["enum"]).collect());
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        shape = shape.and(self::shape(part, document, depth));
    }
    for kind in ["oneOf", "anyOf"] {
        let choices = schema[kind].as_array().into_iter().flatten();
        if let Some(either) = choices.map(|choice| self::shape(choice, document, depth)).reduce(Shape::or) {
            shape = shape.and(either);
        }
    }
    shape
}

fn texts(list: &Value) -> impl Iterator<Item = String> + '_ {
    list.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned))
}
