//! Registries that lie, and layers that are meant to do harm: refused, with nothing left behind.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use spawnpoint_images::{AddressPolicy, Digest, Limits, PullError, PullOptions, Reference};

use crate::fake::*;
use crate::tarball::{file, node, symlink};

async fn pull(test: &TestStore, fake: &Fake, tag: &str) -> PullError {
    test.store.pull(&fake.reference(tag), None, &PullOptions::default()).await.unwrap_err()
}

fn nothing_left(test: &TestStore) {
    for part in ["tmp", "partial", "layers", "images", "names"] {
        assert!(test.entries(part).is_empty(), "{part}: {:?}", test.entries(part));
    }
}

#[tokio::test]
async fn blobs_that_are_not_what_their_digest_and_size_say_are_refused() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    let layer = gzip(&noise("layer", 400_000).archive);
    assert!(layer.sent.len() > 180_000);
    fake.push("v1", OCI_MANIFEST, std::slice::from_ref(&layer));
    let is_layer = |answer: &Answer| answer.body.len() > 100_000;
    for (what, change) in [
        ("other bytes", (|body: &mut Vec<u8>| body[100_000] ^= 1) as fn(&mut Vec<u8>)),
        // The time in gzip's header: what is unpacked is the same.
        ("another header", |body| body[4] ^= 1),
        ("no archive", |body| body.fill(7)),
        ("too short", |body| body.truncate(150_000)),
        ("too long", |body| body.push(0)),
        ("nothing", |body| body.clear()),
    ] {
        let honest = Arc::clone(&fake);
        fake.rule(move |asked| {
            let mut answer = honest.answer(asked);
            is_layer(&answer).then(|| {
                change(&mut answer.body);
                answer
            })
        });
        let error = pull(&test, &fake, "v1").await;
        assert!(matches!(error, PullError::Refused(_)), "{what}: {error}");
        nothing_left(&test);
    }
}

#[tokio::test]
async fn a_body_that_ends_early_without_a_length_is_refused() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    fake.push("v1", OCI_MANIFEST, &[noise("layer", 200_000)]);
    let honest = Arc::clone(&fake);
    fake.rule(move |asked| {
        let mut answer = honest.answer(asked);
        if asked.range().is_some() {
            return Some(crate::fake::answer(416));
        }
        (answer.body.len() > 100_000).then(|| {
            answer.length = Some(answer.body.len());
            answer.body.truncate(150_000);
            answer.then = Then::Close;
            answer
        })
    });
    let error = pull(&test, &fake, "v1").await;
    assert!(matches!(error, PullError::Refused(_)), "{error}");
}

#[tokio::test]
async fn manifests_and_configurations_that_lie_are_refused() {
    let (fake, test) = (Fake::start().await, store());
    fake.push("v1", OCI_MANIFEST, &[small()]);
    let wrong: Reference =
        format!("127.0.0.1:{}/game@{}", fake.port(), Digest::of(b"wrong")).parse().unwrap();
    let honest = Arc::clone(&fake);
    fake.rule(move |asked| {
        let path = asked.path.replace(Digest::of(b"wrong").as_str(), "v1");
        Some(honest.answer(&Asked { path, headers: asked.headers.clone() }))
    });
    let error = test.store.pull(&wrong, None, &PullOptions::default()).await.unwrap_err();
    assert!(matches!(error, PullError::Refused(_)), "{error}");
    // Without end: the length is not told, the body comes and comes.
    fake.rule(|asked| asked.path.contains("/manifests/").then(|| answer(200).body(&vec![b' '; 6 << 20])));
    let error = pull(&test, &fake, "v1").await;
    assert!(error.to_string().contains("too large"), "{error}");
    fake.honest();
    let manifest = serde_json::json!({"schemaVersion": 2, "layers": [],
        "config": {"digest": Digest::of(b"x"), "size": 5_u64 << 30}});
    fake.manifest("giant", OCI_MANIFEST, &manifest);
    let error = pull(&test, &fake, "giant").await;
    assert!(matches!(error, PullError::Refused(_)), "{error}");
    let manifest = serde_json::json!({"schemaVersion": 2, "layers": [], "config": fake.blob(b"{\"a\":1}")});
    fake.manifest("artifact", OCI_MANIFEST, &manifest);
    let error = pull(&test, &fake, "artifact").await;
    assert!(error.to_string().contains("configuration"), "{error}");
    nothing_left(&test);
}

#[tokio::test]
async fn a_layer_that_is_not_its_diff_id_is_refused() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    let layer = small();
    fake.push("v1", OCI_MANIFEST, &[Layer { archive: b"something else".to_vec(), ..layer }]);
    let error = pull(&test, &fake, "v1").await;
    assert!(error.to_string().contains("as the configuration says"), "{error}");
    nothing_left(&test);
}

#[tokio::test]
async fn redirects_without_end_or_to_forbidden_places_are_refused() {
    let (fake, test) = (Fake::start().await, store());
    fake.push("v1", OCI_MANIFEST, &[small()]);
    let own = format!("http://127.0.0.1:{}", fake.port());
    fake.rule(move |asked| Some(answer(302).header("location", &format!("{own}{}", asked.path))));
    let error = pull(&test, &fake, "v1").await;
    assert!(error.to_string().contains("redirects without end"), "{error}");
    assert!(fake.asked("").len() < 12);
    for (to, forbidden) in [
        ("http://192.0.2.1/x", true),
        ("ftp://127.0.0.1/x", true),
        ("file:///etc/passwd", true),
        ("http://", false),
    ] {
        fake.rule(move |_| Some(answer(302).header("location", to)));
        let error = pull(&test, &fake, "v1").await;
        assert_eq!(matches!(error, PullError::Forbidden(_)), forbidden, "{to}: {error}");
        assert!(error.is_permanent());
    }
    nothing_left(&test);
}

/// Loopback but for one address; names may lead nowhere.
struct Picky;

impl AddressPolicy for Picky {
    fn permits(&self, address: IpAddr) -> bool {
        address == IpAddr::V4(Ipv4Addr::LOCALHOST) && address != IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))
    }

    fn check(&self, url: &url::Url) -> Result<(), String> {
        if url.path().contains("metadata") { Err("not this one".to_owned()) } else { Ok(()) }
    }
}

struct Closed;

impl AddressPolicy for Closed {
    fn permits(&self, _: IpAddr) -> bool {
        false
    }
}

#[tokio::test]
async fn the_address_policy_is_asked_of_literal_addresses_names_and_redirects() {
    let fake = Fake::start().await;
    fake.push("v1", OCI_MANIFEST, &[small()]);
    let closed = store_with(|options| options.addresses = Arc::new(Closed));
    let error = pull(&closed, &fake, "v1").await;
    assert!(matches!(error, PullError::Forbidden(_)), "{error}");
    let named: Reference = format!("localhost:{}/game:v1", fake.port()).parse().unwrap();
    let error = closed.store.pull(&named, None, &PullOptions::default()).await.unwrap_err();
    assert!(matches!(error, PullError::Forbidden(_)), "{error}");
    assert!(fake.asked("").is_empty());
    let picky = store_with(|options| options.addresses = Arc::new(Picky));
    for to in ["http://127.0.0.2/x", "http://[::1]/x", "http://127.0.0.1/latest/metadata"] {
        fake.rule(move |_| Some(answer(302).header("location", to)));
        let error = pull(&picky, &fake, "v1").await;
        assert!(matches!(error, PullError::Forbidden(_)), "{to}: {error}");
    }
}

#[tokio::test]
async fn bombs_are_refused_before_they_fill_the_disk() {
    if !root() {
        return;
    }
    let fake = Fake::start().await;
    let zeros = vec![0; 8 << 20];
    let many: Vec<_> = (0..200).map(|n| file(&format!("f{n}"), b"")).collect();
    fake.push(
        "large",
        OCI_MANIFEST,
        &[gzip(&items(&[file("zeros", &zeros)])), gzip(&items(&[file("more", &zeros)]))],
    );
    fake.push("tail", OCI_MANIFEST, &[zstd(&[items(&[file("a", b"")]), vec![0; 40 << 20]].concat())]);
    fake.push("many", OCI_MANIFEST, &[gzip(&items(&many))]);
    fake.push(
        "sparse",
        OCI_MANIFEST,
        &[gzip(&items(&[file("s", b"")
            .pax("GNU.sparse.map", b"")
            .pax("GNU.sparse.size", b"1099511627776")]))],
    );
    fake.push("layers", OCI_MANIFEST, &vec![small(); 130]);
    let limits = Limits { unpacked_bytes: 10 << 20, files: 100, ..limits() };
    let test = store_with(|options| options.limits = limits);
    for tag in ["large", "tail", "many", "sparse", "layers"] {
        let error = pull(&test, &fake, tag).await;
        assert!(matches!(error, PullError::Refused(_)), "{tag}: {error}");
        // The threads of the other layers see it at their next read.
        eventually("its files are gone", || test.entries("tmp").is_empty()).await;
    }
    let roomy = store_with(|options| options.limits.ratio_from = 10 << 20);
    let error = pull(&roomy, &fake, "tail").await;
    assert!(error.to_string().contains("meant to fill the disk"), "{error}");
    let full = store_with(|options| options.limits.disk_reserve = 1 << 60);
    match pull(&full, &fake, "large").await {
        PullError::Store(error) => {
            assert!(error.is_disk_full() && error.to_string().contains("full"), "{error}")
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn layers_that_lead_out_of_themselves_are_refused_and_leave_nothing() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    let outside = test.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    fake.push("dots", OCI_MANIFEST, &[gzip(&items(&[file("../../../../outside/x", b"x")]))]);
    let error = pull(&test, &fake, "dots").await;
    assert!(matches!(error, PullError::Refused(_)), "{error}");
    fake.push("whiteout", OCI_MANIFEST, &[gzip(&items(&[node(b'3', "x", (0, 0))]))]);
    let error = pull(&test, &fake, "whiteout").await;
    assert!(matches!(error, PullError::Refused(_)), "{error}");
    nothing_left(&test);
    // Through a link of a layer below: each layer is a root of its own.
    let link = gzip(&items(&[symlink("out", outside.to_str().unwrap())]));
    fake.push("link", OCI_MANIFEST, &[link, gzip(&items(&[file("out/x", b"x")]))]);
    test.store.pull(&fake.reference("link"), None, &PullOptions::default()).await.unwrap();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}
