//! What holds for many operations: error bodies, and the answers that extractors and the error mapping give.

use serde_json::{Map, Value, json};

use super::{API_TOKEN, DEPLOYMENT_TOKEN};

/// The error body of v1 and of the extensions.
pub const ERROR: &str = "Error";
/// The error body of v2.
pub const ERROR_WITH_DETAILS: &str = "ErrorWithDetails";

/// The one error without a body.
const BARE: &str = "431";

/// The name in a reference to a schema.
#[must_use]
pub fn schema_name(reference: &str) -> Option<&str> {
    reference.strip_prefix("#/components/schemas/")
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Adds the error bodies.
pub fn add_schemas(document: &mut Value) {
    let message = json!({"type": "string", "description": "What is wrong, for people.", "example": "page: must be a whole number from 1"});
    let schemas = &mut document["components"]["schemas"];
    schemas[ERROR] = json!({
        "type": "object", "description": "An answer that is not a success.",
        "required": ["message"], "properties": {"message": message.clone()},
    });
    schemas[ERROR_WITH_DETAILS] = json!({
        "type": "object", "description": "An answer that is not a success.",
        "required": ["message"],
        "properties": {
            "message": message,
            "details": {
                "type": "object", "description": "Each bad field with what is wrong with it.",
                "additionalProperties": {"type": "string"}, "example": {"users": "must not be empty"},
            },
        },
    });
}

/// Adds to each operation the answers that it shares with others, and to each error without a body its body.
pub fn add_answers(document: &mut Value) {
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for (path, item) in paths {
        let error = if path.starts_with("/v2/") { ERROR_WITH_DETAILS } else { ERROR };
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let common = common(operation);
            let Some(answers) = operation["responses"].as_object_mut() else { continue };
            for (code, description) in common {
                answers.entry(code).or_insert_with(|| json!({"description": description}));
            }
            for (code, answer) in answers.iter_mut() {
                if code.as_str() >= "400" && code != BARE && answer.get("content").is_none() {
                    answer["content"] = json!({"application/json": {"schema": reference(error)}});
                }
            }
            answers.sort_keys();
        }
    }
}

fn common(operation: &Value) -> Vec<(&'static str, &'static str)> {
    let mut common = vec![
        (
            BARE,
            "The request line and headers are larger than 32 KiB. Answered by the connection, without a body.",
        ),
        ("500", "A fault of the server."),
        ("503", "Not now: the server starts or is overloaded."),
    ];
    let schemes = operation["security"].as_array();
    let needs = |name: &str| schemes.is_some_and(|all| all.iter().any(|scheme| scheme.get(name).is_some()));
    if schemes.is_none() || needs(API_TOKEN) {
        common
            .push(("403", "The token does not have the scope for this, or is bound to other applications."));
    }
    if schemes.is_none() || needs(API_TOKEN) || needs(DEPLOYMENT_TOKEN) {
        common.push(("401", "Without a valid token."));
        common.push(("429", "Too often; `Retry-After` says when again."));
    }
    let has_body = operation.get("requestBody").is_some();
    if has_body || operation["parameters"].as_array().is_some_and(|all| !all.is_empty()) {
        common.push(("400", "Something in the request is wrong; the message names each bad field."));
    }
    if has_body {
        common.push(("408", "The body took too long to arrive."));
        common.push(("413", "The body is too large."));
        common.push(("415", "The body is not sent as JSON, or is compressed."));
    }
    common
}
