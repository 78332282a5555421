//! Manifests, indexes and configurations as they are met, and as nobody should meet them.

use super::*;

fn descriptor(platform: &str) -> Descriptor {
    let mut parts = platform.split('/').map(str::to_owned);
    let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap());
    let platform = DescribedPlatform { os, architecture, variant: parts.next() };
    let digest = Digest::of(format!("{platform:?}").as_bytes());
    Descriptor { digest, size: 1, platform: Some(platform), annotations: BTreeMap::new() }
}

fn platform(text: &str) -> Platform {
    let mut parts = text.split('/').map(str::to_owned);
    Platform { os: parts.next().unwrap(), architecture: parts.next().unwrap(), variant: parts.next() }
}

#[test]
fn the_closest_manifest_of_an_index_is_chosen() {
    let index: Vec<Descriptor> = [
        "unknown/unknown",
        "windows/amd64",
        "linux/arm/v6",
        "linux/arm/v7",
        "linux/arm64",
        "linux/amd64/v2",
        "linux/amd64",
    ]
    .into_iter()
    .map(descriptor)
    .collect();
    for (wanted, chosen) in [
        ("linux/amd64", Some(6)),
        ("linux/arm64/v8", Some(4)),
        ("linux/arm64", Some(4)),
        ("linux/arm/v7", Some(3)),
        ("linux/arm/v6", Some(2)),
        ("linux/arm/v5", None),
        ("linux/s390x", None),
    ] {
        let found = choose(&index, &platform(wanted));
        let expected = chosen.map(|at: usize| index[at].digest.clone());
        assert_eq!(found.as_ref().ok().map(|d| d.digest.clone()), expected, "{wanted}");
        if let Err(error) = found {
            assert!(error.to_string().contains("linux/arm64"), "{error}");
            assert!(!error.to_string().contains("unknown"), "{error}");
        }
    }
}

#[test]
fn documents_that_are_two_things_or_none_are_refused() {
    let digest = Digest::of(b"");
    let one = format!(r#"{{"digest":"{digest}","size":1}}"#);
    let limits = Limits::default();
    let read = |text: &str| read_document(text.as_bytes(), &limits);
    assert!(matches!(read(&format!(r#"{{"config":{one},"layers":[{one}]}}"#)), Ok(Document::Image(_))));
    assert!(matches!(
        read(&format!(r#"{{"manifests":[{one}],"annotations":null}}"#)),
        Ok(Document::Index(_))
    ));
    let many = vec![one.as_str(); 128].join(",");
    for bad in [
        "",
        "[]",
        "{}",
        "null",
        &format!(r#"{{"config":{one},"layers":[],"manifests":[]}}"#),
        &format!(r#"{{"mediaType":"application/vnd.oci.image.index.v1+json","config":{one},"layers":[]}}"#),
        &format!(r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[{one}]}}"#),
        &format!(r#"{{"config":{one},"layers":[{many}]}}"#),
        &format!(r#"{{"config":{one},"layers":[{{"digest":"{digest}","size":-1}}]}}"#),
        &format!(r#"{{"config":{one},"layers":[{{"digest":"{digest}","size":99999999999999}}]}}"#),
        r#"{"config":{"digest":"sha256:../../x","size":1},"layers":[]}"#,
        r#"{"schemaVersion":1,"fsLayers":[]}"#,
        &"[".repeat(100_000),
    ] {
        assert!(matches!(read(bad), Err(PullError::Refused(_))), "{}", &bad[..bad.len().min(90)]);
    }
}

#[test]
fn configurations_are_read_with_their_nulls() {
    let digest = Digest::of(b"");
    let text = format!(
        r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{digest}"]}},
            "config":{{"Cmd":null,"Entrypoint":["/game"],"Env":["A=b"],"User":"1000:1000","WorkingDir":"/srv",
            "ExposedPorts":{{"7777/udp":{{}}}},"Volumes":null,"Labels":null,"StopSignal":"SIGINT"}}}}"#
    );
    let config = read_config(text.as_bytes(), &platform("linux/amd64"), 1).unwrap();
    assert_eq!(config.image.entrypoint, ["/game"]);
    assert_eq!(
        (config.image.user.as_str(), config.image.exposed_ports.as_slice()),
        ("1000:1000", &["7777/udp".to_owned()][..])
    );
    assert_eq!(config.image.stop_signal.as_deref(), Some("SIGINT"));
    assert!(matches!(
        read_config(text.as_bytes(), &platform("linux/arm64"), 1),
        Err(PullError::Platform { .. })
    ));
    assert!(matches!(read_config(text.as_bytes(), &platform("linux/amd64"), 2), Err(PullError::Refused(_))));
    assert!(matches!(read_config(b"{}", &platform("linux/amd64"), 0), Err(PullError::Refused(_))));
    let zero = text.replace("A=b", "A=b\\u0000");
    assert!(matches!(read_config(zero.as_bytes(), &platform("linux/amd64"), 1), Err(PullError::Refused(_))));
}

#[test]
fn chain_ids_are_those_of_the_specification() {
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    let chain = chain_ids(&[a.clone(), b.clone()]);
    assert_eq!(chain, [a.clone(), Digest::of(format!("{a} {b}").as_bytes())]);
}
