//! Our descriptions against the published ones (`tests/reference`): every path, method, parameter, field, type and status
//! code of theirs is in ours, but for the differences in the table of `docs/compatibility.md`, each with its reason. A
//! difference that is not listed fails, and so does a listed one that is none.
//!
//! `SPAWNPOINT_REWRITE=1` brings the table up to date: what is new has no reason yet, and fails until somebody writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use crate::openapi::operations;
use crate::schemas::file;
use crate::shape::{Shape, shape};

/// How deep bodies are compared.
const DEPTH_MAX: usize = 8;
const BEGIN: &str = "<!-- differences: begin -->";
const END: &str = "<!-- differences: end -->";
const NO_REASON: &str = "(say why)";

/// An operation and what is different about it.
type Difference = (String, String);

/// An operation, as either kind of description gives it.
struct Described {
    /// `in` and name, whether it is required, and its types.
    parameters: BTreeMap<(String, String), (bool, BTreeSet<String>)>,
    request: Option<Shape>,
    answers: BTreeMap<String, Option<Shape>>,
}

/// `GET /v1/status/{}`: names of parameters say nothing about where an address leads.
fn key(method: &str, path: &str) -> String {
    let parts = path.split('/').map(|part| match part.split_once('}') {
        Some((_, verb)) if part.starts_with('{') => format!("{{}}{verb}"),
        _ => part.to_owned(),
    });
    format!("{} {}", method.to_uppercase(), parts.collect::<Vec<_>>().join("/"))
}

fn described(operation: &Value, document: &Value) -> Described {
    let mut parameters = BTreeMap::new();
    let mut request = None;
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let text = |key: &str| parameter[key].as_str().unwrap_or_default().to_lowercase();
        let required = parameter["required"] == true;
        if parameter["in"] == "body" {
            request = Some(shape(&parameter["schema"], document, DEPTH_MAX));
        } else if parameter["in"] != "path" {
            let schema = if parameter["schema"].is_object() { &parameter["schema"] } else { parameter };
            parameters.insert((text("in"), text("name")), (required, shape(schema, document, 1).types));
        }
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if body.is_object() {
        request = Some(shape(body, document, DEPTH_MAX));
    }
    let answers = operation["responses"].as_object().unwrap().iter().map(|(code, answer)| {
        let schema = match answer.get("schema") {
            Some(schema) => schema,
            None => &answer["content"]["application/json"]["schema"],
        };
        (code.clone(), schema.is_object().then(|| shape(schema, document, DEPTH_MAX)))
    });
    Described { parameters, request, answers: answers.collect() }
}

/// Every operation of the published descriptions, several times if several describe it.
fn published() -> Vec<(String, Described)> {
    let v1: Value = serde_yaml_ng::from_str(&file("swagger-v1-2024.yaml")).unwrap();
    let fragments = [("deploy-v1.json", ""), ("deploy-v2.json", "/v2")];
    let fragments = fragments
        .into_iter()
        .chain([("private-fleet-deploy.json", "/v2"), ("private-fleet-hosts.json", "/v2")]);
    let documents = fragments.map(|(name, base)| (serde_json::from_str(&file(name)).unwrap(), base));
    let mut all = Vec::new();
    for (document, base) in documents.chain([(v1, "")]) {
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if operation["responses"].is_object() {
                    let operation = described(operation, &document);
                    all.push((key(method, &format!("{base}{path}")), operation));
                }
            }
        }
    }
    all
}

/// What `theirs` has and `ours` has not, or has otherwise.
fn differences() -> BTreeSet<Difference> {
    let ours: BTreeMap<String, Described> = operations()
        .iter()
        .map(|operation| {
            (key(&operation.method, &operation.path), described(&operation.value, &operation.document))
        })
        .collect();
    let mut found = BTreeSet::new();
    for (name, theirs) in published() {
        let mut notes = Vec::new();
        match ours.get(&name) {
            Some(ours) => compare(&theirs, ours, &mut notes),
            None => notes.push("absent".to_owned()),
        }
        found.extend(notes.into_iter().map(|note| (name.clone(), note)));
    }
    found
}

fn compare(theirs: &Described, ours: &Described, notes: &mut Vec<String>) {
    for ((place, name), (required, types)) in &theirs.parameters {
        match ours.parameters.get(&(place.clone(), name.clone())) {
            None => notes.push(format!("{place} parameter {name}: absent")),
            Some((ours_required, ours_types)) => {
                if *ours_required && !required {
                    notes.push(format!("{place} parameter {name}: required"));
                }
                if !types.is_subset(ours_types) {
                    notes.push(format!("{place} parameter {name}: {}", words(ours_types)));
                }
            }
        }
    }
    for ((place, name), (required, _)) in &ours.parameters {
        if *required && !theirs.parameters.contains_key(&(place.clone(), name.clone())) {
            notes.push(format!("{place} parameter {name}: required, unknown to them"));
        }
    }
    match (&theirs.request, &ours.request) {
        (Some(theirs), Some(ours)) => compare_requests("body", theirs, ours, notes),
        (Some(_), None) => notes.push("body: absent".to_owned()),
        _ => {}
    }
    for (code, theirs) in &theirs.answers {
        match (ours.answers.get(code), theirs) {
            (None, _) => notes.push(format!("{code}: absent")),
            (Some(Some(ours)), Some(theirs)) => compare_answers(code, theirs, ours, notes),
            (Some(None), Some(_)) => notes.push(format!("{code}: no body")),
            (Some(_), None) => {}
        }
    }
}

fn words(types: &BTreeSet<String>) -> String {
    types.iter().map(String::as_str).collect::<Vec<_>>().join(" or ")
}

/// Everything that they take, we take; and we need nothing that they do not need.
fn compare_requests(path: &str, theirs: &Shape, ours: &Shape, notes: &mut Vec<String>) {
    if !theirs.takes(&ours.types) {
        notes.push(format!("{path}: {}", words(&ours.types)));
    }
    if let Some(values) = &ours.values
        && !theirs.values.as_ref().is_some_and(|theirs| theirs.is_subset(values))
    {
        notes.push(format!("{path}: one of {}", words(values)));
    }
    for (name, theirs_field) in &theirs.fields {
        let path = format!("{path}.{name}");
        let Some(ours_field) = ours.fields.get(name) else {
            notes.push(format!("{path}: absent"));
            continue;
        };
        if theirs.required.contains(name) && !ours.required.contains(name) {
            notes.push(format!("{path}: not required"));
        }
        compare_requests(&path, theirs_field, ours_field, notes);
    }
    for name in ours.required.iter().filter(|name| !theirs.required.contains(*name)) {
        notes.push(format!("{path}.{name}: required"));
    }
    if let (Some(theirs), Some(ours)) = (&theirs.items, &ours.items) {
        compare_requests(&format!("{path}[]"), theirs, ours, notes);
    }
}

/// Everything that they may rely on is there, of a type that they know.
fn compare_answers(path: &str, theirs: &Shape, ours: &Shape, notes: &mut Vec<String>) {
    let known = ours.types.iter().all(|kind| {
        theirs.types.is_empty()
            || theirs.types.contains(kind)
            || kind == "null"
            || (kind == "integer" && theirs.types.contains("number"))
    });
    if !known {
        notes.push(format!("{path}: {}", words(&ours.types)));
    }
    if let Some(values) = &theirs.values
        && !ours.values.as_ref().is_some_and(|ours| ours.is_subset(values))
    {
        notes.push(format!("{path}: not only {}", words(values)));
    }
    for (name, theirs_field) in &theirs.fields {
        let path = format!("{path}.{name}");
        let Some(ours_field) = ours.fields.get(name) else {
            notes.push(format!("{path}: absent"));
            continue;
        };
        if theirs.required.contains(name) {
            if !ours.required.contains(name) {
                notes.push(format!("{path}: not always there"));
            }
            if ours_field.types.contains("null") && !theirs_field.types.contains("null") {
                notes.push(format!("{path}: may be null"));
            }
        }
        compare_answers(&path, theirs_field, ours_field, notes);
    }
    if let (Some(theirs), Some(ours)) = (&theirs.items, &ours.items) {
        compare_answers(&format!("{path}[]"), theirs, ours, notes);
    }
}

fn document() -> (PathBuf, String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md");
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

/// The table: operation and difference, with the reason.
fn listed(text: &str) -> BTreeMap<Difference, String> {
    let table = text.split(BEGIN).nth(1).and_then(|rest| rest.split(END).next()).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{row}");
        let code = |cell: &str| cell.trim_matches('`').to_owned();
        ((code(cells[0]), code(cells[1])), cells[2].to_owned())
    })
    .collect()
}

#[test]
fn what_differs_from_the_published_descriptions_is_listed_with_its_reason() {
    let (path, mut text) = document();
    let found = differences();
    if std::env::var_os("SPAWNPOINT_REWRITE").is_some() {
        let reasons = listed(&text);
        let mut table = String::from("\n| operation | difference | why |\n|---|---|---|\n");
        for difference in &found {
            let reason = reasons.get(difference).map_or(NO_REASON, String::as_str);
            table.push_str(&format!("| `{}` | `{}` | {reason} |\n", difference.0, difference.1));
        }
        let (before, after) = (text.split(BEGIN).next().unwrap(), text.split(END).nth(1).unwrap());
        text = format!("{before}{BEGIN}\n{table}\n{END}{after}");
        std::fs::write(&path, &text).unwrap();
    }
    let listed = listed(&text);
    for difference in &found {
        assert!(listed.contains_key(difference), "not listed in docs/compatibility.md: {difference:?}");
    }
    for (difference, reason) in &listed {
        assert!(
            found.contains(difference),
            "listed in docs/compatibility.md, but there is none: {difference:?}"
        );
        assert!(reason.len() > 3 && reason != NO_REASON, "{difference:?} is listed without a reason");
    }
}

#[test]
fn the_comparison_bites() {
    let theirs: Value = serde_json::json!({
        "parameters": [{"in": "query", "name": "page", "type": "integer"}],
        "responses": {
            "200": {"schema": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}},
            "404": {},
        },
    });
    let compared = |change: &dyn Fn(&mut Value)| {
        let mut ours = theirs.clone();
        change(&mut ours);
        let mut notes = Vec::new();
        compare(&described(&theirs, &Value::Null), &described(&ours, &Value::Null), &mut notes);
        notes
    };
    assert_eq!(compared(&|_| {}), Vec::<String>::new());
    assert_eq!(
        compared(&|ours| drop(ours["responses"].as_object_mut().unwrap().remove("404"))),
        ["404: absent"]
    );
    let schema = "/responses/200/schema";
    let set = |pointer: &'static str, value: Value| {
        move |ours: &mut Value| *ours.pointer_mut(&format!("{schema}{pointer}")).unwrap() = value.clone()
    };
    assert_eq!(compared(&set("/required", serde_json::json!([]))), ["200.a: not always there"]);
    assert_eq!(compared(&set("/properties/a/type", "integer".into())), ["200.a: integer"]);
    assert_eq!(
        compared(&set("/properties/a/type", serde_json::json!(["string", "null"]))),
        ["200.a: may be null"]
    );
    assert_eq!(
        compared(&set("/properties", serde_json::json!({"a": {"type": "string"}}))),
        ["200.b: absent"]
    );
    assert_eq!(
        compared(&|ours| ours["parameters"][0]["type"] = "string".into()),
        ["query parameter page: string"]
    );
    assert_eq!(compared(&|ours| ours["parameters"] = Value::Null), ["query parameter page: absent"]);
}
