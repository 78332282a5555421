//! A receiver of webhooks: keeps all that arrives, and answers as it was told to.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::{PATIENCE, eventually};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Path and query.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
    /// The status that it was answered with.
    pub answered: u16,
}

impl Received {
    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// Whom it is about, and what it says: `("5d1e07a9c34b", "READY")`.
    #[must_use]
    pub fn about(&self) -> (String, String) {
        let body = self.json();
        let word =
            |key: &str| body[key].as_str().unwrap_or_default().trim_start_matches("Status.").to_owned();
        (word("request_id"), word("current_status"))
    }
}

#[derive(Default)]
struct Book {
    received: Vec<Received>,
    /// Statuses of the next answers; then 200.
    answers: VecDeque<u16>,
}

/// A receiver.
#[derive(Clone)]
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl Receiver {
    /// Opens it; it stays open until the process ends.
    ///
    /// # Panics
    /// There is no port to be had.
    #[must_use]
    pub fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let book = Arc::new(Mutex::new(Book::default()));
        let kept = Arc::clone(&book);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let book = Arc::clone(&kept);
                std::thread::spawn(move || drop(take(&stream, &book)));
            }
        });
        Self { address, book }
    }

    /// Its address as a URL.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers the next requests with these statuses, then with 200 again.
    ///
    /// # Panics
    /// A thread of it did.
    pub fn answer_next(&self, statuses: &[u16]) {
        self.book.lock().unwrap().answers.extend(statuses);
    }

    /// All that came so far, in order.
    ///
    /// # Panics
    /// A thread of it did.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.book.lock().unwrap().received.clone()
    }

    /// Waits for a request about a deployment that says a status.
    #[must_use]
    pub fn wait_for(&self, id: &str, status: &str) -> Received {
        eventually(&format!("a webhook says that {id} is {status}"), PATIENCE, || {
            let wanted = (id.to_owned(), status.to_owned());
            self.received().into_iter().find(|received| received.about() == wanted)
        })
    }
}

fn take(stream: &TcpStream, book: &Mutex<Book>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut reader = BufReader::new(stream);
    // A sender that was killed leaves half a request: that is none.
    let mut read_line = |line: &mut String| match reader.read_line(line) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        other => other,
    };
    let mut line = String::new();
    read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        read_line(&mut line)?;
        let Some((key, value)) = line.trim_end().split_once(':') else { break };
        headers.push((key.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length =
        headers.iter().find(|(key, _)| key == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let answered = {
        let mut book = book.lock().unwrap();
        let answered = book.answers.pop_front().unwrap_or(200);
        book.received.push(Received { path, headers, body, answered });
        answered
    };
    let head = format!("HTTP/1.1 {answered} told\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    (&mut &*stream).write_all(head.as_bytes())
}
