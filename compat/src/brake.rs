//! A proxy before a registry that counts what is fetched through it, and holds up what it is told to.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// A connection that is held up has let through so many bytes of its blob, and the answer's head.
const LET_THROUGH: usize = 64 << 10;

/// The proxy. Connections end with this value.
#[derive(Debug)]
pub struct Brake {
    /// Its host and port: what a version names as its registry.
    pub address: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    is_over: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Blobs of images whose path holds this are held up.
    held: Option<String>,
    /// How many are being held up now.
    waiting: usize,
    /// Path of a blob: how often it was asked for.
    asked: BTreeMap<String, usize>,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request for a blob, and says whether it is to be held up.
    fn note(&self, path: &str) -> bool {
        let mut state = self.state();
        *state.asked.entry(path.to_owned()).or_default() += 1;
        state.held.as_ref().is_some_and(|held| path.contains(held))
    }

    /// Returns when nothing like `path` is held up any more.
    fn wait(&self, path: &str) {
        let mut state = self.state();
        state.waiting += 1;
        self.changed.notify_all();
        while state.held.as_ref().is_some_and(|held| path.contains(held))
            && !self.is_over.load(Ordering::Relaxed)
        {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
    }
}

impl Brake {
    /// Before the registry at this address.
    ///
    /// # Panics
    /// There is no port.
    #[must_use]
    pub fn before(registry: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            is_over: AtomicBool::new(false),
        });
        let (registry, all) = (registry.to_owned(), shared.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if all.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (registry, shared) = (registry.clone(), all.clone());
                std::thread::spawn(move || relay(client, &registry, &shared));
            }
        });
        Self { address, shared }
    }

    /// From now on the blobs of this image stand still in their middle.
    pub fn hold(&self, image: &str) {
        self.shared.state().held = Some(format!("/{image}/blobs/"));
    }

    /// Everything goes on.
    pub fn release(&self) {
        self.shared.state().held = None;
        self.shared.changed.notify_all();
    }

    /// How many blobs stand still now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.state().waiting
    }

    /// How often each blob of an image was asked for.
    #[must_use]
    pub fn asked(&self, image: &str) -> Vec<usize> {
        let part = format!("/{image}/blobs/");
        let state = self.shared.state();
        state.asked.iter().filter(|(path, _)| path.contains(&part)).map(|(_, times)| *times).collect()
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
        // Wakes the one that accepts.
        let _ = TcpStream::connect(&self.address);
    }
}

/// One connection: requests go up as they are and are looked at; answers come down, and stand still where they must.
fn relay(mut client: TcpStream, registry: &str, shared: &Arc<Shared>) {
    let Ok(mut server) = TcpStream::connect(registry) else { return };
    let (Ok(mut up), Ok(down)) = (server.try_clone(), client.try_clone()) else { return };
    // The blob that this connection fetches, if it is to be held up.
    let held: Arc<Mutex<Option<String>>> = Arc::default();
    let (noted, watching) = (held.clone(), shared.clone());
    let upward = std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Some(read) = some(client.read(&mut buffer)) {
            if let Some(path) = blob(&buffer[..read]) {
                let is_held = watching.note(&path);
                *noted.lock().unwrap_or_else(PoisonError::into_inner) = is_held.then_some(path);
            }
            if up.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = up.shutdown(Shutdown::Both);
    });
    let mut down = down;
    let mut buffer = vec![0; LET_THROUGH];
    let mut passed = 0;
    while let Some(read) = some(server.read(&mut buffer)) {
        let path = held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match path {
            Some(path) if passed + read > LET_THROUGH => shared.wait(&path),
            Some(_) => passed += read,
            None => passed = 0,
        }
        if down.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = down.shutdown(Shutdown::Both);
    let _ = upward.join();
}

fn some(read: std::io::Result<usize>) -> Option<usize> {
    match read {
        Ok(0) => None,
        Ok(read) => Some(read),
        Err(error) if error.kind() == ErrorKind::Interrupted => Some(0),
        Err(_) => None,
    }
}

/// The path of a request for a blob. A request comes in one piece: it is short.
fn blob(request: &[u8]) -> Option<String> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let path = std::str::from_utf8(line).ok()?.strip_prefix("GET ")?.split(' ').next()?;
    path.contains("/blobs/sha256").then(|| path.to_owned())
}
