//! The installation's own registry over the API: a registry that behaves, with a login server, and one that does not. (The real
//! one is in `compat/tests/registry.rs`.)

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::world::{ADMIN, World};

const TAGS: &str = "/v1/container-registry/images/arena/tags";
/// `robot$studio:push-me`.
const LOGIN: &str = "Basic cm9ib3Qkc3R1ZGlvOnB1c2gtbWU=";
const KIND: &str = "application/vnd.oci.image.manifest.v1+json";

/// What the registry answers instead of what it should.
type Script = fn(&Request, u32) -> Option<Response<Body>>;

/// Method, path and login of a request.
type Seen = (Method, String, Option<String>);

/// A registry with a login server of its own, and the image `studio/arena`.
#[derive(Clone)]
struct Fake {
    address: String,
    tags: Arc<Mutex<BTreeMap<String, String>>>,
    script: Arc<Mutex<Option<Script>>>,
    /// Where it keeps configurations, if not here.
    blobs: Arc<Mutex<Option<String>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

fn digest(text: &str) -> String {
    let hex: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn manifest(of: &str) -> String {
    let config = json!({"digest": digest("config"), "size": 500});
    json!({"schemaVersion": 2, "config": config, "layers": [{"size": 1_234_500}, {"size": 5}], "of": of})
        .to_string()
}

fn answer(code: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(code).header("content-type", KIND).body(body.into()).unwrap()
}

fn tags(all: &Value) -> Response<Body> {
    answer(200, json!({"name": "studio/arena", "tags": all}).to_string())
}

impl Fake {
    /// `v1` and `latest` are one image, `v2` is another.
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tags = [("latest", "one"), ("v1", "one"), ("v2", "two")];
        let fake = Self {
            address: listener.local_addr().unwrap().to_string(),
            tags: Arc::new(Mutex::new(
                tags.map(|(tag, image)| (tag.to_owned(), manifest(image))).into_iter().collect(),
            )),
            script: Arc::default(),
            blobs: Arc::default(),
            seen: Arc::default(),
        };
        let router = Router::new().fallback(Self::serve).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    async fn serve(State(fake): State<Self>, request: Request) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let login = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let count = {
            let mut seen = fake.seen.lock();
            seen.push((method.clone(), path.clone(), login.clone()));
            u32::try_from(seen.len()).unwrap()
        };
        let scripted = fake.script.lock().and_then(|script| script(&request, count));
        if let Some(scripted) = scripted {
            return scripted;
        }
        if path == "/token" {
            let query = request.uri().query().unwrap_or_default().replace("%3A", ":").replace("%2F", "/");
            let scope = query.split("scope=").nth(1).unwrap_or_default();
            let good = login.as_deref() == Some(LOGIN);
            return answer(if good { 200 } else { 401 }, json!({ "token": scope }).to_string());
        }
        let right = match method {
            Method::DELETE => "delete",
            Method::PUT => "push",
            _ => "pull",
        };
        let scope = format!("repository:studio/arena:{right}");
        if login != Some(format!("Bearer {scope}")) {
            let realm =
                format!("Bearer realm=\"http://{}/token\",service=\"s\",scope=\"{scope}\"", fake.address);
            let mut refused = answer(401, "");
            refused.headers_mut().insert("www-authenticate", realm.parse().unwrap());
            return refused;
        }
        let kind = request.headers().get("content-type").is_some_and(|kind| kind == KIND);
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let Some(below) = path.strip_prefix("/v2/studio/arena/") else { return answer(404, "") };
        fake.repository(&method, below, kind, body)
    }

    fn repository(&self, method: &Method, below: &str, kind: bool, body: String) -> Response<Body> {
        let mut tags = self.tags.lock();
        let (what, reference) = below.split_once('/').unwrap_or((below, ""));
        match (method.as_str(), what) {
            ("GET", "tags") => self::tags(&json!(tags.keys().collect::<Vec<_>>())),
            ("GET", "blobs") if self.blobs.lock().is_some() => moved(&self.blobs.lock().clone().unwrap()),
            ("GET", "blobs") => answer(200, r#"{"created": "2026-04-22T20:30:52.283949Z"}"#),
            ("PUT", "manifests") if kind => {
                tags.insert(reference.to_owned(), body);
                answer(201, "")
            }
            ("DELETE", "manifests") if reference.starts_with("sha256:") => {
                tags.retain(|_, image| digest(image) != reference);
                answer(202, "")
            }
            ("DELETE", _) => answer(400, ""),
            _ => match tags.iter().find(|(tag, image)| *tag == reference || digest(image) == reference) {
                Some((_, image)) => {
                    let mut found = answer(200, image.clone());
                    let digest = digest(image).parse().unwrap();
                    found.headers_mut().insert("docker-content-digest", digest);
                    found
                }
                None => answer(404, ""),
            },
        }
    }

    fn has(&self) -> Vec<String> {
        self.tags.lock().keys().cloned().collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_listed_and_deleted_with_the_login_of_the_configuration() {
    let fake = Fake::open().await;
    let world = World::with_registry(&fake.address).await;
    let list = world.get(TAGS).await.expect(200);
    let expected = json!({
        "tag": "v1", "last_push_at": "2026-04-22 20:30:52.283949",
        "artifact": {
            "artifact_deleted": false, "remaining_tags": ["latest", "v1"],
            "image_hash": digest(&manifest("one")), "size_mb": 1.24,
        },
    });
    assert_eq!((&list["data"][1], &list["count"], &list["total_count"]), (&expected, &json!(3), &json!(3)));
    assert_eq!(world.get(&format!("{TAGS}?page=9")).await.expect(200)["data"], json!([]));

    let gone = world.delete(&format!("{TAGS}/v1")).await.expect(200);
    let artifact = json!({
        "artifact_deleted": false, "remaining_tags": ["latest"],
        "image_hash": digest(&manifest("one")), "size_mb": 1.24,
    });
    assert_eq!(gone, json!({"deleted_tag": "v1", "artifact": artifact}));
    assert_eq!(fake.has(), ["latest", "v2"], "the others stay");
    let all = json!({"tags": ["latest", "latest", "v2"]});
    let several = world.post(&format!("{TAGS}/bulk-delete"), &all).await.expect(207);
    assert_eq!(several["summary"], json!({"total": 3, "success": 2, "failed": 1}));
    assert_eq!(
        (&several["results"][0]["status"], &several["results"][1]["status"]),
        (&json!(204), &json!(404))
    );
    assert_eq!(fake.has(), [""; 0]);
    // The secret went to the login server and nowhere else.
    for (_, path, login) in fake.seen.lock().iter() {
        let sent = login.as_ref().is_some_and(|login| login == LOGIN);
        assert_eq!(sent, path == "/token", "{path}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_kept_elsewhere_is_followed_without_the_login() {
    let (fake, elsewhere) = (Fake::open().await, Fake::open().await);
    *elsewhere.script.lock() = Some(|_, _| Some(answer(200, r#"{"created": "2025-01-02T03:04:05Z"}"#)));
    let world = World::with_registry(&fake.address).await;
    let dated = async |target: String| {
        *fake.blobs.lock() = Some(target);
        let list = world.get(TAGS).await.expect(200);
        list["data"][0]["last_push_at"].as_str().unwrap().to_owned()
    };
    assert_eq!(dated(format!("http://{}/kept", elsewhere.address)).await, "2025-01-02 03:04:05.000000");
    assert!(elsewhere.seen.lock().drain(..).all(|(_, path, login)| path == "/kept" && login.is_none()));
    for bad in
        ["https://169.254.169.254/x", "http://storage.example.com/x", "file:///etc/passwd", "", "http://"]
    {
        assert_eq!(dated(bad.to_owned()).await, "1970-01-01 00:00:00.000000", "{bad}");
    }
    world.end().await;
}

/// Everything that a registry can do wrong, and a part of what is said of it.
const WRONGS: [(&str, Script, &str); 14] = [
    ("is at fault", |_, _| Some(answer(500, "push-me")), "answered 500"),
    ("limits", |_, _| Some(answer(429, "")), "answered 429"),
    ("refuses", |_, _| Some(answer(403, "")), "login"),
    ("leads elsewhere", |_, _| Some(moved("http://169.254.169.254/")), "answered 307"),
    ("says no JSON", |_, _| Some(answer(200, "<html>push-me</html>")), "cannot be understood"),
    ("says other JSON", |_, _| Some(answer(200, "[1, 2]")), "cannot be understood"),
    ("has no texts for tags", |_, _| Some(tags(&json!([1]))), "cannot be understood"),
    ("has tags that are none", |_, _| Some(tags(&json!(["../../v2/other/x"]))), "a tag that is none"),
    ("never ends", |_, _| Some(answer(200, endless())), "more than is read"),
    (
        "has too many",
        |_, _| Some(tags(&json!((0..5001).map(|n| format!("t{n}")).collect::<Vec<_>>()))),
        "5000 tags",
    ),
    (
        "goes on for ever",
        |_, n| Some(linked(&format!("t{n}"), "/v2/studio/arena/tags/list?more")),
        "cannot be understood",
    ),
    ("goes on elsewhere", |_, _| Some(linked("v1", "http://127.0.0.1:1/v2/")), "another address"),
    ("logs in elsewhere", |_, _| Some(challenged("http://login.example.com/")), "HTTPS"),
    ("logs in at the metadata", |_, _| Some(challenged("https://169.254.169.254/token")), "cannot be asked"),
];

fn moved(to: &str) -> Response<Body> {
    let mut moved = answer(307, "");
    moved.headers_mut().insert("location", to.parse().unwrap());
    moved
}

fn linked(tag: &str, next: &str) -> Response<Body> {
    let mut piece = tags(&json!([tag]));
    piece.headers_mut().insert("link", format!("<{next}>; rel=\"next\"").parse().unwrap());
    piece
}

fn challenged(realm: &str) -> Response<Body> {
    let mut refused = answer(401, "");
    refused.headers_mut().insert("www-authenticate", format!("Bearer realm=\"{realm}\"").parse().unwrap());
    refused
}

fn endless() -> Body {
    let piece = || Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b' '; 64 * 1024]));
    Body::from_stream(futures_util::stream::repeat_with(piece))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_registry_does_wrong_is_said_in_bounded_time_and_without_its_words() {
    let fake = Fake::open().await;
    let world = World::with_registry(&fake.address).await;
    for (what, script, said) in WRONGS {
        *fake.script.lock() = Some(script);
        let started = Instant::now();
        for answer in [
            world.get(TAGS).await,
            world.delete(&format!("{TAGS}/v1")).await,
            world.post(&format!("{TAGS}/bulk-delete"), &json!({"tags": ["v1"]})).await,
        ] {
            assert_eq!(answer.code, 424, "{what}: {answer:?}");
            assert!(answer.message().contains(said), "{what}: {answer:?}");
            assert!(!answer.text.contains("push-me") && !answer.text.contains("html"), "{what}: {answer:?}");
        }
        assert!(started.elapsed() < Duration::from_secs(8), "{what}: {:?}", started.elapsed());
        let asked = fake.seen.lock().drain(..).count();
        assert!(asked <= 3 * 100, "{what}: {asked}");
    }
    assert_eq!(fake.has(), ["latest", "v1", "v2"], "nothing was deleted");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_says_nothing_is_waited_for_by_few_and_no_longer_than_an_exchange() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::with_registry(&listener.local_addr().unwrap().to_string()).await;
    let started = Instant::now();
    let answers = futures_util::future::join_all((0..10).map(|_| world.get(TAGS))).await;
    for answer in &answers {
        let is_late = answer.code == 424 && answer.message().contains("no answer in time");
        assert!(is_late || answer.code == 503, "{answer:?}");
    }
    assert_eq!(answers.iter().filter(|answer| answer.code == 503).count(), 2);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_behind_a_tag_may_be_nonsense_and_is_told_or_left_out() {
    let fake = Fake::open().await;
    let world = World::with_registry(&fake.address).await;
    // Gone between the list and the look at it.
    *fake.script.lock() = Some(|request, _| (request.method() == Method::HEAD).then(|| answer(404, "")));
    let list = world.get(TAGS).await.expect(200);
    assert_eq!((&list["data"], &list["count"]), (&json!([]), &json!(3)));
    for (what, script) in [
        (
            "no digest",
            (|request, _| {
                (request.method() == Method::HEAD).then(|| {
                    let mut lie = answer(200, "");
                    lie.headers_mut().insert("docker-content-digest", "../../x".parse().unwrap());
                    lie
                })
            }) as Script,
        ),
        ("no manifest", |request, _| {
            request.uri().path().contains("/manifests/sha256:").then(|| answer(200, "nonsense"))
        }),
        ("a huge manifest", |request, _| {
            request.uri().path().contains("/manifests/sha256:").then(|| answer(200, endless()))
        }),
        ("parts that are none", |request, _| {
            request
                .uri()
                .path()
                .contains("/manifests/sha256:")
                .then(|| answer(200, r#"{"manifests": [{"digest": "../x"}]}"#))
        }),
    ] {
        *fake.script.lock() = Some(script);
        assert_eq!(world.get(TAGS).await.code, 424, "{what}");
    }
    // Sizes that no image has, and a date that is none, are worth no failure.
    *fake.script.lock() = Some(|request, _| match request.uri().path() {
        path if path.contains("/blobs/") => Some(answer(200, r#"{"created": "yesterday"}"#)),
        path if path.contains("/manifests/sha256:") => {
            let layers = json!([{"size": u64::MAX}, {"size": u64::MAX}]);
            Some(answer(200, json!({"config": {"digest": digest("c")}, "layers": layers}).to_string()))
        }
        _ => None,
    });
    let list = world.get(TAGS).await.expect(200);
    assert_eq!(list["data"][0]["last_push_at"], "1970-01-01 00:00:00.000000");
    assert!(list["data"][0]["artifact"]["size_mb"].as_f64().unwrap() > 1e6);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_bodies_that_are_none_do_not_reach_the_registry() {
    let fake = Fake::open().await;
    let world = World::with_registry(&fake.address).await;
    for name in ["..", "%2E%2E%2Fother", "a%3Fb", "a%00", "Arena", "a//b", "studio%2F..%2Fx", "a/b/c/d/e/f/g"]
    {
        let answer = world.get(&format!("/v1/container-registry/images/{name}/tags")).await;
        assert_eq!(answer.code, 404, "{name}: {answer:?}");
    }
    assert_eq!(world.get("/v1/container-registry/images/%ff/tags").await.code, 400);
    assert_eq!(world.get(&format!("{TAGS}?page=0")).await.code, 400);
    let long = vec!["v"; 101];
    for (bad, field) in [
        (json!({}), "tags"),
        (json!({"tags": null}), "tags"),
        (json!({"tags": []}), "tags"),
        (json!({"tags": "v1"}), "tags"),
        (json!({"tags": long}), "tags"),
        (json!({"tags": ["v1", 5]}), "tags[1]"),
        (json!({"tags": [""]}), "tags[0]"),
        (json!({"tags": ["a".repeat(129)]}), "tags[0]"),
        (json!({"tags": ["a\u{0}"]}), "tags[0]"),
    ] {
        let answer = world.post(&format!("{TAGS}/bulk-delete"), &bad).await;
        assert_eq!(answer.code, 400, "{bad:.60}: {answer:?}");
        assert!(answer.message().starts_with(&format!("{field}: ")), "{bad:.60}: {answer:?}");
    }
    assert!(fake.seen.lock().is_empty());
    let bound = world.token("admin", &["arena"]).await;
    assert_eq!(world.call(Method::GET, TAGS, &bound, None).await.code, 403);
    assert_eq!(world.call(Method::GET, TAGS, ADMIN, None).await.code, 200);
    world.end().await;
}
