//! The readers in `wire` against the schemas that are published for them: what the schema accepts is read, what it refuses
//! is refused, field by field. Where they differ, [`DIFFERENCES`] says why.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use spawnpoint_model::names::CustomId;

use super::{documents, shared};
use crate::v1::update_deployment;
use crate::wire::{
    access, app, available, bulk_stop, deploy_v1, deploy_v2, fleet, image_tags, lookup, private_deploy,
    pull_profile, report, session_body, storage, tags, telemetry, version_body,
};

type Reader = fn(&Map<String, Value>) -> bool;

/// Every operation with a body, and what reads it.
const READERS: [(&str, Reader); 40] = [
    ("POST /v1/app", |body| app::read_new(body).is_ok()),
    ("PATCH /v1/app/{app_name}", |body| app::read_patch(body).is_ok()),
    ("POST /v1/app/{app_name}/version", |body| version_body::read_new(body).is_ok()),
    ("PATCH /v1/app/{app_name}/version/{version_name}", |body| version_body::read_patch(body).is_ok()),
    ("POST /v1/app/{app_name}/version/{version_name}/whitelist", |body| access::read_new(body).is_ok()),
    ("POST /v1/deploy", |body| deploy_v1::read(body).is_ok()),
    ("POST /deployments", |body| deploy_v2::read(body).is_ok()),
    ("POST /v1/context/{request_id}/{security_number}/tags", |body| tags::read_name(body).is_ok()),
    ("POST /v1/deployments/{request_id}/tags", |body| tags::read_name(body).is_ok()),
    ("PATCH /v1/deployments/{request_id}/tags/{tag_name}", |body| tags::read_name(body).is_ok()),
    ("POST /v1/deployments/bulk-stop", |body| bulk_stop::read(body).is_ok()),
    ("POST /v1/deployments:available", |body| available::read(body).is_ok()),
    ("POST /v1/deployments/{request_id}:report", |body| report::read(body).is_ok()),
    ("PATCH /v1/deployments/{request_id}", |body| update_deployment::read(body).is_ok()),
    ("POST /v1/storage/endpoint", |body| storage::read_new(body).is_ok()),
    ("PATCH /v1/storage/endpoint/{endpoint_name}", |body| storage::read_patch(body).is_ok()),
    ("POST /v1/storage/endpoint/{endpoint_name}/pull-profile", |body| pull_profile::read_new(body).is_ok()),
    ("PATCH /v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}", |body| {
        pull_profile::read_patch(body).is_ok()
    }),
    ("POST /v1/container-registry/images/{image_name}/tags/bulk-delete", |body| {
        image_tags::read(body).is_ok()
    }),
    ("POST /v1/ips/lookup", |body| lookup::read(body).is_ok()),
    ("POST /v1/telemetry/active-deployments", |body| telemetry::read(body).is_ok()),
    ("POST /private-fleets/deployments", |body| private_deploy::read(body).is_ok()),
    ("POST /private-fleets:deploy", |body| private_deploy::read(body).is_ok()),
    ("POST /spawnpoint/v1/private-fleets", |body| crate::admin::private_fleets::read(body).is_ok()),
    ("POST /spawnpoint/v1/hosts", |body| crate::admin::new_host::read(body).is_ok()),
    ("POST /spawnpoint/v1/hosts/{host_id}/drain", |body| crate::admin::hosts::read_drain(body).is_ok()),
    ("PUT /spawnpoint/v1/hosts/{host_id}/delete-schedule", |body| {
        crate::admin::hosts::read_schedule(body).is_ok()
    }),
    ("POST /v1/session", |body| session_body::read(body).is_ok()),
    ("PUT /v1/session/{session_id}/users", |body| session_body::read_users(body).is_ok()),
    ("DELETE /v1/session/{session_id}/users", |body| session_body::read_users(body).is_ok()),
    ("POST /v1/sessions/bulk-stop", |body| session_body::read_filters(body).is_ok()),
    ("POST /v1/deployment/{request_id}/custom/session/{custom_id}", read_custom),
    ("PATCH /v1/deployment/{request_id}/custom/session/{custom_id}", read_custom),
    ("POST /v1/deployment/{request_id}/custom/sessions", |body| session_body::read_customs(body).is_ok()),
    ("DELETE /v1/deployment/{request_id}/custom/sessions", |body| {
        session_body::read_custom_deletes(body).is_ok()
    }),
    ("POST /v1/fleet", |body| fleet::read_new(body).is_ok()),
    ("PATCH /v1/fleet/{fleet_name}", |body| fleet::read_patch(body).is_ok()),
    ("POST /v1/fleet/{fleet_name}/policies", |body| fleet::read_new_policy(body).is_ok()),
    ("PATCH /v1/fleet/{fleet_name}/policies/{policy_name}", |body| fleet::read_policy_patch(body).is_ok()),
    ("POST /spawnpoint/v1/tokens", |body| crate::admin::tokens::read(body).is_ok()),
];

fn read_custom(body: &Map<String, Value>) -> bool {
    session_body::read_custom(body, CustomId::parse("party").unwrap()).is_ok()
}

/// Field (its last name), the value tried, whether the reader takes it, and why it may differ from the schema.
const DIFFERENCES: [(&str, &str, bool, &str); 17] = [
    ("docker_repository", "\" text \"", true, "blanks around are taken off"),
    ("docker_image", "\" text \"", true, "blanks around are taken off"),
    ("docker_image", "\"a/\"", true, "slashes around are taken off"),
    ("docker_tag", "\" text \"", true, "blanks around are taken off"),
    ("req_memory", "524288", false, "at most twice the CPU units"),
    ("memory_mib", "524288", false, "at most twice the CPU units"),
    ("req_cpu", "100", false, "at least half the memory"),
    ("cpu_units", "100", false, "at least half the memory"),
    ("tls_upgrade", "true", false, "with HTTP and WS alone"),
    ("value", "null", false, "a variable that is not hidden needs one, in a change too"),
    ("value", "nothing", false, "a variable that is not hidden needs one, in a change too"),
    ("latitude", "nothing", false, "latitude and longitude come together"),
    ("latitude", "null", false, "latitude and longitude come together"),
    ("longitude", "nothing", false, "latitude and longitude come together"),
    ("longitude", "null", false, "latitude and longitude come together"),
    ("source", "\"a/\"", false, "of a folder alone"),
    ("source", "\"http://\"", false, "an empty step"),
];

/// What a body is for.
struct Body {
    operation: String,
    schema: Value,
    schemas: Value,
}

fn bodies() -> Vec<Body> {
    let mut bodies = Vec::new();
    for text in [&documents().v1, &documents().v2] {
        let document: Value = serde_json::from_slice(text).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
                if schema.is_object() {
                    bodies.push(Body {
                        operation: format!("{} {path}", method.to_uppercase()),
                        schema: schema.clone(),
                        schemas: document["components"]["schemas"].clone(),
                    });
                }
            }
        }
    }
    bodies
}

impl Body {
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => &self.schemas[shared::schema_name(reference).unwrap()],
            None => schema,
        }
    }

    /// The alternatives of a schema, without `null`.
    fn choices<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolve(schema);
        let choices = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
        match choices {
            Some(all) => {
                all.iter().filter(|one| one["type"] != "null").flat_map(|one| self.choices(one)).collect()
            }
            None => vec![schema],
        }
    }

    /// The fields of an object, those of its parts too.
    fn fields<'a>(&'a self, schema: &'a Value) -> Vec<(&'a String, &'a Value)> {
        let own = schema["properties"].as_object().into_iter().flatten();
        let parts = schema["allOf"].as_array().into_iter().flatten();
        own.chain(parts.flat_map(|part| self.fields(self.resolve(part)))).collect()
    }

    /// A value with every field in it.
    fn sample(&self, schema: &Value) -> Value {
        let choice = self.choices(schema)[0];
        let fields = self.fields(choice);
        if !fields.is_empty() {
            return Value::Object(
                fields.into_iter().map(|(name, field)| (name.clone(), self.sample(field))).collect(),
            );
        }
        if let Some(example) = choice.get("example").filter(|example| !example.is_null()) {
            return example.clone();
        }
        let is = |kind: &str| {
            choice["type"] == kind || choice["type"].as_array().is_some_and(|all| all.contains(&kind.into()))
        };
        match () {
            () if choice["enum"].is_array() => choice["enum"][0].clone(),
            () if choice["format"] == "ipv4" => json!("198.51.100.7"),
            () if is("array") => json!([self.sample(&choice["items"])]),
            () if is("boolean") => json!(true),
            () if is("integer") || is("number") => choice.get("minimum").cloned().unwrap_or(json!(1)),
            () if is("string") => json!("text"),
            () => json!({}),
        }
    }

    /// Every body that differs from `whole` in one place below `pointer`, with that place and its value.
    fn variations(&self, schema: &Value, whole: &Value, pointer: &str, out: &mut Vec<(String, Value)>) {
        for choice in self.choices(schema) {
            let mut whole = whole.clone();
            *whole.pointer_mut(pointer).unwrap() = self.sample(choice);
            out.push((pointer.to_owned(), whole.clone()));
            for value in probes(choice) {
                let mut changed = whole.clone();
                *changed.pointer_mut(pointer).unwrap() = value;
                out.push((pointer.to_owned(), changed));
            }
            for (name, field) in self.fields(choice) {
                let inner = format!("{pointer}/{name}");
                let mut without = whole.clone();
                without.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(name);
                out.push((inner.clone(), without));
                self.variations(field, &whole, &inner, out);
            }
            if choice["items"].is_object() && whole.pointer(&format!("{pointer}/0")).is_some() {
                self.variations(&choice["items"], &whole, &format!("{pointer}/0"), out);
            }
        }
    }
}

/// Values to try in place of a field.
fn probes(schema: &Value) -> Vec<Value> {
    let mut probes =
        vec![json!(null), json!(true), json!(-7), json!(1.5), json!(1e18), json!([]), json!([5]), json!({})];
    let texts = [
        "",
        "x",
        " text ",
        "a/",
        "\\",
        ".",
        "a\u{0}b",
        "a\tb",
        "a\u{200b}b",
        "a\u{202e}",
        "7",
        "null",
        "http://",
    ];
    probes.extend(texts.map(Value::from));
    for (key, offsets) in [("minimum", [-1, 0]), ("maximum", [0, 1])] {
        if let Some(bound) = schema[key].as_i64() {
            probes.extend(offsets.map(|offset| json!(bound + offset)));
        }
    }
    for (key, offsets) in [("minLength", [-1, 0]), ("maxLength", [0, 1])] {
        if let Some(bound) = schema[key].as_i64() {
            let text = |offset| "x".repeat(usize::try_from(bound + offset).unwrap());
            probes.extend(offsets.map(|offset| json!(text(offset))));
        }
    }
    if let Some(bound) = schema["maxItems"].as_u64() {
        probes.push(json!(vec![5; usize::try_from(bound).unwrap() + 1]));
    }
    probes.extend(schema["enum"].as_array().into_iter().flatten().cloned());
    probes
}

#[test]
fn every_body_has_a_reader_here() {
    let described: BTreeSet<String> = bodies().into_iter().map(|body| body.operation).collect();
    let read: BTreeSet<String> = READERS.iter().map(|(operation, _)| (*operation).to_owned()).collect();
    assert_eq!(described, read);
}

#[test]
fn readers_and_schemas_accept_and_refuse_the_same() {
    let (mut disagreements, mut used, mut accepted, mut refused) = (Vec::new(), BTreeSet::new(), 0, 0);
    for body in bodies() {
        let (_, read) = READERS.iter().find(|(operation, _)| *operation == body.operation).unwrap();
        let mut schema = body.schema.clone();
        schema["components"] = json!({"schemas": body.schemas});
        let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012);
        let validator = options.should_validate_formats(true).build(&schema).unwrap();
        let whole = body.sample(&body.schema);
        assert!(read(whole.as_object().unwrap()), "{}: {whole:#}", body.operation);
        let mut variations = Vec::new();
        body.variations(&body.schema, &json!({"body": whole})["body"], "", &mut variations);
        for (pointer, value) in variations {
            let Value::Object(object) = &value else { continue };
            let (fits, is_read) = (validator.is_valid(&value), read(object));
            *(if is_read { &mut accepted } else { &mut refused }) += 1;
            let tried = value.pointer(&pointer).map_or("nothing".to_owned(), Value::to_string);
            let field = pointer.rsplit('/').find(|step| step.parse::<usize>().is_err()).unwrap_or_default();
            let known = DIFFERENCES.iter().position(|(name, value, taken, _)| {
                (*name, *value, *taken) == (field, tried.as_str(), is_read)
            });
            match known {
                _ if fits == is_read => {}
                Some(known) => drop(used.insert(known)),
                None => disagreements.push(format!(
                    "{} {pointer} = {tried:.80}: {}",
                    body.operation,
                    if fits {
                        "fits the schema and is refused"
                    } else {
                        "does not fit the schema and is read"
                    }
                )),
            }
        }
    }
    assert!(disagreements.is_empty(), "{} disagreements:\n{}", disagreements.len(), disagreements.join("\n"));
    assert_eq!(used.len(), DIFFERENCES.len(), "a difference is listed that is none; these are: {used:?}");
    assert!(accepted > 300 && refused > 1000, "{accepted} were read, {refused} refused: too few of one kind");
}
