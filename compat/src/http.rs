//! An HTTP client that sends exactly what it is told to, byte for byte, and one request a connection. A client library
//! would mend what these tests want broken.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// For one read or write.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Its body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Its body as JSON.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {} {}", self.status, self.text()),
        }
    }

    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body, if the status is as expected.
    ///
    /// # Panics
    /// It is not.
    #[must_use]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// Reads an answer to its end.
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let broken = |what: &str| io::Error::new(io::ErrorKind::UnexpectedEof, what.to_owned());
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| broken("no head"))?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status =
            head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| broken("no status"))?;
        let answer = Self { status, head, body: bytes[end + 4..].to_vec() };
        let length: Option<usize> = answer.header("content-length").and_then(|text| text.parse().ok());
        match length {
            Some(length) if length != answer.body.len() => Err(broken("the body broke off")),
            _ => Ok(answer),
        }
    }
}

/// Sends bytes on a new connection, as they are, and reads until the server closes it.
///
/// # Errors
/// No connection, or no whole answer.
pub fn send_raw(address: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    exchange(stream, request)
}

/// Sends bytes on a connection and reads until its end.
///
/// # Errors
/// No whole answer came.
pub fn exchange(mut stream: impl Read + Write, request: &[u8]) -> io::Result<Answer> {
    // A server that refuses a large body need not read it to its end: the answer counts.
    let written = stream.write_all(request);
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    match Answer::parse(&bytes) {
        Ok(answer) => Ok(answer),
        Err(broken) => Err(written.err().or(read.err()).unwrap_or(broken)),
    }
}

/// The bytes of a request that is the last of its connection.
#[must_use]
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: spawnpoint\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// Text as it stands in a path or a query.
#[must_use]
pub fn encode(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
