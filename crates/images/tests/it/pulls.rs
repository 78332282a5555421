//! Pulls as they should go: kinds of manifests and layers, logins, redirects, resumption, many who ask at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use spawnpoint_images::{Credentials, Platform, Progress, PullError, PullOptions, Reference};
use spawnpoint_model::Plaintext;

use crate::fake::*;
use crate::tarball::{dir, file};

const USER: &str = "robot$game";
const SECRET: &str = "canary-secret-31";

fn login(password: &str) -> Credentials {
    Credentials { username: USER.to_owned(), password: Plaintext::new(password) }
}

/// What `Basic` sends for the login.
const BASIC: &str = "Basic cm9ib3QkZ2FtZTpjYW5hcnktc2VjcmV0LTMx";

#[tokio::test]
async fn layers_of_all_compressions_and_manifests_of_both_kinds_are_pulled() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    let layers = [
        gzip(&items(&[file("a", b"1")])),
        zstd(&items(&[file("b", b"22")])),
        plain(&items(&[file("c", b"333")])),
    ];
    for kind in [OCI_MANIFEST, DOCKER_MANIFEST] {
        let digest = fake.push("v1", kind, &layers);
        let seen = Mutex::new(Vec::<Progress>::new());
        let progress = |now: Progress| seen.lock().push(now);
        let options = PullOptions { progress: Some(&progress), ..PullOptions::default() };
        let image = test.store.pull(&fake.reference("v1"), None, &options).await.unwrap();
        assert_eq!((image.digest, image.size, image.layers.len()), (digest, 6, 3));
        assert_eq!(image.config.entrypoint, ["/game"]);
        for (layer, name) in image.layers.iter().zip(["a", "b", "c"]) {
            assert!(layer.join(name).exists());
        }
        let last = *seen.lock().last().unwrap();
        assert_eq!((last.layers_done, last.layers, Some(last.downloaded)), (3, 3, last.total));
    }
    assert!(test.entries("tmp").is_empty() && test.entries("partial").is_empty());
    assert_eq!(fake.asked("/blobs/").len(), 3 + 2, "the second manifest has the same layers");
}

#[tokio::test]
async fn an_index_leads_to_what_this_machine_runs_and_a_digest_asks_nobody_twice() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    let other = Platform { os: "linux".to_owned(), architecture: "s390x".to_owned(), variant: None };
    let own = fake.push("own", OCI_MANIFEST, &[small()]);
    let foreign = fake.push_for("foreign", OCI_MANIFEST, &[small()], &other);
    let here = Platform::here();
    for kind in [OCI_INDEX, DOCKER_LIST] {
        let describe = |digest, platform: &Platform| {
            serde_json::json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": 1,
                "platform": {"os": platform.os, "architecture": platform.architecture}})
        };
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": kind,
            "manifests": [describe(&foreign, &other), describe(&own, &here)]});
        let index = fake.manifest("multi", kind, &index);
        let image = test.store.pull(&fake.reference("multi"), None, &PullOptions::default()).await.unwrap();
        assert_eq!(image.digest, own);
        let options = PullOptions { platform: Some(&other), ..PullOptions::default() };
        let image = test.store.pull(&fake.reference("multi"), None, &options).await.unwrap();
        assert_eq!(image.digest, foreign);
        let pinned: Reference = format!("127.0.0.1:{}/game@{index}", fake.port()).parse().unwrap();
        assert_eq!(test.store.pull(&pinned, None, &PullOptions::default()).await.unwrap().digest, own);
        fake.forget();
        assert_eq!(test.store.pull(&pinned, None, &PullOptions::default()).await.unwrap().digest, own);
        assert!(fake.asked("").is_empty());
    }
    let wrong = test.store.pull(&fake.reference("foreign"), None, &PullOptions::default()).await;
    assert!(matches!(wrong, Err(PullError::Platform { .. })), "{wrong:?}");
}

#[tokio::test]
async fn a_moved_tag_is_followed_and_what_is_here_is_not_fetched_again() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    let base = noise("base", 300_000);
    fake.push("latest", OCI_MANIFEST, &[base.clone(), gzip(&items(&[file("v", b"1")]))]);
    let first = test.store.pull(&fake.reference("latest"), None, &PullOptions::default()).await.unwrap();
    fake.push("latest", OCI_MANIFEST, &[base.clone(), gzip(&items(&[file("v", b"2")]))]);
    fake.forget();
    let second = test.store.pull(&fake.reference("latest"), None, &PullOptions::default()).await.unwrap();
    assert_ne!(first.digest, second.digest);
    assert_eq!(first.layers[0], second.layers[0]);
    assert_eq!(fake.asked("/blobs/").len(), 2, "a configuration and the new layer");
    fake.forget();
    test.store.pull(&fake.reference("latest"), None, &PullOptions::default()).await.unwrap();
    assert_eq!((fake.asked("/manifests/").len(), fake.asked("/blobs/").len()), (1, 0));
    assert_eq!(test.store.find(&fake.reference("latest").to_string()), Some(second));
}

#[tokio::test]
async fn a_hundred_who_ask_at_once_cause_one_download() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    fake.push("v1", OCI_MANIFEST, &[noise("a", 500_000), noise("b", 500_000)]);
    let asks = (0..100).map(|n| {
        let (store, reference) = (test.store.clone(), fake.reference("v1"));
        let holder = format!("w-{n}");
        tokio::spawn(async move {
            let options = PullOptions { holder: Some(&holder), ..PullOptions::default() };
            store.pull(&reference, None, &options).await
        })
    });
    let asks: Vec<_> = asks.collect();
    for ask in asks {
        ask.await.unwrap().unwrap();
    }
    assert_eq!((fake.asked("/manifests/").len(), fake.asked("/blobs/").len()), (1, 3));
    assert_eq!(test.store.leases().unwrap().len(), 100);
}

#[tokio::test]
async fn images_that_share_a_layer_fetch_it_once_even_at_the_same_time() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    let shared = noise("shared", 2_000_000);
    for n in 0..4 {
        fake.push(&format!("v{n}"), OCI_MANIFEST, &[shared.clone(), noise(&format!("own{n}"), 1000)]);
    }
    let pulls = (0..4).map(|n| {
        let (store, reference) = (test.store.clone(), fake.reference(&format!("v{n}")));
        tokio::spawn(async move { store.pull(&reference, None, &PullOptions::default()).await })
    });
    for pull in pulls.collect::<Vec<_>>() {
        pull.await.unwrap().unwrap();
    }
    let digest = spawnpoint_images::Digest::of(&shared.sent);
    assert_eq!(fake.asked(digest.as_str()).len(), 1);
}

/// Wants `Bearer` everywhere but at its token service.
fn wants_bearer(fake: &Arc<Fake>, scheme: &str) {
    let realm = format!("{scheme}://localhost:{}/token", fake.port());
    fake.rule(move |asked| {
        if asked.path.starts_with("/token") {
            let right = asked.header("authorization") == Some(BASIC)
                && asked.path.contains("service=fake")
                && asked.path.contains("scope=repository%3Agame%3Apull");
            return Some(if right { answer(200).body(br#"{"token":"t0ken"}"#) } else { answer(401) });
        }
        let challenge = format!("Bearer realm=\"{realm}\",service=\"fake\",scope=\"repository:game:pull\"");
        let right = asked.header("authorization") == Some("Bearer t0ken");
        (!right).then(|| answer(401).header("www-authenticate", &challenge))
    });
}

#[tokio::test]
async fn a_token_is_fetched_over_tls_and_the_password_goes_nowhere_else() {
    if !root() {
        return;
    }
    let (fake, authority) = Fake::start_tls().await;
    let test = store_with(|options| options.authorities = vec![authority]);
    fake.push("v1", OCI_MANIFEST, &[small(), noise("n", 1000)]);
    wants_bearer(&fake, "https");
    let reference: Reference = format!("localhost:{}/game:v1", fake.port()).parse().unwrap();
    let none = test.store.pull(&reference, None, &PullOptions::default()).await;
    assert!(matches!(none, Err(PullError::Denied { status: 401 })), "{none:?}");
    let wrong = test.store.pull(&reference, Some(&login("wrong")), &PullOptions::default()).await;
    assert!(matches!(wrong, Err(PullError::Denied { status: 401 })), "{wrong:?}");
    fake.forget();
    test.store.pull(&reference, Some(&login(SECRET)), &PullOptions::default()).await.unwrap();
    assert_eq!(fake.asked("/token").len(), 1, "one token serves the whole pull");
    for asked in fake.asked("/v2/") {
        assert_ne!(asked.header("authorization"), Some(BASIC), "{}", asked.path);
    }
    let untrusting = store();
    let refused = untrusting.store.pull(&reference, None, &PullOptions::default()).await;
    assert!(refused.is_err(), "an unknown authority was trusted");
    let shown = format!("{wrong:?} {:?} {:?}", login(SECRET), test.store);
    assert!(!shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn a_token_service_without_tls_is_not_given_a_password() {
    let (fake, authority) = Fake::start_tls().await;
    let test = store_with(|options| options.authorities = vec![authority]);
    wants_bearer(&fake, "http");
    let reference: Reference = format!("localhost:{}/game:v1", fake.port()).parse().unwrap();
    let refused = test.store.pull(&reference, Some(&login(SECRET)), &PullOptions::default()).await;
    assert!(matches!(refused, Err(PullError::Forbidden(_))), "{refused:?}");
    assert!(fake.asked("/token").is_empty());
}

#[tokio::test]
async fn blobs_may_be_elsewhere_but_the_login_does_not_follow() {
    if !root() {
        return;
    }
    let (fake, storage, test) = (Fake::start().await, Fake::start().await, store());
    fake.push("v1", OCI_MANIFEST, &[small()]);
    storage.push("v1", OCI_MANIFEST, &[small()]);
    let port = storage.port();
    fake.rule(move |asked| {
        if asked.header("authorization") != Some(BASIC) {
            return Some(answer(401).header("www-authenticate", "Basic realm=\"fake\""));
        }
        let to = format!("http://127.0.0.1:{port}{}?signature=canary-signature", asked.path);
        let name = asked.path.rsplit('/').next().unwrap().to_owned();
        asked
            .path
            .contains("/blobs/")
            .then(|| answer(307).header("location", &to.replace(&name, &format!("x/{name}"))))
    });
    let served = Arc::clone(&storage);
    storage.rule(move |asked| {
        let plain = asked.path.split('?').next().unwrap().to_owned();
        Some(served.answer(&Asked { path: plain, headers: asked.headers.clone() }))
    });
    test.store.pull(&fake.reference("v1"), Some(&login(SECRET)), &PullOptions::default()).await.unwrap();
    assert_eq!(storage.asked("signature").len(), 2);
    assert!(storage.asked("").iter().all(|asked| asked.header("authorization").is_none()));
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_was() {
    if !root() {
        return;
    }
    for no_ranges in [false, true] {
        let (fake, test) = (Fake::start().await, store());
        let layer = noise("big", 3_000_000);
        let total = layer.sent.len();
        fake.push("v1", OCI_MANIFEST, &[layer]);
        *fake.no_ranges.lock() = no_ranges;
        let (honest, breaks) = (Arc::clone(&fake), AtomicUsize::new(0));
        fake.rule(move |asked| {
            let mut answer = honest.answer(asked);
            if answer.body.len() < 100_000 || breaks.fetch_add(1, Ordering::Relaxed) >= 3 {
                return None;
            }
            answer.length = Some(answer.body.len());
            answer.body.truncate(1_000_000);
            answer.then = Then::Close;
            Some(answer)
        });
        if no_ranges {
            // Nothing new comes from a registry that begins anew and breaks off at the same place.
            fake.honest();
            let honest = Arc::clone(&fake);
            let breaks = AtomicUsize::new(0);
            fake.rule(move |asked| {
                let mut answer = honest.answer(asked);
                if answer.body.len() < 100_000 {
                    return None;
                }
                let n = breaks.fetch_add(1, Ordering::Relaxed) + 1;
                answer.length = Some(answer.body.len());
                answer.body.truncate(n * 1_100_000);
                answer.then = Then::Close;
                Some(answer)
            });
        }
        let image = test.store.pull(&fake.reference("v1"), None, &PullOptions::default()).await.unwrap();
        assert_eq!(image.size, 3_000_000);
        let asked = fake.asked("/blobs/");
        let ranges: Vec<usize> = asked.iter().filter_map(Asked::range).collect();
        assert!(ranges.len() >= 2 && ranges.is_sorted() && ranges.iter().all(|n| *n < total), "{ranges:?}");
    }
}

#[tokio::test]
async fn a_pull_that_nobody_waits_for_stops_and_the_next_one_goes_on() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    fake.push("v1", OCI_MANIFEST, &[noise("big", 2_000_000)]);
    let honest = Arc::clone(&fake);
    fake.rule(move |asked| {
        let mut answer = honest.answer(asked);
        (answer.body.len() > 100_000).then(|| {
            answer.length = Some(answer.body.len());
            answer.body.truncate(1_000_000);
            answer.then = Then::Stall;
            answer
        })
    });
    let (store, reference) = (test.store.clone(), fake.reference("v1"));
    let pull = tokio::spawn(async move { store.pull(&reference, None, &PullOptions::default()).await });
    let dir = test.dir.path().join("images/partial");
    let arrived = || {
        let sizes = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        sizes.max().unwrap_or(0) >= 512 << 10
    };
    eventually("half of it has arrived", arrived).await;
    pull.abort();
    eventually("the thread that unpacked has ended", || test.entries("tmp").is_empty()).await;
    fake.honest();
    fake.forget();
    test.store.pull(&fake.reference("v1"), None, &PullOptions::default()).await.unwrap();
    let ranges: Vec<usize> = fake.asked("/blobs/").iter().filter_map(Asked::range).collect();
    assert!(ranges.len() == 1 && ranges[0] >= 512 << 10, "{ranges:?}");
    assert!(test.entries("partial").is_empty());
}

#[tokio::test]
async fn a_stalled_pull_is_cut_and_others_go_on() {
    if !root() {
        return;
    }
    let fake = Fake::start().await;
    let test = store_with(|options| options.limits.no_progress = Duration::from_secs(1));
    fake.push("stalls", OCI_MANIFEST, &[noise("big", 500_000)]);
    fake.push("good", OCI_MANIFEST, &[noise("good", 90_000)]);
    let honest = Arc::clone(&fake);
    fake.rule(move |asked| {
        let mut answer = honest.answer(asked);
        (answer.body.len() > 100_000).then(|| {
            answer.length = Some(answer.body.len());
            answer.body.truncate(200_000);
            answer.then = Then::Stall;
            answer
        })
    });
    let (store, reference) = (test.store.clone(), fake.reference("stalls"));
    let stalled = tokio::spawn(async move { store.pull(&reference, None, &PullOptions::default()).await });
    eventually("the blob is asked for", || fake.asked("/blobs/").len() >= 2).await;
    test.store.pull(&fake.reference("good"), None, &PullOptions::default()).await.unwrap();
    assert!(!stalled.is_finished());
    let error = stalled.await.unwrap().unwrap_err();
    assert!(matches!(error, PullError::Stalled { seconds: 1 }) && !error.is_permanent(), "{error}");
    assert_eq!(test.entries("partial").len(), 1, "what has arrived is kept");
    assert!(test.entries("tmp").is_empty());
}

#[tokio::test]
async fn a_registry_that_is_busy_is_asked_again_and_one_that_says_no_is_not() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    fake.push("v1", OCI_MANIFEST, &[small()]);
    let times = AtomicUsize::new(0);
    fake.rule(move |_| {
        let n = times.fetch_add(1, Ordering::Relaxed);
        (n % 3 != 2)
            .then(|| if n.is_multiple_of(3) { answer(429).header("retry-after", "0") } else { answer(503) })
    });
    test.store.pull(&fake.reference("v1"), None, &PullOptions::default()).await.unwrap();
    for (status, expected, times) in [(404, true, 1), (403, true, 1), (429, false, 5), (500, false, 5)] {
        fake.rule(move |_| Some(answer(status)));
        fake.forget();
        let error = test.store.pull(&fake.reference("v2"), None, &PullOptions::default()).await.unwrap_err();
        assert_eq!(
            (error.is_permanent(), fake.asked("/manifests/").len()),
            (expected, times),
            "{status}: {error}"
        );
    }
}

#[tokio::test]
async fn an_image_without_layers_is_an_empty_directory() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    fake.push("empty", OCI_MANIFEST, &[]);
    fake.push("root", OCI_MANIFEST, &[gzip(&items(&[dir("./").mode(0o711).owner(1, 2), file("a", b"")]))]);
    let image = test.store.pull(&fake.reference("empty"), None, &PullOptions::default()).await.unwrap();
    assert_eq!((image.layers.len(), image.root.mode), (1, 0o755));
    assert_eq!(std::fs::read_dir(&image.layers[0]).unwrap().count(), 0);
    let image = test.store.pull(&fake.reference("root"), None, &PullOptions::default()).await.unwrap();
    assert_eq!((image.root.mode, image.root.uid, image.root.gid), (0o711, 1, 2));
}
