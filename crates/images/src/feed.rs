//! A file that grows while it is read: the download writes it, a blocking thread unpacks it at the same time.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::PullError;

/// What both sides know.
#[derive(Debug, Default)]
pub struct Feed {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    written: u64,
    end: Option<Result<(), PullError>>,
}

impl Feed {
    /// So many bytes of the file are good to read.
    pub fn written(&self, bytes: u64) {
        self.state.lock().written = bytes;
        self.changed.notify_all();
    }

    /// Nothing more comes; with an error, reading fails with it. An error may also follow a good end: nobody wants the result any more.
    pub fn end(&self, result: Result<(), PullError>) {
        let mut state = self.state.lock();
        if !matches!(state.end, Some(Err(_))) {
            state.end = Some(result);
        }
        drop(state);
        self.changed.notify_all();
    }
}

/// Ends a feed when the download is dropped in the middle.
pub struct EndOnDrop(pub Arc<Feed>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(Err(PullError::Unreachable("the pull was given up".to_owned())));
    }
}

/// The reading side. Blocks where nothing has arrived yet.
pub struct FeedReader {
    pub file: Arc<File>,
    pub feed: Arc<Feed>,
    pub at: u64,
}

impl Read for FeedReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.feed.state.lock();
        let ready = loop {
            match &state.end {
                Some(Err(error)) => return Err(io::Error::other(error.clone())),
                _ if state.written > self.at => break state.written - self.at,
                Some(Ok(())) => return Ok(0),
                None => self.feed.changed.wait(&mut state),
            }
        };
        drop(state);
        let most = usize::try_from(ready).unwrap_or(usize::MAX).min(buf.len());
        let n = self.file.read_at(&mut buf[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
