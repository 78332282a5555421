//! A version as users write it. Unknown fields are ignored: clients send retired ones.
//!
//! One reader serves the new version and the change. In a change an absent field stays as it is; `null` clears what can be
//! empty and leaves the rest, so that a client may send back what it read. A masked or empty `private_token` and a hidden
//! variable without a value stay as they are.

use serde_json::{Map, Value};
use spawnpoint_engine::versions::{SessionInput, VersionInput};
use spawnpoint_model::app::{RestartPolicy, SessionKind};
use spawnpoint_model::limits::{
    CPU_UNITS_MAX, GRACE_SECONDS, INTERNAL_PORT_MAX, MEMORY_PER_CPU_MAX, PORT_NAME_CHARS_MAX, PORTS_MAX,
    RESOURCE_MIN, TEXT_CHARS_MAX, TIME_TO_DEPLOY_SECONDS_MAX,
};
use spawnpoint_model::names::check_text;
use spawnpoint_model::port::check_ports;
use spawnpoint_model::units::Resources;
use spawnpoint_model::{Invalid, Invalids, Plaintext, PortSpec, Protocol, VersionName};

pub use self::schema::{NewVersionBody, VersionPatchBody};
use super::parts::read_env;
use super::version::MASK;
use crate::fields::{Fields, Problems};
use crate::limits::STORAGE_NAME_CHARS_MAX;

pub mod schema;

/// Characters of a registry login's name or secret (some registries use whole JSON keys).
const LOGIN_CHARS_MAX: usize = TEXT_CHARS_MAX;
/// Largest figure that is stored for later: minutes, sockets, pings.
const FIGURE_MAX: i64 = i32::MAX as i64;

/// Reads a new version.
///
/// # Errors
/// Every bad field.
pub fn read_new(object: &Map<String, Value>) -> Result<VersionInput, Invalids> {
    read(object, &["name", "docker_repository", "docker_image", "docker_tag", "req_cpu", "req_memory"])
}

/// Reads a change of a version.
///
/// # Errors
/// Every bad field.
pub fn read_patch(object: &Map<String, Value>) -> Result<VersionInput, Invalids> {
    read(object, &[])
}

fn read(object: &Map<String, Value>, required: &[&str]) -> Result<VersionInput, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    for key in required {
        body.require(key);
    }
    let (cpu, memory) = resources(&body);
    let input = VersionInput {
        name: body.parsed("name", VersionName::parse),
        registry: body.parsed("docker_repository", registry),
        image: body.parsed("docker_image", image),
        tag: body.parsed("docker_tag", tag),
        username: username(&body),
        token: token(&body),
        cpu,
        memory,
        gpu: body.integer("req_video", 0..=FIGURE_MAX),
        ports: ports(&body),
        env: read_env(&body, "envs", true),
        command: clearable(&body, "command"),
        arguments: clearable(&body, "arguments"),
        restart_policy: body.parsed("restart_policy", restart_policy),
        grace_seconds: body.integer(
            "termination_grace_period_seconds",
            i64::from(*GRACE_SECONDS.start())..=i64::from(*GRACE_SECONDS.end()),
        ),
        time_to_deploy_seconds: body.integer("time_to_deploy", 1..=i64::from(TIME_TO_DEPLOY_SECONDS_MAX)),
        max_duration_minutes: body.integer("max_duration", i64::from(i32::MIN)..=FIGURE_MAX),
        is_active: body.boolean("is_active"),
        verify_image: body.boolean("verify_image"),
        force_cache: body.boolean("force_cache"),
        access_list_active: body.boolean("whitelisting_active"),
        endpoint_storage: endpoint_storage(&body),
        session: session(&body, !required.is_empty()),
        extras: extras(object, &body),
    };
    problems.into_result()?;
    Ok(input)
}

/// Each by itself, and the ratio where both are given; a change of one alone is compared with the stored other by the engine.
fn resources(body: &Fields<'_>) -> (Option<u32>, Option<u32>) {
    let cpu: Option<u32> = body.integer("req_cpu", i64::from(RESOURCE_MIN)..=i64::from(CPU_UNITS_MAX));
    let memory_max = i64::from(CPU_UNITS_MAX) * i64::from(MEMORY_PER_CPU_MAX);
    let memory: Option<u32> = body.integer("req_memory", i64::from(RESOURCE_MIN)..=memory_max);
    if let (Some(cpu), Some(memory)) = (cpu, memory)
        && let Err(invalid) = Resources::checked(cpu, memory, "req_cpu", "req_memory")
    {
        body.note(&invalid.field.clone(), invalid.problem);
    }
    (cpu, memory)
}

/// A registry's host; a scheme before it and slashes behind it are taken off.
fn registry(text: &str) -> Result<String, Invalid> {
    let host = text.trim();
    let host = host.strip_prefix("https://").or_else(|| host.strip_prefix("http://")).unwrap_or(host);
    let host = host.trim_end_matches('/');
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-:/[]".contains(c);
    if host.len() > 255 || !host.chars().all(fits) || host.starts_with(['-', '.', '/']) || host.contains("..")
    {
        return Err(Invalid::new(
            "",
            "must be the host of a registry, such as docker.io or registry.example.com:5000",
        ));
    }
    Ok(host.to_owned())
}

/// An image's path: lower-case parts between slashes, as registries know them.
fn image(text: &str) -> Result<String, Invalid> {
    let path = text.trim().trim_matches('/');
    let part_fits = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
    };
    if path.is_empty() || path.len() > 255 || !path.split('/').all(part_fits) {
        let problem =
            "must be the path of an image in lower case, such as studio/arena (1 to 255 characters, no tag)";
        return Err(Invalid::new("", problem));
    }
    Ok(path.to_owned())
}

/// A tag or a digest.
fn tag(text: &str) -> Result<String, Invalid> {
    let tag = text.trim();
    let is_digest = tag.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    });
    let is_tag = (1..=128).contains(&tag.len())
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if is_digest || is_tag {
        return Ok(tag.to_owned());
    }
    Err(Invalid::new("", "must be an image's tag (1 to 128 of A-Z a-z 0-9 _ . -) or a digest (sha256:...)"))
}

/// `null` and the empty text clear it.
fn username(body: &Fields<'_>) -> Option<Option<String>> {
    if body.is_null("private_username") {
        return Some(None);
    }
    let name = body.line("private_username", 0..=LOGIN_CHARS_MAX)?;
    Some(Some(name.to_owned()).filter(|name| !name.is_empty()))
}

/// Absent, `null`, empty or masked, it stays; it goes when the user name is cleared.
fn token(body: &Fields<'_>) -> Option<Option<Plaintext>> {
    let given =
        body.prose("private_token", LOGIN_CHARS_MAX).filter(|token| !token.is_empty() && *token != MASK);
    match given {
        Some(token) => Some(Some(Plaintext::new(token))),
        None if body.has("private_username") && matches!(username_text(body), None | Some("")) => Some(None),
        None => None,
    }
}

fn username_text<'a>(body: &Fields<'a>) -> Option<&'a str> {
    body.value("private_username").and_then(Value::as_str)
}

/// A text that `null` and the empty text clear.
fn clearable(body: &Fields<'_>, key: &str) -> Option<Option<String>> {
    if body.is_null(key) {
        return Some(None);
    }
    let text = body.prose(key, TEXT_CHARS_MAX)?;
    Some(Some(text.to_owned()).filter(|text| !text.trim().is_empty()))
}

fn endpoint_storage(body: &Fields<'_>) -> Option<Option<String>> {
    if body.is_null("endpoint_storage") {
        return Some(None);
    }
    let name = body.line("endpoint_storage", 0..=STORAGE_NAME_CHARS_MAX)?;
    Some(Some(name.to_owned()).filter(|name| !name.is_empty()))
}

fn restart_policy(text: &str) -> Result<RestartPolicy, Invalid> {
    match text.trim().to_ascii_lowercase().as_str() {
        "always" => Ok(RestartPolicy::Always),
        "on_failure" => Ok(RestartPolicy::OnFailure),
        "never" => Ok(RestartPolicy::Never),
        _ => Err(Invalid::new("", "must be one of always, on_failure, never")),
    }
}

fn ports(body: &Fields<'_>) -> Option<Vec<PortSpec>> {
    let items = body.objects("ports", PORTS_MAX)?;
    let ports: Vec<PortSpec> = items.iter().filter_map(port).collect();
    // With a bad port among them, positions would be off: clashes are named once the others are mended.
    if ports.len() == items.len()
        && let Err(invalids) = check_ports(&ports)
    {
        for invalid in invalids.0 {
            body.note(&invalid.field, invalid.problem);
        }
    }
    Some(ports)
}

fn port(item: &Fields<'_>) -> Option<PortSpec> {
    item.require("port");
    item.require("protocol");
    let port = item.integer("port", 0..=i64::from(INTERNAL_PORT_MAX));
    let protocol = item.parsed("protocol", Protocol::parse);
    let to_check = item.boolean("to_check").unwrap_or(true);
    let tls_upgrade = item.boolean("tls_upgrade").unwrap_or(false);
    // Unity sends the empty text for a port without a name.
    let name = item.line("name", 0..=PORT_NAME_CHARS_MAX).filter(|name| !name.is_empty()).map(str::to_owned);
    Some(PortSpec { port: port?, protocol: protocol?, to_check, tls_upgrade, name })
}

/// In a change, what is absent stays as it is; the engine says what is missing where there is nothing that could stay.
fn session(body: &Fields<'_>, is_new: bool) -> Option<Option<SessionInput>> {
    if body.is_null("session_config") {
        return Some(None);
    }
    let session = body.object("session_config")?;
    if is_new {
        session.require("kind");
        session.require("sockets");
    }
    let kind = session.parsed("kind", |text| match text.trim().to_ascii_lowercase().as_str() {
        "default" => Ok(SessionKind::Default),
        "seat" => Ok(SessionKind::Seat),
        "match" => Ok(SessionKind::Match),
        _ => Err(Invalid::new("", "must be one of Default, Seat, Match")),
    });
    let empty_ttl = session.integer("empty_ttl", 1..=FIGURE_MAX);
    Some(Some(SessionInput {
        kind,
        sockets: session.integer("sockets", 1..=FIGURE_MAX),
        autodeploy: session.boolean("autodeploy"),
        empty_ttl_minutes: if session.is_null("empty_ttl") { Some(None) } else { empty_ttl.map(Some) },
        session_max_duration_minutes: session.integer("session_max_duration", 60..=FIGURE_MAX),
    }))
}

/// Fields without a meaning here: checked, stored, shown again.
fn extras(object: &Map<String, Value>, body: &Fields<'_>) -> Option<Map<String, Value>> {
    let mut known = Vec::new();
    for key in
        ["use_telemetry", "inject_context_env", "enable_all_locations", "will_deploy_in_mainland_china"]
    {
        body.boolean(key);
        known.push(key);
    }
    for key in ["cache_min_hour", "cache_max_hour"] {
        body.integer::<u8>(key, 0..=23);
        known.push(key);
    }
    body.check("build_type", body.value("build_type").map_or(Ok(()), small_text));
    if let Some(probe) = body.object("probe") {
        for key in ["optimal_ping", "rejected_ping"] {
            probe.require(key);
            probe.integer::<u32>(key, 1..=FIGURE_MAX);
        }
    }
    body.check("dns_config", body.value("dns_config").map_or(Ok(()), small));
    known.extend(["build_type", "probe", "dns_config"]);
    let pick = |key: &str| object.get(key).map(|value| (key.to_owned(), value.clone()));
    let extras: Map<String, Value> = known.into_iter().filter_map(pick).collect();
    (!extras.is_empty()).then_some(extras)
}

fn small_text(value: &Value) -> Result<(), Invalid> {
    let Value::String(text) = value else { return Err(Invalid::new("", "must be a text")) };
    check_text(text, 0..=STORAGE_NAME_CHARS_MAX)
}

/// Nobody documents its form: any JSON of a sensible size.
fn small(value: &Value) -> Result<(), Invalid> {
    if value.to_string().len() > TEXT_CHARS_MAX {
        return Err(Invalid::new("", format!("must have at most {TEXT_CHARS_MAX} bytes as JSON")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
