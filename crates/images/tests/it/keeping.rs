//! What a store keeps, who may take it away, and what a crash leaves.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use spawnpoint_images::{PruneWhat, PullOptions, Removed, Store, StoreError};

use crate::fake::*;
use crate::tarball::file;

/// Tells the child that [`a_pull_that_is_killed_leaves_nothing_wrong`] starts what to pull, and where to.
const CHILD: &str = "SPAWNPOINT_IMAGES_TEST_CHILD";

async fn pull(test: &TestStore, fake: &Fake, tag: &str) -> spawnpoint_images::Image {
    test.store.pull(&fake.reference(tag), None, &PullOptions::default()).await.unwrap()
}

#[tokio::test]
async fn an_image_goes_with_its_last_name_unless_somebody_holds_it() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    let shared = noise("shared", 1000);
    for tag in ["one", "same"] {
        fake.push(tag, OCI_MANIFEST, &[shared.clone(), small()]);
    }
    // The tag is written into the configuration: make them the same image.
    let honest = Arc::clone(&fake);
    fake.rule(move |asked| {
        let path = asked.path.replace("/same", "/one");
        Some(honest.answer(&Asked { path, headers: asked.headers.clone() }))
    });
    let image = pull(&test, &fake, "one").await;
    assert_eq!(pull(&test, &fake, "same").await, image);
    let (one, same) = (fake.reference("one").to_string(), fake.reference("same").to_string());
    assert_eq!(test.store.list().unwrap()[0].names, [one.clone(), same.clone()]);
    test.store.hold(&image.digest, "w-1").unwrap();
    test.store.hold(&image.digest, "w-1").unwrap();
    assert_eq!(test.store.remove(&one).unwrap(), Removed::Name);
    assert_eq!(test.store.find(&one), None);
    for name in [same.as_str(), image.digest.as_str()] {
        let refused = test.store.remove(name).unwrap_err();
        assert!(matches!(&refused, StoreError::InUse(who) if who == &["w-1"]), "{refused}");
    }
    assert_eq!(test.store.find(image.digest.as_str()), Some(image.clone()));
    test.store.release(&image.digest, "w-1").unwrap();
    test.store.release(&image.digest, "w-1").unwrap();
    assert_eq!(test.store.remove(&same).unwrap(), Removed::Image);
    assert_eq!(test.store.remove(&same).unwrap(), Removed::Absent);
    for part in ["layers", "images", "names", "tmp"] {
        assert!(test.entries(part).is_empty(), "{part}");
    }
    assert!(matches!(test.store.hold(&image.digest, "w-2"), Err(StoreError::Absent(_))));
}

#[tokio::test]
async fn a_prune_takes_what_nobody_holds_and_no_layer_that_is_shared() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    let shared = noise("shared", 1000);
    fake.push("held", OCI_MANIFEST, &[shared.clone(), noise("own", 100)]);
    fake.push("free", OCI_MANIFEST, &[shared.clone(), noise("other", 10)]);
    let held = pull(&test, &fake, "held").await;
    pull(&test, &fake, "free").await;
    test.store.hold(&held.digest, "w-1").unwrap();
    assert_eq!(test.store.prune(PruneWhat::Nameless).unwrap().images, 0);
    // Leases outlive the process.
    let again = Store::open(test.dir.path().join("images")).unwrap();
    assert_eq!(again.leases().unwrap()[0].holder, "w-1");
    let pruned = again.prune(PruneWhat::Unused).unwrap();
    assert_eq!((pruned.images, pruned.layers, pruned.bytes), (1, 1, 10));
    assert_eq!(test.store.find(held.digest.as_str()), Some(held.clone()));
    assert!(held.layers.iter().all(|layer| layer.is_dir()));
    again.release(&held.digest, "w-1").unwrap();
    let pruned = again.prune(PruneWhat::Unused).unwrap();
    assert_eq!((pruned.images, pruned.layers, pruned.bytes), (1, 2, 1100));
    for part in ["layers", "images", "names", "leases", "tmp"] {
        assert!(test.entries(part).is_empty(), "{part}");
    }
}

#[tokio::test]
async fn an_image_whose_tag_moved_on_has_no_name_and_is_pruned() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    for version in [b"1", b"2"] {
        fake.push("latest", OCI_MANIFEST, &[gzip(&items(&[file("v", version)]))]);
        pull(&test, &fake, "latest").await;
    }
    assert_eq!(test.store.list().unwrap().len(), 2);
    assert_eq!(test.store.prune(PruneWhat::Nameless).unwrap().images, 1);
    assert_eq!(fs::read(test.store.list().unwrap()[0].image.layers[0].join("v")).unwrap(), b"2");
}

#[test]
fn odd_holders_and_names_are_errors_and_touch_nothing() {
    let test = store();
    let digest = spawnpoint_images::Digest::of(b"x");
    for holder in ["", ".", "..", "../x", "a/b", "a\0", &"x".repeat(129)] {
        assert!(matches!(test.store.hold(&digest, holder), Err(StoreError::Holder)), "{holder:?}");
        assert!(matches!(test.store.release(&digest, holder), Err(StoreError::Holder)), "{holder:?}");
    }
    for name in ["", "../../etc", "sha256:x", "UPPER"] {
        assert_eq!(test.store.find(name), None);
        assert_eq!(test.store.remove(name).unwrap(), Removed::Absent);
    }
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(test.dir.path().join("images")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "others of the machine could run what images bring");
}

#[tokio::test]
async fn pulls_prunes_and_holds_at_the_same_time_agree() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    for n in 0..3 {
        fake.push(&format!("v{n}"), OCI_MANIFEST, &[noise("base", 2000), noise(&format!("l{n}"), 1000)]);
    }
    let pulls = (0..12).map(|n| {
        // Every other one is another process, as far as the store can tell.
        let options = spawnpoint_images::StoreOptions { limits: limits(), ..Default::default() };
        let other = Store::open_with(test.dir.path().join("images"), options).unwrap();
        let store = if n % 2 == 0 { test.store.clone() } else { other };
        let reference = fake.reference(&format!("v{}", n % 3));
        tokio::spawn(async move {
            let holder = format!("w-{n}");
            for _ in 0..5 {
                let options = PullOptions { holder: Some(&holder), ..PullOptions::default() };
                let image = store.pull(&reference, None, &options).await.unwrap();
                // What is held is whole.
                assert!(image.layers.iter().all(|layer| fs::read_dir(layer).unwrap().count() == 1));
                assert_eq!(store.find(image.digest.as_str()), Some(image.clone()));
                store.release(&image.digest, &holder).unwrap();
            }
        })
    });
    let pulls: Vec<_> = pulls.collect();
    let pruner = test.store.clone();
    let pruning = tokio::task::spawn_blocking(move || {
        for _ in 0..40 {
            pruner.prune(PruneWhat::Unused).unwrap();
        }
    });
    for pull in pulls {
        pull.await.unwrap();
    }
    pruning.await.unwrap();
    test.store.prune(PruneWhat::Unused).unwrap();
    for part in ["layers", "images", "names", "partial", "tmp"] {
        assert!(test.entries(part).is_empty(), "{part}");
    }
}

#[tokio::test]
async fn what_was_not_flushed_before_the_machine_went_down_is_not_believed() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    fake.push("v1", OCI_MANIFEST, &[small()]);
    let image = pull(&test, &fake, "v1").await;
    let dir = test.dir.path().join("images");
    let whole = dir.join("layers").join(&test.entries("layers")[0]);
    let (loose, torn) = (dir.join("layers/loose"), dir.join("layers/torn"));
    for (path, boot) in
        [(&loose, fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap()), (&torn, "x".to_owned())]
    {
        fs::create_dir(path).unwrap();
        let record = fs::read_to_string(whole.join("layer.json")).unwrap();
        let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
        record["boot"] = boot.trim().into();
        fs::write(path.join("layer.json"), record.to_string()).unwrap();
    }
    fs::create_dir(dir.join("layers/half")).unwrap();
    fs::create_dir_all(dir.join("tmp/1-1/fs/deep")).unwrap();
    fs::write(dir.join("tmp/1-2"), b"").unwrap();
    let again = Store::open(&dir).unwrap();
    assert_eq!(again.find(image.digest.as_str()), Some(image));
    assert!(loose.exists() && !torn.exists() && !dir.join("layers/half").exists());
    assert!(test.entries("tmp").is_empty());
}

#[tokio::test]
async fn a_layer_that_somebody_removed_by_hand_is_fetched_again() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    fake.push("v1", OCI_MANIFEST, &[small()]);
    let image = pull(&test, &fake, "v1").await;
    fs::remove_dir_all(image.layers[0].parent().unwrap()).unwrap();
    assert_eq!(test.store.find(image.digest.as_str()), None);
    assert!(matches!(test.store.hold(&image.digest, "w"), Err(StoreError::Absent(_))));
    assert_eq!(pull(&test, &fake, "v1").await, image);
    assert!(image.layers[0].join("etc/motd").exists());
}

#[tokio::test]
async fn a_download_that_a_power_cut_damaged_is_begun_anew() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    let layer = noise("layer", 300_000);
    fake.push("v1", OCI_MANIFEST, std::slice::from_ref(&layer));
    let digest = spawnpoint_images::Digest::of(&layer.sent);
    let partial = test.dir.path().join("images/partial").join(digest.file_name());
    for damaged in [vec![0; 100_000], vec![7; layer.sent.len()], vec![7; layer.sent.len() + 1]] {
        fs::write(&partial, damaged).unwrap();
        pull(&test, &fake, "v1").await;
        assert!(test.entries("partial").is_empty());
        test.store.prune(PruneWhat::Unused).unwrap();
    }
}

#[test]
fn a_newer_store_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("version"), "2\n").unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Version(v)) if v == "2\n"));
}

/// Not a test of its own: the process that [`a_pull_that_is_killed_leaves_nothing_wrong`] kills.
#[tokio::test]
async fn child_that_pulls() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let (dir, reference) = what.split_once('|').unwrap();
    let store = Store::open(dir).unwrap();
    let _ = store.pull(&reference.parse().unwrap(), None, &PullOptions::default()).await;
}

fn child(dir: &Path, reference: &str) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "keeping::child_that_pulls", "--nocapture"]);
    command.env(CHILD, format!("{}|{reference}", dir.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_is_killed_leaves_nothing_wrong() {
    if !root() {
        return;
    }
    let (fake, test) = (Fake::start().await, store());
    let dir = test.dir.path().join("images");
    fake.push("v1", OCI_MANIFEST, &[noise("first", 50_000), noise("second", 3_000_000)]);
    let honest = Arc::clone(&fake);
    fake.rule(move |asked| {
        let mut answer = honest.answer(asked);
        (answer.body.len() > 2_000_000).then(|| {
            answer.length = Some(answer.body.len());
            answer.body.truncate(2_000_000);
            answer.then = Then::Stall;
            answer
        })
    });
    let mut killed = child(&dir, &fake.reference("v1").to_string());
    let unpacking = || {
        let first = test.entries("layers").len() == 1;
        let partials =
            fs::read_dir(dir.join("partial")).unwrap().filter_map(|entry| entry.ok()?.metadata().ok());
        first
            && partials.map(|meta| meta.len()).max().unwrap_or(0) > 1_000_000
            && !test.entries("tmp").is_empty()
    };
    eventually("one layer is there, and half of the other", unpacking).await;
    // While it lives, nobody clears what it works on.
    let beside = Store::open(&dir).unwrap();
    beside.prune(PruneWhat::Unused).unwrap();
    assert!(!test.entries("tmp").is_empty() && !test.entries("partial").is_empty());
    killed.kill().unwrap();
    killed.wait().unwrap();
    let again = Store::open(&dir).unwrap();
    assert!(test.entries("tmp").is_empty(), "junk is cleared");
    assert!(again.list().unwrap().is_empty());
    fake.honest();
    fake.forget();
    let image = again.pull(&fake.reference("v1"), None, &PullOptions::default()).await.unwrap();
    assert_eq!(image.size, 3_050_000);
    assert_eq!(fake.asked("/blobs/").iter().filter_map(Asked::range).count(), 1, "it goes on where it was");
}
