//! The binary as a process: running it to its end, and running it as a server beside the test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// For one exchange, and for a start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A host that pretends, so that no container engine is needed.
pub const FAKE_HOST: &str =
    "[[site]]\nname = \"here\"\ncity = \"Here\"\nlatitude = 1.0\nlongitude = 2.0\ndriver = \"fake\"\n";

/// The command with an environment of its own.
pub fn command(arguments: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spawnpoint"));
    command
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Runs it to its end.
pub fn run(arguments: &[&str], dir: &Path) -> Output {
    command(arguments, dir).output().unwrap()
}

/// What was printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server beside the test; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// What it printed until it was ready.
    pub announced: String,
    dir: PathBuf,
}

impl Server {
    /// Starts one with a fake host on `dir/data`.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// The same with more environment.
    pub fn start_with(dir: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start_on(dir, FAKE_HOST, variables)
    }

    /// The same with this configuration.
    pub fn start_on(dir: &Path, configuration: &str, variables: &[(&str, &str)]) -> Self {
        std::fs::write(dir.join("spawnpoint.toml"), configuration).unwrap();
        let arguments =
            ["serve", "--config", "spawnpoint.toml", "--data-dir", "data", "--listen", "127.0.0.1:0"];
        let log = std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
        let mut command = command(&arguments, dir);
        let command = command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut announced = String::new();
        let mut address = None;
        // It is ready once it says how many hosts it has. What is printed after that is taken by a thread of its own, so that
        // the server never writes into a closed pipe.
        for line in lines.by_ref() {
            let line = line.unwrap();
            address = address
                .or_else(|| line.trim().strip_prefix("API       http://").map(|text| text.parse().unwrap()));
            let is_last = line.trim().starts_with("capacity");
            announced.push_str(&line);
            announced.push('\n');
            if is_last {
                break;
            }
        }
        let Some(address) = address else {
            panic!("the server did not start: {}", std::fs::read_to_string(dir.join("log")).unwrap())
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, announced, dir: dir.to_owned() }
    }

    /// The first token, as its file holds it.
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.dir.join("data/admin-token")).unwrap().trim().to_owned()
    }

    /// One HTTP exchange with the first token.
    pub fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        http(self.address, method, path, &self.token(), body)
    }

    /// Sends a signal and waits for the end; the exit code.
    pub fn signal(mut self, signal: &str) -> Option<i32> {
        let sent = Command::new("sh")
            .args(["-c", "kill $0 $1", signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP exchange: status and JSON body (`null` if there is none).
pub fn http(address: SocketAddr, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\nauthorization: token {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Waits until a look gives something, with bounded patience.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let step = Duration::from_millis(20);
    for _ in 0..PATIENCE.as_millis() / step.as_millis() {
        if let Some(found) = look() {
            return found;
        }
        std::thread::park_timeout(step);
    }
    panic!("waited in vain for {what}")
}
