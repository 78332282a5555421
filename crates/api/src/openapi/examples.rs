//! Examples: one of each body, put together from the examples of its fields, so that they stand in one place and cannot
//! go out of date. A test holds each against its schema and gives each request to its reader.

use serde_json::{Map, Value};

use super::shared::schema_name;

/// How deep schemas may refer to each other.
const DEPTH_MAX: usize = 16;

/// Adds an example to every JSON body that has none.
pub fn add(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for item in paths.values_mut() {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(body) = operation.get_mut("requestBody") {
                add_to(body, &schemas);
            }
            for answer in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
                add_to(answer, &schemas);
            }
        }
    }
}

fn add_to(holder: &mut Value, schemas: &Value) {
    let Some(content) = holder.pointer_mut("/content/application~1json") else { return };
    if content.get("example").is_none()
        && let Some(example) = example(&content["schema"], schemas, 0)
    {
        content["example"] = example;
    }
}

/// The example of a schema; `None` if it has none and none can be put together.
fn example(schema: &Value, schemas: &Value, depth: usize) -> Option<Value> {
    if let Some(example) = schema.get("example").or_else(|| schema["examples"].get(0)) {
        return Some(example.clone());
    }
    if depth > DEPTH_MAX {
        return None;
    }
    let inner = |schema: &Value| example(schema, schemas, depth + 1);
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return inner(schemas.get(schema_name(reference)?)?);
    }
    if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
        let parts = parts.iter().filter_map(inner).filter_map(|part| part.as_object().cloned());
        return Some(Value::Object(parts.flatten().collect()));
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(choices) = schema.get(key).and_then(Value::as_array) {
            return choices.iter().filter(|choice| choice["type"] != "null").find_map(inner);
        }
    }
    if let Some(value) = schema.get("default").or_else(|| schema["enum"].get(0)) {
        return Some(value.clone());
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let fields = properties.iter().filter_map(|(name, field)| Some((name.clone(), inner(field)?)));
        return Some(Value::Object(fields.collect()));
    }
    match schema.get("items") {
        Some(items) => Some(Value::Array(inner(items).into_iter().collect())),
        None => by_type(schema),
    }
}

/// Of what needs no words.
fn by_type(schema: &Value) -> Option<Value> {
    let is = |name: &str| {
        schema["type"] == name
            || schema["type"].as_array().is_some_and(|all| all.iter().any(|one| one == name))
    };
    if is("null") {
        return Some(Value::Null);
    }
    if is("boolean") {
        return Some(Value::Bool(true));
    }
    is("object").then(|| Value::Object(Map::new()))
}
