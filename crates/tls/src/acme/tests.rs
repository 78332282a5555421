//! What is left to do after a refusal. Whole orders are made with a real server in `compat/tests/acme.rs`.

use super::*;

fn problem(kind: &str) -> Error {
    let text = format!(r#"{{"type": "urn:ietf:params:acme:error:{kind}", "detail": "a\nb"}}"#);
    Error::Api(serde_json::from_str(&text).unwrap())
}

#[test]
fn what_was_noted_is_kept_as_far_as_it_is_worth_something() {
    for (kind, expected) in [
        ("accountDoesNotExist", Remedy::NewAccount),
        ("rateLimited", Remedy::Again),
        ("serverInternal", Remedy::Again),
        ("malformed", Remedy::NewOrder),
        ("unauthorized", Remedy::NewOrder),
        ("orderNotReady", Remedy::NewOrder),
    ] {
        assert_eq!(remedy(&problem(kind)), expected, "{kind}");
    }
    assert_eq!(remedy(&Error::Timeout(None)), Remedy::Again);
    assert_eq!(remedy(&Error::Other("no route".into())), Remedy::Again);
}

#[test]
fn a_fault_is_one_line_of_bounded_length() {
    let told = fault("nothing can be ordered", problem("malformed"));
    assert!(told.text.starts_with("nothing can be ordered: ") && !told.text.contains('\n'), "{told}");
    assert!(AcmeFault::new(Remedy::Again, "x".repeat(9999)).text.len() <= TEXT_MAX);
}

#[test]
fn a_request_is_made_for_wildcards_and_says_nothing_of_a_key_that_cannot_be_read() {
    let key = KeyPair::generate().unwrap().serialize_pem();
    assert!(
        !signing_request(&["*.play.example.com".into(), "play.example.com".into()], &key).unwrap().is_empty()
    );
    let damaged = &key[..key.len() / 2];
    let told = signing_request(&["a.example.com".into()], damaged).unwrap_err();
    assert!(!told.text.contains(&key[40..60]), "{told}");
}
