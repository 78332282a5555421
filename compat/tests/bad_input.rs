//! Bad input at the level of bytes, against the real binary: whatever is sent, the answer is an error in JSON or the end of
//! the connection, and the server stays well. What is wrong with single fields is tried in `crates/api`.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::http::{Answer, request, send_raw};
use spawnpoint_compat::{Server, server};
use tokio::time::Instant;

/// A server with something to deploy.
fn world() -> Server {
    let server = Server::start(server::fake);
    server.api.describe("arena", "v1", ("game", "1"), &json!({}));
    server
}

/// Sends a deploy request with a body as it is, and headers besides the token.
fn post(server: &Server, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let authorization = format!("token {}", server.api.token);
    let mut all = vec![("authorization", authorization.as_str())];
    all.extend_from_slice(headers);
    send_raw(server.api.address, &request("POST", "/v2/deployments", &all, Some(body))).unwrap()
}

/// An error as clients expect it.
fn is_error(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"), "{}", answer.head);
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(!message.is_empty(), "{}", answer.text());
}

/// It answers, nothing was made, nothing broke.
fn is_well(server: &mut Server) {
    assert!(server.is_alive());
    assert_eq!(server.api.get("/monitor").status, 200);
    assert_eq!(server.api.list(), Vec::<Value>::new());
    let log = server.log();
    assert!(!log.contains("panic") && !log.contains("ERROR"), "{log}");
    let id = server.api.deploy("arena", "v1", &json!({}));
    let _ = server.api.wait_for(&id, "READY");
    server.audit();
}

#[test]
fn bodies_that_are_too_large_too_deep_or_no_json_are_refused_and_make_nothing() {
    let mut server = world();
    let json_type = ("content-type", "application/json");
    let huge = format!("{{\"application\":\"{}\"}}", "x".repeat(3 << 20));
    is_error(&post(&server, &[json_type], huge.as_bytes()), 413);
    let deep = format!("{{\"users\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    is_error(&post(&server, &[json_type], deep.as_bytes()), 400);
    for body in
        ["", "{", "[]", "null", "\"text\"", "{\"application\":\u{1}}", "{\"users\":1e999}", "\u{feff}{}"]
    {
        is_error(&post(&server, &[json_type], body.as_bytes()), 400);
    }
    is_error(&post(&server, &[json_type], b"{\"application\":\"\xff\xfe\"}"), 400);
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
    ] {
        is_error(&post(&server, &[("content-type", kind)], b"{}"), 415);
    }
    is_error(&post(&server, &[json_type, ("content-encoding", "gzip")], b"\x1f\x8b"), 415);

    // A body of unknown length is cut at the limit as well.
    let mut chunked = request(
        "POST",
        "/v2/deployments",
        &[
            ("authorization", &format!("token {}", server.api.token)),
            json_type,
            ("transfer-encoding", "chunked"),
        ],
        None,
    );
    for _ in 0..40 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend_from_slice(&[b' '; 0x10000]);
        chunked.extend_from_slice(b"\r\n");
    }
    // The connection ends with the answer; the answer may be lost with it while we still send.
    if let Ok(answer) = send_raw(server.api.address, &chunked) {
        is_error(&answer, 413);
    }
    is_well(&mut server);
}

#[test]
fn twelve_spellings_of_the_authorization_header_are_read_and_twelve_that_are_none_are_refused() {
    let mut server = world();
    let secret = server.api.token.clone();
    let get = |headers: &[(&str, &str)]| {
        send_raw(server.api.address, &request("GET", "/v1/apps", headers, None)).unwrap()
    };
    for good in [
        "token X",
        "Token X",
        "TOKEN X",
        "Bearer X",
        "bearer X",
        "BEARER X",
        "X",
        "token token X",
        "token  X",
        "  token X  ",
        "Bearer token X",
        "token X ",
    ] {
        let value = good.replace('X', &secret);
        for name in ["Authorization", "authorization", "AUTHORIZATION"] {
            assert_eq!(get(&[(name, &value)]).status, 200, "{name}: {good}");
        }
    }
    for bad in [
        "",
        "token",
        "Bearer",
        "token token",
        "Basic X",
        "token X X",
        "token X,X",
        "token \"X\"",
        "tokenX",
        "token: X",
        "token Y",
        "X\u{e9}",
    ] {
        let answer = get(&[("authorization", &bad.replace('X', &secret))]);
        is_error(&answer, 401);
        assert!(!answer.text().contains(&secret), "{bad}");
    }
    is_error(&get(&[]), 401);
    let value = format!("token {secret}");
    is_error(&get(&[("authorization", &value), ("authorization", &value)]), 401);
    is_well(&mut server);
}

#[test]
fn a_client_that_sends_half_a_request_is_cut_off_and_keeps_nobody_waiting() {
    let mut server = world();
    let address = server.api.address;
    let authorization = format!("authorization: token {}", server.api.token);
    let halves = [
        String::new(),
        "GET /v1/apps HT".to_owned(),
        "GET /v1/apps HTTP/1.1\r\nhost: x\r\nx-slow: ".to_owned(),
    ];
    let mut slow: Vec<TcpStream> = Vec::new();
    for number in 0..150 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(halves[number % halves.len()].as_bytes()).unwrap();
        slow.push(stream);
    }
    // One promises a body and does not send it.
    let mut promised = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v2/deployments HTTP/1.1\r\nhost: x\r\n{authorization}\r\ncontent-length: 100\r\n\r\n{{\"app"
    );
    promised.write_all(head.as_bytes()).unwrap();

    let started = Instant::now();
    for _ in 0..20 {
        let _ = server.api.get("/v1/apps").expect(200);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "others waited {:?}", started.elapsed());
    for mut stream in slow {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut rest = Vec::new();
        // Its end, by a close or a reset; what it must not do is to wait on.
        if let Err(error) = stream.read_to_end(&mut rest) {
            let waits = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
            assert!(!waits, "half a request is waited for longer than 20 s");
        }
    }
    promised.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    let mut rest = Vec::new();
    let _ = promised.read_to_end(&mut rest);
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408 "), "{rest}");
    is_well(&mut server);
}

#[test]
fn bytes_that_are_no_http_or_too_much_of_it_end_the_connection_and_nothing_else() {
    let mut server = world();
    let address = server.api.address;
    let token = format!("authorization: token {}\r\n", server.api.token);
    let cases: [(&str, Vec<u8>); 8] = [
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("zeros", vec![0; 4096]),
        ("a request line without end", [b"GET /".to_vec(), vec![b'a'; 100_000]].concat()),
        ("headers without end", [b"GET /monitor HTTP/1.1\r\n".to_vec(), b"x: y\r\n".repeat(5000), b"\r\n".to_vec()].concat()),
        ("two lengths", format!("POST /v1/app HTTP/1.1\r\nhost: x\r\n{token}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}").into_bytes()),
        ("a negative length", format!("POST /v1/app HTTP/1.1\r\nhost: x\r\n{token}content-length: -1\r\n\r\n{{}}").into_bytes()),
        ("length and chunks", format!("POST /v1/app HTTP/1.1\r\nhost: x\r\n{token}content-length: 6\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\nGET /monitor HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes()),
        ("HTTP/9", b"GET /monitor HTTP/9.9\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec()),
    ];
    for (name, bytes) in cases {
        // No answer at all is fine; a second one, to what was smuggled in, would not be.
        if let Ok(answer) = send_raw(address, &bytes) {
            assert!((400..500).contains(&answer.status), "{name}: {} {}", answer.status, answer.text());
            assert!(!answer.text().contains("HTTP/1.1"), "{name}: {}", answer.text());
        }
    }
    is_well(&mut server);
}

#[test]
fn paths_methods_and_queries_that_nobody_serves_are_answered_in_json() {
    let mut server = world();
    for path in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v3/deployments",
        "/v1/app/a/b/c/d",
        "/favicon.ico",
        "/v1/status/%00",
        "/../etc/passwd",
    ] {
        let answer = server.api.get(path);
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        is_error(&answer, answer.status);
    }
    for (method, path) in [
        ("PUT", "/v1/apps"),
        ("POST", "/v1/status/0123456789ab"),
        ("BREW", "/v1/apps"),
        ("TRACE", "/monitor"),
    ] {
        let answer = server.api.call(method, path, None);
        is_error(&answer, 405);
        assert!(answer.header("allow").is_some(), "{method} {path}");
    }
    for query in [
        "query={",
        "query=%7B%22filters%22%3A1%7D",
        "page=0",
        "page=x",
        "limit=-1",
        "limit=99999999999999999999",
        "page=%ff",
    ] {
        is_error(&server.api.get(&format!("/v1/deployments?{query}")), 400);
    }
    is_error(&server.api.get("/v1/status/0123456789ab"), 400);
    is_error(&server.api.delete("/v1/stop/0123456789ab"), 404);
    is_error(&server.api.delete("/v1/stop/no-id"), 404);
    is_well(&mut server);
}
