//! Canaries: a secret of every kind is planted, everything is done that could betray it, and then it is looked for, in four
//! spellings, in all that anybody gets to see: answers, the log, webhooks, the command line's outputs, the database.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use spawnpoint_compat::api::{deployment, external, text};
use spawnpoint_compat::http::{encode, request, send_raw};
use spawnpoint_compat::player::ask_udp;
use spawnpoint_compat::ports::Ports;
use spawnpoint_compat::registry::{PASSWORD, Registry};
use spawnpoint_compat::webhooks::Receiver;
use spawnpoint_compat::{PATIENCE, Runtime, Server, eventually, server};

spawnpoint_compat::on_each_runtime!(
    no_secret_is_seen_anywhere_with_real_containers_not_even_their_own_tokens,
);

/// The kinds of secrets that there are, each with its canaries.
const KINDS: [(&str, &[&str]); 9] = [
    ("hidden variable", &["hidden variable of a version", "hidden variable of a deployment"]),
    ("API token", &["first token", "token"]),
    ("a container's own token", &["self-stop token", "context token"]),
    ("registry password", &["registry password", "secret of the own registry"]),
    ("S3 key", &["S3 key"]),
    ("signing key", &["webhook secret", "authority's key", "authority's key in bytes"]),
    ("master key", &["master key", "master key in bytes"]),
    // There is none: no answer sets a cookie.
    ("session cookie", &[]),
    (
        "what is secret in an address",
        &[
            "user info of a webhook's address",
            "query of a webhook's address",
            "user info of a session's webhook",
            "query of a session's webhook",
        ],
    ),
];
/// Files whose purpose is to hold a secret.
const KEY_FILES: [&str; 3] = ["master-key", "admin-token", "ca-key.pem"];

/// Secrets by what they are, and everything that was seen, by where.
#[derive(Default)]
struct Watch {
    canaries: BTreeMap<&'static str, Vec<u8>>,
    seen: BTreeMap<String, String>,
}

/// Bytes as text, one sign each, so that texts and keys are looked for in one way.
fn signs(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// A secret as it could stand somewhere.
fn spellings(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = secret.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let mut all = vec![
        ("raw", secret.to_vec()),
        ("hex", hex.clone().into_bytes()),
        ("HEX", hex.to_uppercase().into_bytes()),
    ];
    if let Ok(plain) = std::str::from_utf8(secret) {
        all.push(("in a URL", encode(plain).into_bytes()));
        all.push(("in JSON", Value::from(plain).to_string().trim_matches('"').as_bytes().to_vec()));
    }
    // Base64 of a text that holds it depends on where it begins: of each alignment, what does not touch its ends.
    for skipped in 0..3 {
        let whole = (secret.len() - skipped) / 3 * 3;
        let middle = &secret[skipped..skipped + whole];
        all.push(("base64", BASE64_STANDARD_NO_PAD.encode(middle).into_bytes()));
        all.push(("base64 for URLs", BASE64_URL_SAFE_NO_PAD.encode(middle).into_bytes()));
    }
    all
}

impl Watch {
    fn plant(&mut self, what: &'static str) -> String {
        // Signs that each spelling writes differently.
        let canary = format!("canary/{what}+\u{e9}\"{:x}", std::process::id());
        self.canaries.insert(what, canary.clone().into_bytes());
        canary
    }

    /// A secret that Spawnpoint made.
    fn keep(&mut self, what: &'static str, secret: &str) {
        assert!(secret.len() >= 16, "{what}: {secret:?}");
        self.canaries.insert(what, secret.as_bytes().to_vec());
    }

    fn note(&mut self, place: &str, bytes: &[u8]) {
        let all = self.seen.entry(place.to_owned()).or_default();
        all.push_str(&signs(bytes));
        all.push('\n');
    }

    fn call(&mut self, server: &Server, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = server.api.call(method, path, body);
        self.note("answers", answer.head.as_bytes());
        self.note("answers", &answer.body);
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    fn command(&mut self, server: &Server, arguments: &[&str]) {
        let outcome = server.run(arguments);
        self.note("command line", outcome.text.as_bytes());
    }

    /// Everything in a directory but the files whose purpose is to hold a secret.
    fn directory(&mut self, dir: &Path) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let kind = std::fs::symlink_metadata(&path).map(|found| found.file_type());
            // It may have gone meanwhile, and a socket holds nothing.
            let Ok(kind) = kind else { continue };
            if kind.is_dir() {
                self.directory(&path);
            } else if kind.is_file() && !KEY_FILES.contains(&name.as_str()) {
                self.note(&format!("data directory: {name}"), &std::fs::read(&path).unwrap_or_default());
            }
        }
    }

    /// What can be read of every process of this machine but one, and this one.
    fn processes(&mut self, but: u64) {
        let own = u64::from(std::process::id());
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
        for pid in pids.filter(|pid| ![own, but].contains(pid)) {
            for file in ["cmdline", "environ"] {
                let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                self.note(&format!("{file} of a process"), &bytes);
            }
        }
    }

    /// Where a secret was seen.
    fn sightings(&self, secret: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (spelling, needle) in spellings(secret) {
            let needle = signs(&needle);
            for (place, text) in &self.seen {
                if text.contains(&needle) {
                    found.push(format!("{place}, {spelling}"));
                }
            }
        }
        found
    }
}

/// A game that is watched from all sides.
fn walk(server: &Server, watch: &mut Watch, image: (&str, &str), receiver: &Receiver) -> String {
    let (hidden, own) =
        (watch.plant("hidden variable of a version"), watch.plant("hidden variable of a deployment"));
    let (password, user_info) = (watch.plant("registry password"), "canary-in-user-info-7f3a");
    watch.keep("user info of a webhook's address", user_info);
    watch.keep("query of a webhook's address", "canary-in-the-query-9b1c");
    let url = |path: &str| {
        format!("http://user:{user_info}@{}{path}?key=canary-in-the-query-9b1c", receiver.address)
    };
    let app = json!({"name": "arena", "is_active": true, "image": ""});
    watch.call(server, "POST", "/v1/app", Some(&app));
    keep_a_storage(server, watch);
    let version = |name: &str, image: (&str, &str), seconds: u32, token: &str| {
        json!({
            "name": name, "docker_repository": "localhost", "docker_image": image.0, "docker_tag": image.1,
            "session_config": {"kind": "Seat", "sockets": 5},
            "endpoint_storage": "s3", "req_cpu": 128, "req_memory": 128, "private_username": "robot", "private_token": token, "time_to_deploy": seconds,
            "ports": [{"name": "game", "port": 7777, "protocol": "UDP"}],
            "envs": [
                {"key": "HIDDEN", "value": hidden, "is_hidden": true},
                {"key": "OPEN", "value": "no-secret-at-all-31", "is_hidden": false},
            ],
        })
    };
    for (name, image, seconds) in [("v1", image, 60), ("missing", ("nobody/nothing", "image-missing"), 2)] {
        watch.call(server, "POST", "/v1/app/arena/version", Some(&version(name, image, seconds, &password)));
        watch.call(
            server,
            "PATCH",
            &format!("/v1/app/arena/version/{name}"),
            Some(&json!({"force_cache": false})),
        );
        watch.call(server, "GET", &format!("/v1/app/arena/version/{name}"), None);
    }
    watch.call(server, "GET", "/v1/app/arena/versions", None);

    let fields = json!({
        "environment_variables": [{"key": "OWN", "value": own, "is_hidden": true}],
        "webhook_on_ready": {"url": url("/ready")}, "webhook_on_error": {"url": url("/error")},
        "webhook_on_terminated": {"url": url("/end")},
    });
    let deploy = deployment("arena", "v1", &fields);
    let id = text(&watch.call(server, "POST", "/v2/deployments", Some(&deploy)), "request_id");
    let _ = server.api.wait_for(&id, "READY");
    join(server, watch, &id, receiver);
    watch.call(server, "GET", &format!("/v1/status/{id}"), None);
    watch.call(server, "GET", "/v1/deployments", None);
    ask_the_registry(server, watch);
    let failing = text(
        &watch.call(server, "POST", "/v2/deployments", Some(&deployment("arena", "missing", &fields))),
        "request_id",
    );
    eventually("the missing image is an error", PATIENCE, || {
        let status = watch.call(server, "GET", &format!("/v1/status/{failing}"), None);
        (status["current_status"] == "Status.ERROR").then_some(())
    });
    provoke(server, watch, &fields);
    let _ = receiver.wait_for(&failing, "ERROR");
    id
}

/// Sessions, whose webhooks have addresses of their own: one that is called, one where nobody listens, some that are refused.
fn join(server: &Server, watch: &mut Watch, id: &str, receiver: &Receiver) {
    let (user_info, query) = ("canary-of-a-session-4c2e", "canary-session-query-8d1b");
    watch.keep("user info of a session's webhook", user_info);
    watch.keep("query of a session's webhook", query);
    let url = |at: &str| format!("http://player:{user_info}@{at}/session?key={query}");
    let (good, dead) = (url(&receiver.address.to_string()), url("127.0.0.1:9"));
    let session = |url: &str| {
        json!({"app_name": "arena", "version_name": "v1", "deployment_request_id": id,
            "ip_list": ["192.0.2.7"], "webhook_url": url})
    };
    let made = watch.call(server, "POST", "/v1/session", Some(&session(&good)));
    let path = format!("/v1/session/{}", text(&made, "session_id"));
    let customs = format!("/v1/deployment/{id}/custom/sessions");
    let custom = format!("/v1/deployment/{id}/custom/session/party");
    let several = json!({"sessions": [{"custom_id": "other", "ip_list": [], "webhook_url": dead}]});
    watch.call(server, "POST", "/v1/session", Some(&session(&dead)));
    watch.call(server, "POST", &custom, Some(&json!({"ip_list": ["192.0.2.8"], "webhook_url": good})));
    watch.call(server, "POST", &customs, Some(&several));
    for bad in
        [good.replace("http:", "gopher:"), url("169.254.169.254"), url("bad host"), format!("{good}\u{0}")]
    {
        watch.call(server, "POST", "/v1/session", Some(&session(&bad)));
        watch.call(server, "PATCH", &custom, Some(&json!({"ip_list": [], "webhook_url": bad})));
    }
    for path in [&path, &format!("{path}/users"), "/v1/sessions", &custom, &customs] {
        watch.call(server, "GET", path, None);
    }
    eventually("a session's webhook came", PATIENCE, || {
        let received = receiver.received();
        received.iter().any(|received| received.path.starts_with("/session")).then_some(())
    });
    watch.call(server, "DELETE", &path, None);
}

/// The installation's own registry, as it is asked by those who need not know its secret. (One answer gives it to plugins.)
fn ask_the_registry(server: &Server, watch: &mut Watch) {
    watch.keep("secret of the own registry", PASSWORD);
    for name in ["arena", "nothing", "..%2Fother"] {
        let tags = format!("/v1/container-registry/images/{name}/tags");
        watch.call(server, "GET", &tags, None);
        watch.call(server, "DELETE", &format!("{tags}/v1"), None);
        watch.call(server, "POST", &format!("{tags}/bulk-delete"), Some(&json!({"tags": ["v1"]})));
    }
}

/// A storage that nobody answers for: what is told of its failures must not tell its key.
fn keep_a_storage(server: &Server, watch: &mut Watch) {
    let secret = "canary/S3+secret/access=key+5e7d";
    watch.keep("S3 key", secret);
    let storage = json!({
        "name": "s3", "access_key_id": "AKIA-IS-NO-SECRET", "secret_access_key": secret,
        "endpoint": "http://127.0.0.1:9", "bucket": "logs",
    });
    let made = watch.call(server, "POST", "/v1/storage/endpoint", Some(&storage));
    assert_eq!(made["name"], "s3");
    let wrong = json!({"name": "wrong", "secret_access_key": [secret], "access_key_id": secret.repeat(99)});
    watch.call(server, "POST", "/v1/storage/endpoint", Some(&wrong));
    watch.call(server, "PATCH", "/v1/storage/endpoint/s3", Some(&json!({"secret_access_key": secret})));
    watch.call(server, "GET", "/v1/storage/endpoint/s3", None);
    watch.call(server, "GET", "/v1/storage/endpoints", None);
}

/// Requests that are wrong in just the fields that hold secrets: what is refused must not be repeated.
fn provoke(server: &Server, watch: &mut Watch, fields: &Value) {
    let secret = fields["environment_variables"][0]["value"].as_str().unwrap().to_owned();
    let url = text(&fields["webhook_on_ready"], "url");
    let long = format!("{secret}{}", "x".repeat(5000));
    let bad = [
        (
            "/v2/deployments",
            deployment(
                "arena",
                "v1",
                &json!({"environment_variables": [{"key": "K", "value": long, "is_hidden": true}]}),
            ),
        ),
        (
            "/v2/deployments",
            deployment(
                "arena",
                "v1",
                &json!({"environment_variables": [{"key": "K", "value": [secret], "is_hidden": true}]}),
            ),
        ),
        ("/v2/deployments", deployment("arena", "v1", &json!({"environment_variables": secret}))),
        (
            "/v2/deployments",
            deployment("arena", "v1", &json!({"webhook_on_ready": {"url": url.replace("http:", "gopher:")}})),
        ),
        (
            "/v2/deployments",
            deployment(
                "arena",
                "v1",
                &json!({"webhook_on_ready": {"url": url.replace("127.0.0.1", "169.254.169.254")}}),
            ),
        ),
        (
            "/v2/deployments",
            deployment(
                "arena",
                "v1",
                &json!({"webhook_on_ready": {"url": url.replace("127.0.0.1", "bad host")}}),
            ),
        ),
        ("/v2/deployments", deployment("arena", "v1", &json!({"webhook_on_ready": url}))),
        (
            "/v1/app/arena/version",
            json!({"name": "x", "private_token": format!("{secret}\u{0}"), "envs": [{"key": "E", "value": format!("{secret}\u{0}"), "is_secret": true}]}),
        ),
    ];
    for (path, body) in bad {
        let answer = server.api.post(path, &body);
        // The metadata address may be found out later, when it is called.
        assert!(matches!(answer.status, 400 | 202), "{} {}", answer.status, answer.text());
        watch.note("answers", &answer.body);
    }
    let broken = format!("{{\"environment_variables\":[{{\"value\":\"{secret}");
    let authorization = format!("token {}", server.api.token);
    let half =
        request("POST", "/v2/deployments", &[("authorization", &authorization)], Some(broken.as_bytes()));
    watch.note("answers", &send_raw(server.api.address, &half).unwrap().body);
    let wrong = request(
        "GET",
        &format!("/v1/apps?token={}", encode(&server.api.token)),
        &[("authorization", &format!("{authorization} x"))],
        None,
    );
    watch.note("answers", &send_raw(server.api.address, &wrong).unwrap().body);
}

/// Everything else that can be looked at, and then the search.
fn search(mut server: Server, mut watch: Watch, receiver: &Receiver, id: &str) {
    // A webhook that is given up at once is kept where operators see it.
    receiver.answer_next(&[410]);
    server.api.stop(id);
    eventually("a webhook is given up", PATIENCE, || {
        let dead = watch.call(&server, "GET", "/spawnpoint/v1/webhooks/dead", None);
        (dead["total_count"].as_u64()? > 0).then_some(())
    });
    eventually("its log did not find its storage", PATIENCE, || {
        let events = watch.call(&server, "GET", &format!("/v2/deployments/{id}/events"), None);
        events.to_string().contains("logs_upload").then_some(())
    });
    for path in
        ["/v1/deployment/{id}/container-logs", "/v2/deployments/{id}/logs", "/v1/metrics/deployment/{id}"]
    {
        watch.call(&server, "GET", &path.replace("{id}", id), None);
    }
    watch.command(&server, &["inspect", id]);
    watch.call(&server, "GET", "/spawnpoint/v1/audit", None);
    watch.call(&server, "GET", "/spawnpoint/v1/tokens", None);
    for command in [["config", "check"], ["token", "list"], ["webhook", "list-dead"], ["ca", "print"]] {
        watch.command(&server, &command);
    }
    watch.command(&server, &["audit"]);
    let pid = server.pid().unwrap();
    for file in ["cmdline", "environ"] {
        watch.note("process", &std::fs::read(format!("/proc/{pid}/{file}")).unwrap());
    }
    watch.directory(&server.data_dir());
    server.kill();
    watch.directory(&server.data_dir());
    server.restart();
    server.terminate();
    watch.directory(&server.data_dir());
    for received in receiver.received() {
        watch.note("webhooks", received.body.as_bytes());
        for (name, value) in received.headers.iter().filter(|(name, _)| name != "authorization") {
            watch.note("webhooks", format!("{name}: {value}").as_bytes());
        }
    }
    let log = server.log();
    // Shown once, when it was made, to whoever started the server.
    assert_eq!(log.matches(&server.api.token).count(), 1);
    watch.note("log", log.replace(&server.api.token, "").as_bytes());

    for (kind, canaries) in KINDS {
        let missing = canaries.iter().find(|what| !watch.canaries.contains_key(*what));
        assert_eq!(missing, None, "{kind}: it was not planted");
    }
    assert!(!watch.seen["answers"].to_lowercase().contains("set-cookie"));
    for (what, secret) in &watch.canaries {
        assert_eq!(watch.sightings(secret), Vec::<String>::new(), "{what}");
    }
    // The search finds what is no secret: in answers and in the database.
    let open = watch.sightings(b"no-secret-at-all-31").join("; ");
    assert!(open.contains("answers, raw") && open.contains("data directory: spawnpoint.db"), "{open}");
    assert!(!watch.sightings(b"localhost").is_empty());
}

/// The secrets that Spawnpoint makes itself.
fn keep_own_secrets(server: &Server, watch: &mut Watch) {
    watch.keep("first token", &server.api.token);
    let made =
        server.api.post("/spawnpoint/v1/tokens", &json!({"name": "ci", "scope": "deploy"})).expect(201);
    watch.keep("token", &text(&made, "token"));
    let secret = server.run(&["webhook", "secret"]).text;
    let secret = secret.split_whitespace().find_map(|word| word.strip_prefix("whsec_")).unwrap();
    watch.keep("webhook secret", secret);
    let master_key = std::fs::read_to_string(server.data_dir().join("master-key")).unwrap();
    let master_key = master_key.trim();
    watch.keep("master key", master_key);
    let bytes: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&master_key[2 * at..2 * at + 2], 16).unwrap()).collect();
    watch.canaries.insert("master key in bytes", bytes);
    watch.command(server, &["ca", "print"]);
    let pem = std::fs::read_to_string(server.data_dir().join("ca-key.pem")).unwrap();
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    watch.keep("authority's key", lines[0]);
    // The number itself: the rest says which curve it is of, and that is no secret.
    let key = BASE64_STANDARD.decode(lines.concat()).unwrap();
    watch.canaries.insert("authority's key in bytes", key[36..68].to_vec());
}

/// The tokens that a container is given, as they are derived from the master key.
fn keep_the_tokens_of(watch: &mut Watch, id: &str) {
    let mac = |key: &[u8], message: &[u8]| {
        Hmac::<sha2::Sha256>::new_from_slice(key).unwrap().chain_update(message).finalize().into_bytes()
    };
    let key = mac(&watch.canaries["master key in bytes"], b"spawnpoint mac");
    for (what, purpose) in [("self-stop token", "self-stop"), ("context token", "context")] {
        let mut message = u64::try_from(purpose.len()).unwrap().to_be_bytes().to_vec();
        message.extend_from_slice(purpose.as_bytes());
        message.extend_from_slice(id.as_bytes());
        let token: String = mac(&key, &message).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        watch.keep(what, &token);
    }
}

/// A configuration with a registry of its own, if one can be had, else with one that does not answer.
fn with_registry(
    ports: &Ports,
    site: impl FnOnce(&Ports) -> String,
    registry: Option<&Registry>,
    token: &Path,
) -> String {
    let own = registry.map(|registry| registry.as_own("games")).unwrap_or_else(|| {
        std::fs::write(token, PASSWORD).unwrap();
        std::fs::set_permissions(token, std::fs::Permissions::from_mode(0o600)).unwrap();
        format!(
            "[registry]\nurl = \"127.0.0.1:9\"\nproject = \"games\"\nusername = \"robot\"\ntoken_file = \"{}\"\n",
            token.display()
        )
    });
    format!("{}{own}", site(ports))
}

#[test]
fn no_secret_is_seen_anywhere_on_pretended_hosts() {
    let (registry, dir) = (Registry::start(), tempfile::tempdir().unwrap());
    let server = Server::start(|ports| {
        with_registry(ports, server::fake, registry.as_ref(), &dir.path().join("token"))
    });
    let (mut watch, receiver) = (Watch::default(), Receiver::open());
    keep_own_secrets(&server, &mut watch);
    let id = walk(&server, &mut watch, ("game", "1"), &receiver);
    keep_the_tokens_of(&mut watch, &id);
    search(server, watch, &receiver, &id);
}

fn no_secret_is_seen_anywhere_with_real_containers_not_even_their_own_tokens(runtime: &Runtime) {
    // The other runtime's game has the same secrets in its environment, where they belong.
    let alone = std::fs::File::create(std::env::temp_dir().join("spawnpoint-compat-secrets.lock")).unwrap();
    alone.lock().unwrap();
    // This registry does not answer.
    let dir = tempfile::tempdir().unwrap();
    let (server, installation) = runtime.start_with(|ports| {
        with_registry(ports, |ports| runtime.site(ports), None, &dir.path().join("token"))
    });
    let (mut watch, receiver) = (Watch::default(), Receiver::open());
    keep_own_secrets(&server, &mut watch);
    let id = walk(&server, &mut watch, runtime.image(), &receiver);
    keep_the_tokens_of(&mut watch, &id);
    let port = external(&server.api.status(&id), "game");
    for (what, variable) in
        [("self-stop token", "ARBITRIUM_DELETE_TOKEN"), ("context token", "ARBITRIUM_CONTEXT_TOKEN")]
    {
        assert_eq!(ask_udp(port, &format!("env {variable}")).into_bytes(), watch.canaries[what]);
    }
    watch.note("answers", ask_udp(port, "http-context").as_bytes());
    // While it runs: records, logs and sockets of the runtime, and everybody else on this machine.
    let game = installation.container(&id);
    assert!(game.environment.contains(&"OPEN=no-secret-at-all-31".to_owned()), "this is the game");
    watch.note("what is shown of it", game.shown.as_bytes());
    watch.processes(game.pid);
    watch.directory(&server.data_dir());
    watch.directory(&installation.run_dir().unwrap_or_default());
    search(server, watch, &receiver, &id);
}
