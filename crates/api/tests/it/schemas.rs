//! The published specifications, as schemas to check answers against.
//!
//! They stand in `tests/reference`, with where they are from.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

/// The text of a reference file.
pub fn file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where the entries of a series' `timestamps` are described, once they may be null.
const METRICS_TIMES: &str = "/MetricsModel/properties/timestamps/anyOf/0/items";

/// Checks `body` against a definition of the v1 swagger of 2024 (with what the live platform adds: optional fields may be
/// null, as the reference says of each).
pub fn check_v1(definition: &str, body: &Value) {
    let spec: Value = serde_yaml_ng::from_str(&file("swagger-v1-2024.yaml")).unwrap();
    let mut definitions = spec["definitions"].clone();
    for schema in definitions.as_object_mut().unwrap().values_mut() {
        optional_may_be_null(schema);
    }
    // It calls "2021-07-14 14:17:37.711" a date, which its own example shows not to be one.
    if let Some(times) = definitions.pointer_mut(METRICS_TIMES).and_then(Value::as_object_mut) {
        times.remove("format");
    }
    check(&json!({"$ref": format!("#/definitions/{definition}"), "definitions": definitions}), body);
}

/// Checks `body` against the answer with `code` of `POST` on `path` in one of the OpenAPI 3 files.
pub fn check_openapi(name: &str, path: &str, code: u16, body: &Value) {
    check_openapi_of(name, "post", path, code, body);
}

/// The same, of another method.
pub fn check_openapi_of(name: &str, method: &str, path: &str, code: u16, body: &Value) {
    let spec: Value = serde_json::from_str(&file(name)).unwrap();
    let answer = &spec["paths"][path][method]["responses"][code.to_string()];
    let mut schema = answer["content"]["application/json"]["schema"].clone();
    assert!(schema.is_object(), "{name} has no {code} for {method} {path}");
    let mut components = spec["components"].clone();
    for schema in components["schemas"].as_object_mut().into_iter().flatten() {
        optional_may_be_null(schema.1);
    }
    schema["components"] = components;
    nullable_may_be_null(&mut schema);
    check(&schema, body);
}

/// OpenAPI 3.0 says `nullable` where JSON Schema says that it is one of two types.
fn nullable_may_be_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(nullable_may_be_null);
            if object.get("nullable") == Some(&json!(true)) {
                let plain = std::mem::take(object);
                object.insert("anyOf".to_owned(), json!([plain, {"type": "null"}]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(nullable_may_be_null),
        _ => {}
    }
}

fn optional_may_be_null(schema: &mut Value) {
    let required: Vec<String> = schema["required"]
        .as_array()
        .map(|all| all.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    let names: Vec<String> = properties.keys().filter(|name| !required.contains(name)).cloned().collect();
    for name in names {
        let property = properties.remove(&name).unwrap();
        properties.insert(name, json!({"anyOf": [property, {"type": "null"}]}));
    }
}

fn check(schema: &Value, body: &Value) {
    let validator = jsonschema::options().with_draft(jsonschema::Draft::Draft7).build(schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\nin {body:#}");
}

#[test]
fn the_check_bites() {
    let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}});
    let caught = std::panic::catch_unwind(|| check(&schema, &json!({"a": "5"})));
    assert!(caught.is_err());
    let mut loosened =
        json!({"required": ["a"], "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}});
    optional_may_be_null(&mut loosened);
    check(&loosened, &json!({"a": 1, "b": null}));
    assert!(std::panic::catch_unwind(|| check(&loosened, &json!({"a": null}))).is_err());
    assert_eq!(Map::new(), *json!({}).as_object().unwrap());
}
