//! Canaries: a secret of every kind is planted, everything is done that could betray it, and then it is looked for, in four
//! spellings, in all that anybody gets to see: answers, the log, webhooks, the command line's outputs, the database.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use spawnpoint_compat::api::{deployment, external, text};
use spawnpoint_compat::docker;
use spawnpoint_compat::http::{encode, request, send_raw};
use spawnpoint_compat::player::ask_udp;
use spawnpoint_compat::webhooks::Receiver;
use spawnpoint_compat::{PATIENCE, Server, eventually, server};

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
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                self.directory(&path);
            } else if !matches!(name.as_str(), "master-key" | "admin-token") {
                self.note(&format!("data directory: {name}"), &std::fs::read(&path).unwrap());
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
    let version = |name: &str, image: (&str, &str), token: &str| {
        json!({
            "name": name, "docker_repository": "localhost", "docker_image": image.0, "docker_tag": image.1,
            "endpoint_storage": "s3", "req_cpu": 128, "req_memory": 128, "private_username": "robot", "private_token": token, "time_to_deploy": 2,
            "ports": [{"name": "game", "port": 7777, "protocol": "UDP"}],
            "envs": [
                {"key": "HIDDEN", "value": hidden, "is_hidden": true},
                {"key": "OPEN", "value": "no-secret-at-all-31", "is_hidden": false},
            ],
        })
    };
    for (name, image) in [("v1", image), ("missing", ("nobody/nothing", "image-missing"))] {
        watch.call(server, "POST", "/v1/app/arena/version", Some(&version(name, image, &password)));
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
    watch.call(server, "GET", &format!("/v1/status/{id}"), None);
    watch.call(server, "GET", "/v1/deployments", None);
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
    for command in [["config", "check"], ["token", "list"], ["webhook", "list-dead"]] {
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
    let bytes = (0..32).map(|at| u8::from_str_radix(&master_key[2 * at..2 * at + 2], 16).unwrap()).collect();
    watch.canaries.insert("master key in bytes", bytes);
}

#[test]
fn no_secret_is_seen_anywhere_on_pretended_hosts() {
    let server = Server::start(server::fake);
    let (mut watch, receiver) = (Watch::default(), Receiver::open());
    keep_own_secrets(&server, &mut watch);
    let id = walk(&server, &mut watch, ("game", "1"), &receiver);
    search(server, watch, &receiver, &id);
}

#[test]
fn no_secret_is_seen_anywhere_with_real_containers_not_even_their_own_tokens() {
    let Some(engine) = docker::engine() else { return };
    let mut server = Server::start(server::docker);
    let _ = server.installation(&engine);
    let (mut watch, receiver) = (Watch::default(), Receiver::open());
    keep_own_secrets(&server, &mut watch);
    let id = walk(&server, &mut watch, engine.image(), &receiver);
    let port = external(&server.api.status(&id), "game");
    for (what, variable) in
        [("self-stop token", "ARBITRIUM_DELETE_TOKEN"), ("context token", "ARBITRIUM_CONTEXT_TOKEN")]
    {
        watch.keep(what, &ask_udp(port, &format!("env {variable}")));
    }
    watch.note("answers", ask_udp(port, "http-context").as_bytes());
    search(server, watch, &receiver, &id);
}
