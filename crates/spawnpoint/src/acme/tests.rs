//! When something is due. Whole orders are made with a real authority in `compat/tests/acme.rs`.

use super::*;

const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn row(next_at: Timestamp, lease_until: Option<Timestamp>, attempts: u32) -> AcmeCertificate {
    AcmeCertificate {
        directory: "https://ca.test/dir".into(),
        names: "*.play.test".into(),
        generation: 0,
        chain: None,
        order: None,
        texts: Vec::new(),
        lease_until,
        next_at,
        attempts,
        last_error: None,
        updated_at: NOW,
    }
}

#[test]
fn an_order_is_due_at_its_time_and_while_nobody_else_is_at_it() {
    for (next_at, lease, attempts, alone, shared) in [
        (NOW, None, 0, true, true),
        (after(60), None, 3, false, false),
        // Cut short: whoever is alone on a database knows that it was itself.
        (after(60), Some(after(100)), 1, true, false),
        (after(60), Some(NOW), 1, true, true),
        // Again and again: then it waits like one that failed.
        (after(60), Some(NOW), RESUMED_MAX + 1, false, false),
        (NOW, Some(NOW), RESUMED_MAX + 1, true, true),
    ] {
        let row = row(next_at, lease, attempts);
        assert_eq!(is_due(&row, NOW, false), alone, "{row:?}");
        assert_eq!(is_due(&row, NOW, true), shared, "{row:?}");
    }
}

#[test]
fn a_lease_outlasts_the_longest_order() {
    assert!(LEASE > ORDER_PATIENCE + Duration::from_secs(60));
}

#[test]
fn a_binding_key_is_read_from_a_file_that_others_cannot_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("eab");
    let text = format!("eab = {{ kid = \"kid-1\", key_file = {:?} }}", key_file.display().to_string());
    let acme: config::Acme = toml::from_str(&text).unwrap();
    let told = |acme: &config::Acme| binding(acme).err().map(|failure| (failure.code, failure.to_string()));
    assert!(told(&acme).unwrap().1.contains("No such file"));
    let write = |text: &str, mode: u32| {
        std::fs::write(&key_file, text).unwrap();
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("c2VjcmV0LWtleQ==\n", 0o644);
    assert!(told(&acme).unwrap().1.contains("chmod 600"));
    write("c2VjcmV0LWtleQ==\n", 0o600);
    assert_eq!(binding(&acme).unwrap().unwrap().key, b"secret-key");
    write("not base64!", 0o600);
    let (code, text) = told(&acme).unwrap();
    assert!(code == 2 && text.contains("base64url") && !text.contains("not base64!"), "{text}");
    assert!(binding(&config::Acme::default()).unwrap().is_none());
}

#[test]
fn what_is_held_is_shown_until_it_expires() {
    let authority = spawnpoint_tls::Authority::make("test", 1_790_000_000).unwrap();
    let shown = authority.issue(&["*.play.test".into()], 1_790_000_000).unwrap();
    let held = Held::default();
    assert!(held.good_at(0).is_none());
    held.hold(Issued { shown: shown.clone(), not_before: 100, not_after: 200 });
    let number = |now| held.good_at(now).map(|(number, _)| number);
    assert_eq!((number(199), number(200)), (Some(1), None));
    held.hold(Issued { shown, not_before: 150, not_after: 300 });
    assert_eq!((number(199), number(200)), (Some(2), Some(2)), "another one is told by its number");
}
