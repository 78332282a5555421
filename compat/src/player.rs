//! Players: one who asks the game a question, and one who plays through everything and counts what was lost.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

/// How long an answer may take; commands of the game server may need some seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two packets of a prober.
const BEAT: Duration = Duration::from_millis(50);
/// How long the answer to the last packets may take.
const TAIL: Duration = Duration::from_secs(2);

/// Where a port of this machine is.
#[must_use]
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Sends one datagram and takes the answer.
///
/// # Panics
/// None comes.
#[must_use]
pub fn ask_udp(port: u16, text: &str) -> String {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(local(port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(text.as_bytes()).unwrap();
    let mut answer = vec![0; 65_536];
    let length = loop {
        match socket.recv(&mut answer) {
            Ok(length) => break length,
            // A child of another test has ended.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no answer to {text:?} on {port}/udp: {error}"),
        }
    };
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// Sends one line and takes the answer.
///
/// # Panics
/// None comes.
#[must_use]
pub fn ask_tcp(port: u16, text: &str) -> String {
    let mut stream = TcpStream::connect_timeout(&local(port), PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    writeln!(stream, "{text}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer.trim_end().to_owned()
}

/// What a prober saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Packets sent.
    pub sent: u64,
    /// Numbers of those that were not answered.
    pub lost: Vec<u64>,
    /// The slowest answer.
    pub slowest: Duration,
    /// How long each answer took.
    pub answers: Vec<Duration>,
}

impl Report {
    /// Of a hundred answers, one took longer than this.
    #[must_use]
    pub fn p99(&self) -> Duration {
        let mut answers = self.answers.clone();
        answers.sort_unstable();
        answers.get(answers.len() * 99 / 100).copied().unwrap_or_default()
    }
}

/// A player who sends a numbered packet every 50 ms on one socket, for as long as it lives.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Report>,
}

impl Prober {
    /// Begins to play.
    ///
    /// # Panics
    /// There is no socket to be had.
    #[must_use]
    pub fn start(port: u16) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(local(port)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Self { stop, thread: std::thread::spawn(move || play(&socket, &told)) }
    }

    /// Ends the game, waiting for the last answers.
    ///
    /// # Panics
    /// The player did.
    #[must_use]
    pub fn finish(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn play(socket: &UdpSocket, stop: &AtomicBool) -> Report {
    let mut report = Report::default();
    let mut open: BTreeMap<u64, Instant> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let number = report.sent;
        report.sent += 1;
        let now = Instant::now();
        open.insert(number, now);
        // A refused packet is a lost one: it stays open.
        let _ = socket.send(format!("packet {number}").as_bytes());
        listen(socket, now + BEAT, &mut open, &mut report, false);
    }
    listen(socket, Instant::now() + TAIL, &mut open, &mut report, true);
    report.lost = open.into_keys().collect();
    report
}

/// Takes answers until a moment, or until none is missing.
fn listen(
    socket: &UdpSocket,
    until: Instant,
    open: &mut BTreeMap<u64, Instant>,
    report: &mut Report,
    tail: bool,
) {
    let mut buffer = [0; 256];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || (tail && open.is_empty()) || socket.set_read_timeout(Some(left)).is_err() {
            return;
        }
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let text = String::from_utf8_lossy(&buffer[..length]);
        let number = text.strip_prefix("packet ").and_then(|number| number.parse().ok());
        if let Some(sent) = number.and_then(|number: u64| open.remove(&number)) {
            let took = sent.elapsed();
            report.slowest = report.slowest.max(took);
            report.answers.push(took);
        }
    }
}

/// Sends one datagram and waits for nothing: the game may end before it can answer.
///
/// # Panics
/// It cannot be sent.
pub fn tell_udp(port: u16, text: &str) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.send_to(text.as_bytes(), local(port)).unwrap();
}

/// A player who sends a steady stream of large datagrams, and gets each of them back.
#[derive(Debug)]
pub struct Flow {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

/// Bytes of one datagram of a flow.
const PIECE: usize = 1024;
/// Between two looks at how much is to be sent.
const FLOW_BEAT: Duration = Duration::from_millis(5);
/// Datagrams that are sent at once, at most: more may be lost on the way.
const BURST: u64 = 16;

impl Flow {
    /// Begins to send so many bytes a second.
    ///
    /// # Panics
    /// There is no socket to be had.
    #[must_use]
    pub fn start(port: u16, bytes_per_second: u64) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(local(port)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Self { stop, thread: std::thread::spawn(move || stream(&socket, bytes_per_second, &told)) }
    }

    /// Ends it; the bytes that were sent.
    ///
    /// # Panics
    /// The player did.
    #[must_use]
    pub fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn stream(socket: &UdpSocket, bytes_per_second: u64, stop: &AtomicBool) -> u64 {
    let piece = [b'x'; PIECE];
    let (start, mut sent, mut answer) = (Instant::now(), 0, [0; 2 * PIECE]);
    while !stop.load(Ordering::Relaxed) {
        let due = u64::try_from(start.elapsed().as_micros()).unwrap() * bytes_per_second / 1_000_000;
        for _ in 0..BURST {
            if sent >= due {
                break;
            }
            sent += u64::try_from(socket.send(&piece).unwrap_or(0)).unwrap();
        }
        while socket.recv(&mut answer).is_ok() {}
        std::thread::sleep(FLOW_BEAT);
    }
    sent
}
