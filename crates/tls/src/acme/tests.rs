//! What is left to do after a refusal. Whole orders are made with a real server in `compat/tests/acme.rs`.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::{Acceptor, Authority, Identity};

/// Keeps nothing.
struct Nowhere;

#[async_trait]
impl Journal for Nowhere {
    async fn account(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
    async fn ordered(&self, _: &Pending) -> Result<(), String> {
        Ok(())
    }
    async fn texts(&self, _: &[String]) -> Result<(), String> {
        Ok(())
    }
}

/// What comes of an order with a server that has a directory, gives a nonce, and answers everything else with this.
async fn ordered_from(answer: String) -> AcmeFault {
    // The client looks at the machine's clock.
    let now = rustls::pki_types::UnixTime::now().as_secs();
    let authority = Authority::make("test", now).unwrap();
    let certificate = authority.issue(&["127.0.0.1".into()], now).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Identity::new(certificate).server_config().unwrap();
    let mut acceptor = Acceptor::new(listener, config).unwrap();
    let base = format!("https://{}", acceptor.local_addr());
    let directory = format!(
        r#"{{"newNonce": "{base}/nonce", "newAccount": "{base}/account", "newOrder": "{base}/order"}}"#
    );
    let text = |head: &str, body: &str| {
        format!("HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let known =
        [("GET /dir", text("200 OK", &directory)), ("HEAD /nonce", text("200 OK\r\nreplay-nonce: abc", ""))];
    let (known, answer) = (Arc::new(known), Arc::new(answer));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = acceptor.accept().await;
            let (known, answer) = (known.clone(), answer.clone());
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or_default();
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let found = known.iter().find(|(start, _)| head.starts_with(start));
                let answer = found.map_or(answer.as_str(), |(_, answer)| answer.as_str());
                drop(stream.write_all(answer.as_bytes()).await);
                drop(stream.shutdown().await);
            });
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, authority.certificate_pem()).unwrap();
    let server = AcmeServer::at(&format!("{base}/dir"), Some(&ca), Applicant::default()).unwrap();
    let task = Task { names: vec!["*.a.test".into()], account: None, pending: None, now };
    server.obtain(&task, &Nowhere).await.err().unwrap()
}

#[tokio::test]
async fn an_authority_that_wants_to_be_left_alone_is_heard() {
    let body = r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many"}"#;
    let head = "HTTP/1.1 429 Too Many\r\nretry-after: 7200\r\ncontent-type: application/problem+json";
    let told =
        ordered_from(format!("{head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
            .await;
    assert_eq!((told.remedy, told.retry_after), (Remedy::Again, Some(Duration::from_secs(7200))));
    assert!(told.text.contains("too many"), "{told}");
    // One that is broken says it as well, in whatever words.
    let told = ordered_from("HTTP/1.1 503 Busy\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n".into()).await;
    assert_eq!((told.remedy, told.retry_after), (Remedy::Again, Some(Duration::from_secs(60))));
    assert!(told.text.contains("503"), "{told}");
}

#[tokio::test]
async fn rubbish_and_floods_of_an_authority_are_borne() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nnot json".to_owned(), "account URL"),
        (format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(300_000)), "more than"),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "scheme",
        ),
        (String::new(), "gives no account"),
    ] {
        let told = ordered_from(answer.clone()).await;
        assert!(told.text.contains(expected) && told.remedy == Remedy::Again, "{expected}: {told}");
    }
}

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
