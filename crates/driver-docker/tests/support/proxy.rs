//! A proxy in front of the engine that misbehaves on request: another way to the same engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio_rustls::TlsAcceptor;

/// What it does to connections that are made from now on.
#[derive(Default)]
pub struct Manners {
    /// Takes requests and never answers.
    pub mute: AtomicBool,
    /// Passes the next request that holds this text, and hangs up instead of answering it.
    pub lose_answer_to: Mutex<Option<&'static str>>,
    /// Takes every request that holds this text and never answers it.
    pub hang_on: Mutex<Option<&'static str>>,
    /// Cuts every connection that is open.
    pub cut: tokio::sync::Notify,
}

impl Manners {
    fn loses(&self, request: &[u8]) -> bool {
        let mut needle = self.lose_answer_to.lock();
        let hit = needle.is_some_and(|text| holds(request, text));
        if hit {
            *needle = None;
        }
        hit
    }
}

fn holds(request: &[u8], text: &str) -> bool {
    request.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Starts it; tells its address.
pub async fn start(manners: Arc<Manners>, tls: Option<TlsAcceptor>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (manners, tls) = (Arc::clone(&manners), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => serve(stream, manners).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, manners).await;
                        }
                    }
                }
            });
        }
    });
    address
}

async fn serve(mut client: impl AsyncRead + AsyncWrite + Unpin, manners: Arc<Manners>) {
    let mut request = vec![0; 65_536];
    let Ok(length) = client.read(&mut request).await else { return };
    let hangs = manners.hang_on.lock().is_some_and(|text| holds(&request[..length], text));
    if hangs || manners.mute.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    let mut engine = UnixStream::connect("/var/run/docker.sock").await.unwrap();
    engine.write_all(&request[..length]).await.unwrap();
    if manners.loses(&request[..length]) {
        // The effect takes place: the engine has begun to answer.
        let _ = engine.read(&mut request).await;
        return;
    }
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut engine) => {}
        () = manners.cut.notified() => {}
    }
}
