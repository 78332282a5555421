//! Images from files: `docker save` and OCI layouts, honest and not.

use std::fs;
use std::path::Path;

use serde_json::json;
use spawnpoint_images::{Digest, Platform, PullError, Reference, StoreError};

use crate::fake::*;
use crate::tarball::{Item, file, link, symlink, tarball};

fn config(layers: &[Layer]) -> Vec<u8> {
    let here = Platform::here();
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(&layer.archive)).collect();
    let config = json!({"os": here.os, "architecture": here.architecture, "config": {"Cmd": ["/x"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    serde_json::to_vec(&config).unwrap()
}

/// As `docker save` of many versions writes it: a layer may be a link to another image's.
fn docker_save(layers: &[Layer], tags: &[&str]) -> Vec<Item> {
    let config = config(layers);
    let name = format!("{}.json", Digest::of(&config).hex());
    let parts: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
    let mut items = vec![file(&name, &config)];
    for (n, layer) in layers.iter().enumerate() {
        items.push(file(&format!("{n}/VERSION"), b"1.0"));
        items.push(if n == 0 {
            symlink("0/layer.tar", "../real/layer.tar")
        } else {
            file(&parts[n], &layer.sent)
        });
    }
    items.push(file("real/layer.tar", &layers[0].sent));
    let manifest = json!([{"Config": name, "RepoTags": tags, "Layers": parts}]);
    items.push(file("manifest.json", manifest.to_string().as_bytes()));
    items
}

/// As the layout specification has it.
fn layout(layers: &[Layer], ref_name: Option<&str>) -> Vec<(String, Vec<u8>)> {
    let blob =
        |bytes: &[u8]| (format!("blobs/{}", Digest::of(bytes).as_str().replace(':', "/")), bytes.to_vec());
    let describe = |bytes: &[u8]| json!({"mediaType": "x", "digest": Digest::of(bytes), "size": bytes.len()});
    let config = config(layers);
    let sent: Vec<_> = layers.iter().map(|layer| describe(&layer.sent)).collect();
    let manifest =
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": describe(&config), "layers": sent});
    let manifest = manifest.to_string().into_bytes();
    let mut entry = describe(&manifest);
    if let Some(name) = ref_name {
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    }
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes();
    let mut parts = vec![("index.json".to_owned(), index), blob(&config), blob(&manifest)];
    parts.push(("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    parts.extend(layers.iter().map(|layer| blob(&layer.sent)));
    parts
}

fn write(dir: &Path, parts: &[(String, Vec<u8>)]) {
    for (name, bytes) in parts {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn layers() -> Vec<Layer> {
    vec![plain(&items(&[file("a", b"1")])), plain(&items(&[file("b", b"2"), file(".wh.a", b"")]))]
}

#[test]
fn what_docker_saved_is_taken_in() {
    if !root() {
        return;
    }
    let test = store();
    let bytes = tarball(&docker_save(&layers(), &["studio/arena:1", "r.test/arena:1"]));
    let path = test.dir.path().join("saved");
    for (n, bytes) in [bytes.clone(), gzip(&bytes).sent, zstd(&bytes).sent].into_iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        let named = test.store.import(&path, None).unwrap();
        assert_eq!(named.len(), 1, "{n}");
        assert_eq!(named[0].names, ["docker.io/studio/arena:1", "r.test/arena:1"]);
        assert_eq!(test.store.find("studio/arena:1").as_ref(), Some(&named[0].image));
        assert_eq!(
            (named[0].image.layers.len(), named[0].image.config.cmd.as_slice()),
            (2, &["/x".to_owned()][..])
        );
    }
    let own: Reference = "r.test/own:2".parse().unwrap();
    assert_eq!(test.store.import(&path, Some(&own)).unwrap()[0].names, ["r.test/own:2"]);
    assert_eq!(test.store.list().unwrap().len(), 1);
    assert!(test.entries("tmp").is_empty());
}

#[test]
fn layouts_are_taken_in_from_directories_and_archives() {
    if !root() {
        return;
    }
    let layers = [gzip(&items(&[file("a", b"1")])), zstd(&items(&[file("b", b"2")]))];
    for (ref_name, names) in [(Some("r.test/a:1"), vec!["r.test/a:1"]), (Some("v1"), vec![]), (None, vec![])]
    {
        let test = store();
        let (dir, path) = (test.dir.path().join("layout"), test.dir.path().join("layout.tar"));
        let parts = layout(&layers, ref_name);
        write(&dir, &parts);
        let entries: Vec<Item> =
            parts.iter().map(|(name, bytes)| file(&format!("./{name}"), bytes)).collect();
        fs::write(&path, tarball(&entries)).unwrap();
        let from_dir = test.store.import(&dir, None).unwrap();
        assert_eq!(from_dir[0].names, names);
        assert_eq!(test.store.import(&path, None).unwrap(), from_dir);
        assert_eq!(test.store.find(from_dir[0].image.digest.as_str()).as_ref(), Some(&from_dir[0].image));
    }
}

#[test]
fn archives_that_lie_are_refused_and_leave_nothing() {
    if !root() {
        return;
    }
    let test = store();
    let outside = test.dir.path().join("outside.json");
    fs::write(&outside, config(&layers())).unwrap();
    let refused = |what: &str, path: &Path| {
        let error = test.store.import(path, None).unwrap_err();
        let known = matches!(error, PullError::Refused(_) | PullError::Store(StoreError::Archive(_)));
        assert!(known, "{what}: {error:?}");
        for part in ["tmp", "images", "names"] {
            assert!(test.entries(part).is_empty(), "{what}: {part}");
        }
    };
    let path = test.dir.path().join("archive");
    let mut changed = docker_save(&layers(), &["a:1"]);
    changed.iter_mut().find(|item| item.path == b"1/layer.tar").unwrap().data[600] ^= 1;
    let manifest = |text: &str| vec![file("manifest.json", text.as_bytes())];
    for (what, items) in [
        ("another layer", changed),
        ("nothing", vec![]),
        ("other things", vec![file("x", b"")]),
        ("no manifest", manifest("x")),
        ("no images", manifest("[]")),
        ("a missing configuration", manifest(r#"[{"Config":"x"}]"#)),
        ("a name that leads out", manifest(r#"[{"Config":"../outside.json"}]"#)),
        ("a path that leads out", vec![file("../x", b"")]),
        ("a link that leads out", vec![symlink("x", "../../y")]),
        (
            "links in a circle",
            [manifest(r#"[{"Config":"x"}]"#), vec![link("x", "y"), link("y", "x")]].concat(),
        ),
    ] {
        fs::write(&path, tarball(&items)).unwrap();
        refused(what, &path);
    }
    fs::write(&path, b"no archive at all, but long enough to look at").unwrap();
    refused("no archive", &path);
    let good = layout(&[small()], Some("a:1"));
    for (what, part, bytes) in [
        ("a changed manifest", 2, b"{}".to_vec()),
        ("a changed configuration", 1, b"{}".to_vec()),
        ("a changed layer", 4, noise("x", 10).sent),
        ("an index that is none", 0, b"{}".to_vec()),
    ] {
        let mut parts = good.clone();
        parts[part].1 = bytes;
        let dir = test.dir.path().join(what);
        write(&dir, &parts);
        refused(what, &dir);
    }
    // A link of the directory must not lead out of it.
    let dir = test.dir.path().join("links");
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink(&outside, dir.join("c.json")).unwrap();
    fs::write(dir.join("manifest.json"), r#"[{"Config":"c.json","Layers":["x","x"]}]"#).unwrap();
    refused("a link out of the directory", &dir);
    assert!(matches!(
        test.store.import(Path::new("/nowhere"), None),
        Err(PullError::Store(StoreError::Io { .. }))
    ));
}
