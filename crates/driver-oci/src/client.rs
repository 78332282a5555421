//! The control plane's side of zygote and supervisors: starts the one, asks the others.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use spawnpoint_driver::DriverError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::protocol::{self, HEAD, Reply, Request};
use crate::records;
use crate::zygote::{self, Options};

/// For a zygote to become ready.
const ZYGOTE: Duration = Duration::from_secs(20);
/// For an answer to a question.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two tries to reach a zygote that somebody else is starting.
const AGAIN: Duration = Duration::from_millis(20);

/// The way to the zygote of one installation.
pub struct Client {
    program: PathBuf,
    options: Options,
    /// One starts it, the others wait.
    starting: tokio::sync::Mutex<()>,
}

fn unavailable(text: impl std::fmt::Display) -> DriverError {
    DriverError::Unavailable(text.to_string())
}

/// Connects to a socket in a folder, however long the folder's path is.
async fn connect(folder: &Path, name: &str) -> io::Result<UnixStream> {
    let folder = File::open(folder)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())).await
}

impl Client {
    /// A way to a zygote, which may run already.
    #[must_use]
    pub fn new(program: PathBuf, options: Options) -> Self {
        Self { program, options, starting: tokio::sync::Mutex::default() }
    }

    /// Sees to it that a zygote of this very binary runs.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ready(&self) -> Result<(), DriverError> {
        let _one = self.starting.lock().await;
        let end = Instant::now() + ZYGOTE;
        loop {
            match self.hello().await {
                Ok(identity) if identity == self.options.identity => return Ok(()),
                Ok(_) => {
                    tracing::info!("the zygote is of another release: it is replaced; what runs goes on");
                    self.quit().await?;
                }
                Err(_) => match self.start().await {
                    Ok(()) => {}
                    Err(error) if Instant::now() > end => return Err(error),
                    // Somebody else may be starting one, or an old one is still on its way out.
                    Err(_) => tokio::time::sleep(AGAIN).await,
                },
            }
            if Instant::now() > end {
                return Err(unavailable("the zygote does not become ready"));
            }
        }
    }

    async fn hello(&self) -> Result<String, DriverError> {
        match self.ask(&Request::Hello, &[], None, ANSWER).await? {
            Reply::Hello { identity, .. } => Ok(identity),
            _ => Err(unavailable("the zygote gives another answer")),
        }
    }

    /// Lets the zygote end. What runs goes on.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn quit(&self) -> Result<(), DriverError> {
        match self.ask(&Request::Quit, &[], None, ANSWER).await {
            // It has ended before it could say so, or there is none.
            Ok(_) | Err(DriverError::Unavailable(_)) => {}
            Err(error) => return Err(error),
        }
        let end = Instant::now() + ANSWER;
        while connect(&self.options.run, zygote::SOCKET).await.is_ok() {
            if Instant::now() > end {
                return Err(unavailable("the zygote does not end"));
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    async fn start(&self) -> Result<(), DriverError> {
        self.run("0").await.map_err(|why| unavailable(format!("the zygote does not start: {why}")))
    }

    /// Whether user namespaces, if they are wanted, work on the file system of this folder.
    ///
    /// # Errors
    /// What is missing.
    pub async fn probe(&self, dir: &Path) -> Result<(), String> {
        match self.options.users {
            None => Ok(()),
            Some(_) => self.run(&format!("{}{}", zygote::PROBE, dir.display())).await,
        }
    }

    /// Starts the binary again and reads its word.
    async fn run(&self, stage: &str) -> Result<(), String> {
        let mut command = tokio::process::Command::new(&self.program);
        command.arg(zygote::ARGUMENT).args(self.options.arguments(stage));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut out = child.stdout.take().ok_or_else(|| "it has no output".to_owned())?;
        let mut text = String::new();
        let read = async {
            let _ = (&mut out).take(4096).read_to_string(&mut text).await;
            let _ = child.wait().await;
        };
        if tokio::time::timeout(ZYGOTE, read).await.is_err() {
            return Err("it does not become ready in time".to_owned());
        }
        zygote::read_word(text.as_bytes())
    }

    /// Sends a request to a supervisor that waits, and takes its answer. [`DriverError::Unavailable`]: nobody has
    /// taken it, or who did was lost.
    ///
    /// # Errors
    /// Nobody waits, or no answer came.
    pub async fn ask(
        &self,
        request: &Request,
        contents: &[&[u8]],
        fd: Option<BorrowedFd<'_>>,
        patience: Duration,
    ) -> Result<Reply, DriverError> {
        let frame =
            protocol::frame(request, contents).map_err(|error| DriverError::Invalid(error.to_string()))?;
        let end = Instant::now() + patience;
        let connection = tokio::time::timeout_at(end, connect(&self.options.run, zygote::SOCKET)).await;
        let connection = connection.map_err(|_| unavailable("the zygote is busy"))?.map_err(unavailable)?;
        let exchange = async {
            send(&connection, &frame, fd).await?;
            receive(connection).await
        };
        match tokio::time::timeout_at(end, exchange).await {
            Err(_) => Err(DriverError::Timeout),
            Ok(Err(error)) => Err(unavailable(format!("a supervisor was lost: {error}"))),
            Ok(Ok(reply)) => Ok(reply),
        }
    }
}

async fn send(connection: &UnixStream, frame: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut sent = 0;
    while let Some(rest) = frame.get(sent..).filter(|rest| !rest.is_empty()) {
        connection.writable().await?;
        let own = fd.filter(|_| sent == 0);
        match connection.try_io(Interest::WRITABLE, || protocol::send_some(connection.as_fd(), rest, own)) {
            Ok(more) => sent += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn receive(mut connection: UnixStream) -> io::Result<Reply> {
    let mut head = [0; HEAD];
    connection.read_exact(&mut head).await?;
    let (json, behind) = protocol::lengths(head)?;
    let mut body = vec![0; json + behind];
    connection.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(body.get(..json).unwrap_or_default())?)
}

/// Gives a workload's own supervisor a command, and waits for its word. `false`: there is no supervisor.
///
/// # Errors
/// It does not answer in time.
pub async fn command(dir: &Path, command: &str, patience: Duration) -> Result<bool, DriverError> {
    let talk = async {
        let mut connection = connect(dir, records::CONTROL).await?;
        connection.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = Vec::new();
        (&mut connection).take(64).read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer == b"ok\n")
    };
    match tokio::time::timeout(patience, talk).await {
        Err(_) => Err(DriverError::Timeout),
        Ok(Err(_)) => Ok(false),
        Ok(Ok(done)) => Ok(done),
    }
}
