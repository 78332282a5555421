//! A reader of server-sent events, as a browser's `EventSource` reads them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::Api;

/// Longer than the server is ever silent: it sends a sign of life every 15 s.
const PATIENCE: Duration = Duration::from_secs(40);

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    reader: BufReader<TcpStream>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: Value,
    /// Its id, if it has one.
    pub id: Option<String>,
}

impl Events {
    /// Follows a deployment's log.
    ///
    /// # Panics
    /// It is refused.
    #[must_use]
    pub fn follow(api: &Api, id: &str, last_seen: Option<&str>) -> Self {
        let mut stream = TcpStream::connect_timeout(&api.address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // HTTP/1.0, so that no chunks are sent.
        let last_seen = last_seen.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let head = format!(
            "GET /v2/deployments/{id}/logs?follow=true HTTP/1.0\r\nauthorization: token {}\r\n{last_seen}\r\n",
            api.token
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        while line.trim_end() != "" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        Self { reader }
    }

    /// Reads until an event that is looked for; what came before it, with it.
    ///
    /// # Panics
    /// The stream ends without it.
    pub fn until(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut all = Vec::new();
        for event in self.by_ref() {
            all.push(event);
            if all.last().is_some_and(&is_it) {
                return all;
            }
        }
        panic!("the stream ended without {what}: {:?}", &all[all.len().saturating_sub(5)..]);
    }

    /// Reads bytes to the end of the stream, and counts them.
    #[must_use]
    pub fn drain(mut self) -> usize {
        let (mut total, mut buffer) = (0, vec![0; 65_536]);
        while let Ok(length @ 1..) = self.reader.read(&mut buffer) {
            total += length;
        }
        total
    }
}

impl Iterator for Events {
    type Item = Event;

    /// The next event; `None` at the end. Panics if the server says nothing at all for too long, or no JSON.
    fn next(&mut self) -> Option<Event> {
        let (mut name, mut data, mut id) = (None, None, None);
        let asked = Instant::now();
        loop {
            assert!(asked.elapsed() < PATIENCE, "signs of life, and no event");
            let mut line = String::new();
            if self.reader.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.trim_end_matches('\n');
            if line.is_empty() {
                if let (Some(name), Some(data)) = (name.take(), data.take()) {
                    return Some(Event { name, data, id });
                }
            } else if let Some(value) = line.strip_prefix("event: ") {
                name = Some(value.to_owned());
            } else if let Some(value) = line.strip_prefix("data: ") {
                data = Some(serde_json::from_str(value).unwrap());
            } else if let Some(value) = line.strip_prefix("id: ") {
                id = Some(value.to_owned());
            }
        }
    }
}
