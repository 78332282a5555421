//! A real S3 server (`s3s-fs`) on a folder, which can be told to be down, slow or unwilling. It has a thread of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode};
use parking_lot::Mutex;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};

/// The credentials that it takes.
pub const KEY: &str = "AKIATESTTESTTEST";
pub const SECRET: &str = "canary-s3-secret-5f0c1d9be2";

/// How it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    /// Well.
    Well,
    /// Answers this, with this code of S3.
    Refuses(u16, &'static str),
    /// Takes the request and does not answer for a long time.
    Hangs,
}

#[derive(Clone)]
struct Shared {
    service: S3Service,
    mood: Arc<Mutex<Mood>>,
    calls: Arc<Mutex<Vec<Method>>>,
}

/// The server with its bucket `bucket`.
pub struct S3 {
    pub address: SocketAddr,
    root: tempfile::TempDir,
    mood: Arc<Mutex<Mood>>,
    calls: Arc<Mutex<Vec<Method>>>,
}

impl S3 {
    pub fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("bucket")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let (mood, calls) = (Arc::new(Mutex::new(Mood::Well)), Arc::default());
        let shared = Shared { service: builder.build(), mood: Arc::clone(&mood), calls: Arc::clone(&calls) };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let router = axum::Router::new().fallback(answer).with_state(shared);
                axum::serve(listener, router).await.unwrap();
            });
        });
        Self { address, root, mood, calls }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// How many requests came.
    pub fn calls(&self) -> usize {
        self.calls.lock().len()
    }

    /// How many of them were of this method.
    pub fn calls_of(&self, method: &Method) -> usize {
        self.calls.lock().iter().filter(|call| *call == method).count()
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.path().join("bucket").join(key)
    }

    /// An object of the bucket.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        std::fs::read(self.path(key)).ok()
    }

    /// Puts an object into the bucket.
    pub fn put(&self, key: &str, content: &[u8]) {
        let path = self.path(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response<Body> {
    shared.calls.lock().push(request.method().clone());
    let mood = *shared.mood.lock();
    match mood {
        Mood::Well => {}
        Mood::Hangs => tokio::time::sleep(Duration::from_secs(3600)).await,
        Mood::Refuses(status, code) => {
            let body = format!("<Error><Code>{code}</Code><Message>secret of the inside</Message></Error>");
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            return response;
        }
    }
    let request = request.map(s3s::Body::http_body_unsync);
    match shared.service.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => panic!("{error:?}"),
    }
}
