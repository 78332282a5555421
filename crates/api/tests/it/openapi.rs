//! The served descriptions: what they say is what is there, and every change of them is seen.
//!
//! After a change that is meant: `SPAWNPOINT_REWRITE=1 cargo nextest run -p spawnpoint-api openapi`, and look at the diff.

use std::collections::BTreeSet;
use std::path::PathBuf;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use spawnpoint_api::openapi::documents;
use spawnpoint_api::router::table;

use crate::world::World;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// One operation of a description.
pub struct Operation {
    /// `get`, `post`, ...
    pub method: String,
    /// As it is called, `/v2` included.
    pub path: String,
    /// What is said of it.
    pub value: Value,
    /// Its document.
    pub document: Value,
}

impl Operation {
    /// `GET /v1/apps`.
    pub fn name(&self) -> String {
        format!("{} {}", self.method.to_uppercase(), self.path)
    }

    fn validator(&self, schema: &Value) -> jsonschema::Validator {
        let mut schema = schema.clone();
        schema["components"] = self.document["components"].clone();
        let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012);
        options.should_validate_formats(true).build(&schema).unwrap()
    }
}

/// Both documents.
pub fn served() -> [Value; 2] {
    [&documents().v1, &documents().v2].map(|text| serde_json::from_slice(text).unwrap())
}

/// Every operation of both documents.
pub fn operations() -> Vec<Operation> {
    let mut operations = Vec::new();
    for document in served() {
        let base = document["servers"][0]["url"].as_str().unwrap().trim_end_matches('/').to_owned();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, value) in item.as_object().unwrap() {
                operations.push(Operation {
                    method: method.clone(),
                    path: format!("{base}{path}"),
                    value: value.clone(),
                    document: document.clone(),
                });
            }
        }
    }
    operations
}

#[test]
fn the_descriptions_are_as_they_were() {
    for (name, text) in [("swagger.json", &documents().v1), ("openapi-v2.json", &documents().v2)] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
        let now = std::str::from_utf8(text).unwrap();
        if std::env::var_os("SPAWNPOINT_REWRITE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, now).unwrap();
        }
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = before.lines().zip(now.lines()).position(|(a, b)| a != b);
        assert!(
            before == now,
            "{name} has changed, first at line {:?}. If that is meant: SPAWNPOINT_REWRITE=1 cargo nextest run -p \
             spawnpoint-api openapi, and look at the diff",
            differs.map(|line| line + 1)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_descriptions_are_served_without_a_token() {
    let world = World::new().await;
    for (path, document) in ["/swagger.json", "/v2/openapi.json"].into_iter().zip(served()) {
        let answer = world.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.expect(200), document);
        assert_eq!(document["openapi"], "3.1.0");
    }
    let url = world.get("/monitor").await.expect(200)["spec_url"].as_str().unwrap().to_owned();
    assert!(url.ends_with("/swagger.json"), "{url}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_described_is_what_answers() {
    let world = World::new().await;
    let described: BTreeSet<(String, String)> =
        operations().iter().map(|operation| (operation.path.clone(), operation.method.clone())).collect();
    let routed: BTreeSet<String> = table().iter().map(|route| route.path.to_owned()).collect();
    let paths: BTreeSet<&String> = described.iter().map(|(path, _)| path).collect();
    assert!(paths.len() >= routed.len(), "a route has no description: {routed:?}");
    for path in paths {
        let address = path.replace(['{', '}'], "");
        for method in METHODS {
            let request =
                Request::builder().method(Method::from_bytes(method.to_uppercase().as_bytes()).unwrap());
            let code = world.send(request.uri(&address).body(Body::empty()).unwrap()).await.code;
            // Addresses that differ by a verb alone share a route.
            let bare = path.split("}:").next().unwrap().trim_end_matches('}');
            let known = described.iter().any(|(other, m)| {
                m == method && other.split("}:").next().unwrap().trim_end_matches('}') == bare
            });
            assert_eq!(code != 405, known, "{method} {path} answers {code}");
        }
    }
    world.end().await;
}

#[test]
fn every_operation_says_what_it_is() {
    let mut ids = BTreeSet::new();
    for operation in operations() {
        let name = operation.name();
        let value = &operation.value;
        for key in ["operationId", "summary", "description"] {
            assert!(value[key].as_str().is_some_and(|text| !text.is_empty()), "{name} has no {key}");
        }
        assert_eq!(value["tags"].as_array().map(Vec::len), Some(1), "{name} needs one tag");
        assert!(ids.insert(value["operationId"].to_string()), "{name}: another has its operation id");
        for parameter in value["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{name}: {parameter} is not described");
            assert!(
                parameter.get("example").or_else(|| parameter["schema"].get("example")).is_some(),
                "{name}: {parameter} has no example"
            );
        }
        let named: BTreeSet<&str> =
            operation.path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        let given: BTreeSet<&str> = (value["parameters"].as_array().into_iter().flatten())
            .filter(|parameter| parameter["in"] == "path")
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        assert_eq!(named, given, "{name}");
    }
}

#[test]
fn every_body_has_an_example_that_fits_its_schema() {
    for operation in operations() {
        let answers = operation.value["responses"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(code, answer)| (code.as_str(), answer));
        for (what, holder) in answers.chain([("request", &operation.value["requestBody"])]) {
            let content = &holder["content"]["application/json"];
            if content.is_null() {
                continue;
            }
            let example = content
                .get("example")
                .unwrap_or_else(|| panic!("{} {what} has no example", operation.name()));
            let errors: Vec<String> = (operation.validator(&content["schema"]).iter_errors(example))
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{} {what}: {errors:#?}\n{example:#}", operation.name());
        }
    }
}

#[test]
fn errors_have_a_message() {
    for operation in operations() {
        for (code, answer) in operation.value["responses"].as_object().unwrap() {
            // 431 comes before there is a request.
            if code.as_str() < "400" || code == "431" {
                continue;
            }
            let schema = &answer["content"]["application/json"]["schema"];
            assert!(!operation.validator(schema).is_valid(&json!({})), "{} {code}", operation.name());
        }
    }
}
