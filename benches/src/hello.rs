//! The baseline of everything that is served over HTTP: a bare axum that says hello, as a process of its own with two
//! worker threads.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;

use crate::Failure;

/// This program's name for being that process.
pub const COMMAND: &str = "serve-hello";

/// Serves until it is killed; prints its address.
#[expect(clippy::print_stdout, reason = "the parent reads the address there")]
pub fn serve() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let router = Router::new().route("/", get(async || "hello"));
        axum::serve(listener.tap_io(|io| drop(io.set_nodelay(true))), router).await?;
        Ok(())
    })
}

/// The running process.
#[derive(Debug)]
pub struct Hello {
    /// Where it answers.
    pub address: SocketAddr,
    child: Child,
}

impl Hello {
    /// Starts it.
    pub fn start() -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program).arg(COMMAND).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.as_mut() {
            BufReader::new(output).read_line(&mut line)?;
        }
        Ok(Self { address: line.trim().parse()?, child })
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
