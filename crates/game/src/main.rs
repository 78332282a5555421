//! A small game server: what `spawnpoint demo` plays with and what the tests look out of from inside a container.
//!
//! What it is for: it echoes every UDP datagram and TCP line it gets on its ports, answers the few commands below, and
//! misbehaves on request; over TCP it also speaks HTTP and WebSocket (`web.rs`). It builds with plain `rustc`, without a
//! dependency, and runs as the only file of an empty image.
//!
//! Ports: every `internal` of `ARBITRIUM_PORTS_MAPPING`, every `ARBITRIUM_PORT_…_INTERNAL`, every number of `GAME_PORT`
//! (separated by commas); with none of these, 7777. TCP and UDP, unless the mapping names one of them.
//!
//! Commands (one datagram or line each; the answer is one datagram or line; anything else is echoed):
//!
//! | command | answer |
//! |---|---|
//! | `ping` | `pong <ARBITRIUM_REQUEST_ID>` |
//! | `env <KEY>` | the value |
//! | `status` | uid, capabilities, no-new-privileges and seccomp mode of this process |
//! | `addr` | the container's own address |
//! | `connect <ip:port>` | `connected`, or why a TCP connection failed within a second |
//! | `udp <ip:port>` | `answered`, or why no answer came within a second |
//! | `burn <ms>` | milliseconds of CPU that two busy threads got in that time |
//! | `fork` | how many threads could be started before the limit |
//! | `write <path>` | `written`, or why not |
//! | `read <path>` | what is in a file, or why it cannot be read |
//! | `log <n>`, `log-error <text>`, `log-bytes` | `logged`; writes lines, a line on standard error, all 256 bytes |
//! | `http-delete`, `http-context` | the status line and body of the self-stop or context call |
//! | `oom`, `exit <code>` | none: eats memory until it is ended; ends |
//!
//! Modes (`GAME_MODE` or arguments, several separated by commas): `exit:<code>`, `exit-after:<ms>:<code>`, `abort`, `oom`,
//! `never-listen`, `slow:<ms>` (listens late), `ignore-term`, `term-exit:<code>`, `log:<n>`, `load:<percent>:<MiB>:<KiB>`
//! (uses so much of one CPU, holds so much memory, writes so much to disk every second; what it moves over the network is
//! up to whoever sends it something to echo), `oom-after:<ms>`, `show:<path>` (logs what is in a file, before all else).
//!
//! Modes that write log, beside everything else: `flood:<MB/s>` (lines), `binary:<MB/s>`, `escapes:<MB/s>` (of a terminal), and
//! `oneline:<MB>` (one line, 50 MB/s). `escapes` without a number writes a few.

mod web;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, process, thread};

/// How long `connect`, `udp` and the HTTP calls wait.
const PATIENCE: Duration = Duration::from_secs(1);
/// `fork` stops here if nothing else stops it.
const THREADS_MAX: usize = 5000;

fn main() {
    // Blocked before the first thread is started, so that all of them inherit it and only `wait_for_signal` takes it.
    signals::block();
    let modes = modes();
    say(&format!("game: started as pid {}, modes {modes:?}", process::id()));
    if let Some(path) = argument(&modes, "show") {
        say(&format!("game: {path} holds {}", read(path)));
    }
    if let Some(lines) = number(&modes, "log") {
        log_lines(lines);
    }
    if let Some(code) = number(&modes, "exit") {
        leave(code);
    }
    if has(&modes, "abort") {
        process::abort();
    }
    if has(&modes, "oom") {
        eat_memory();
    }
    if let Some((millis, code)) = argument(&modes, "exit-after").and_then(|rest| rest.split_once(':')) {
        let (millis, code) = (millis.parse().unwrap_or(0), code.parse().unwrap_or(0));
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(millis));
            leave(code);
        });
    }
    if let Some(load) = argument(&modes, "load") {
        carry_load(load);
    }
    if let Some(millis) = number(&modes, "oom-after") {
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
            eat_memory();
        });
    }
    write_log(&modes);
    if let Some(millis) = number(&modes, "slow") {
        thread::sleep(Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
    }
    if !has(&modes, "never-listen") {
        listen();
    }
    loop {
        let signal = signals::wait();
        if has(&modes, "ignore-term") {
            say(&format!("game: ignoring signal {signal}"));
            continue;
        }
        say(&format!("game: signal {signal}, leaving"));
        leave(number(&modes, "term-exit").unwrap_or(0));
    }
}

/// Writes one line of log at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading: a game server does not die of that.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn leave(code: i32) -> ! {
    say(&format!("game: exit {code}"));
    process::exit(code)
}

// --- modes ---------------------------------------------------------------------------------------------------------

fn modes() -> Vec<String> {
    let from_env = env::var("GAME_MODE").unwrap_or_default();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let all = from_env.split(',').chain(arguments.iter().flat_map(|a| a.split(',')));
    all.map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

fn has(modes: &[String], word: &str) -> bool {
    modes.iter().any(|mode| mode == word)
}

fn argument<'a>(modes: &'a [String], word: &str) -> Option<&'a str> {
    modes.iter().find_map(|mode| mode.strip_prefix(word)?.strip_prefix(':'))
}

fn number(modes: &[String], word: &str) -> Option<i32> {
    argument(modes, word)?.parse().ok()
}

// --- ports ---------------------------------------------------------------------------------------------------------

/// A port to listen on: its number and whether it is UDP.
type Port = (u16, bool);

fn listen() {
    for (port, is_udp) in ports() {
        let bound = if is_udp {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))
                .map(|socket| drop(thread::spawn(move || serve_udp(&socket))))
        } else {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
                .map(|socket| drop(thread::spawn(move || serve_tcp(&socket))))
        };
        let kind = if is_udp { "udp" } else { "tcp" };
        match bound {
            Ok(()) => say(&format!("game: listens on {port}/{kind}")),
            Err(error) => {
                say(&format!("game: cannot listen on {port}/{kind}: {error}"));
                leave(2);
            }
        }
    }
}

fn ports() -> BTreeSet<Port> {
    let mut ports = BTreeSet::new();
    ports.extend(env::var("ARBITRIUM_PORTS_MAPPING").iter().flat_map(|json| mapped_ports(json)));
    for (key, value) in env::vars() {
        let Some(name) = key.strip_prefix("ARBITRIUM_PORT_").and_then(|k| k.strip_suffix("_INTERNAL")) else {
            continue;
        };
        let protocol = env::var(format!("ARBITRIUM_PORT_{name}_PROTOCOL")).unwrap_or_default();
        if let Ok(port) = value.parse() {
            ports.extend(transports(port, &protocol));
        }
    }
    for port in
        env::var("GAME_PORT").unwrap_or_default().split(',').filter_map(|text| text.trim().parse().ok())
    {
        ports.extend(transports(port, ""));
    }
    if ports.is_empty() {
        ports.extend(transports(7777, ""));
    }
    ports
}

fn transports(port: u16, protocol: &str) -> Vec<Port> {
    match protocol.to_ascii_uppercase().as_str() {
        "UDP" => vec![(port, true)],
        "" | "TCP/UDP" => vec![(port, false), (port, true)],
        _ => vec![(port, false)],
    }
}

/// Reads `{"ports":{"game":{"name":"game","internal":7777,…,"protocol":"UDP"}}}` without a JSON parser: each entry is
/// the text from one `"internal"` to the next brace.
fn mapped_ports(json: &str) -> Vec<Port> {
    let mut ports = Vec::new();
    for piece in json.split("\"internal\"").skip(1) {
        let entry = piece.split('}').next().unwrap_or_default();
        let digits: String =
            entry.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        let protocol =
            entry.split("\"protocol\"").nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap_or_default();
        if let Ok(port) = digits.parse() {
            ports.extend(transports(port, protocol));
        }
    }
    ports
}

// --- talking -------------------------------------------------------------------------------------------------------

fn serve_udp(socket: &UdpSocket) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if !is_command(&text) {
            let _ = socket.send_to(&buffer[..length], peer);
            continue;
        }
        // A command may take a second: echoes must not wait for it.
        if let Ok(socket) = socket.try_clone() {
            let _ = thread::Builder::new().spawn(move || {
                let _ = socket.send_to(answer(&text).as_bytes(), peer);
            });
        }
    }
}

fn serve_tcp(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        let _ = thread::Builder::new().spawn(move || {
            let Ok(reader) = stream.try_clone() else { return };
            serve_lines(BufReader::new(reader), stream);
        });
    }
}

fn serve_lines(mut reader: BufReader<TcpStream>, mut stream: TcpStream) {
    let reply = |line: String| if is_command(&line) { answer(&line) } else { line };
    loop {
        let mut line = String::new();
        if !reader.read_line(&mut line).is_ok_and(|read| read > 0) {
            return;
        }
        if web::is_request(&line) {
            // A client breaks off as it likes.
            let _ = web::serve(line, &mut reader, &mut stream, &reply);
            return;
        }
        let line = line.trim_end_matches('\n').trim_end_matches('\r').to_owned();
        if writeln!(stream, "{}", reply(line)).is_err() {
            return;
        }
    }
}

const COMMANDS: [&str; 17] = [
    "ping",
    "env",
    "status",
    "addr",
    "connect",
    "udp",
    "burn",
    "fork",
    "write",
    "log",
    "read",
    "log-error",
    "log-bytes",
    "http-delete",
    "http-context",
    "oom",
    "exit",
];

fn is_command(text: &str) -> bool {
    COMMANDS.contains(&text.split_whitespace().next().unwrap_or_default())
}

fn answer(text: &str) -> String {
    let text = text.trim();
    let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
    let variable = |key: &str| env::var(key).unwrap_or_default();
    let reply = match command {
        "ping" => format!("pong {}", variable("ARBITRIUM_REQUEST_ID")),
        "env" => variable(rest),
        "status" => status(),
        "addr" => own_address(),
        "connect" => connect(rest),
        "udp" => ask_udp(rest),
        "burn" => burn(Duration::from_millis(rest.parse().unwrap_or(100))).to_string(),
        "fork" => fork().to_string(),
        "write" => outcome(fs::write(rest, "written by the game"), "written"),
        "read" => read(rest),
        "log" => {
            log_lines(rest.parse().unwrap_or(1));
            "logged".to_owned()
        }
        "log-error" => outcome(writeln!(std::io::stderr(), "{rest}"), "logged"),
        "log-bytes" => {
            let bytes: Vec<u8> = (0..=255).collect();
            let mut out = std::io::stdout().lock();
            outcome(
                out.write_all(&bytes).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()),
                "logged",
            )
        }
        "http-delete" => {
            http("DELETE", &variable("ARBITRIUM_DELETE_URL"), &variable("ARBITRIUM_DELETE_TOKEN"))
        }
        "http-context" => {
            http("GET", &variable("ARBITRIUM_CONTEXT_URL"), &variable("ARBITRIUM_CONTEXT_TOKEN"))
        }
        "oom" => eat_memory(),
        "exit" => leave(rest.parse().unwrap_or(0)),
        _ => "unknown command".to_owned(),
    };
    reply.replace(['\r', '\n'], " ")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| error.to_string())
}

fn outcome(result: std::io::Result<()>, good: &str) -> String {
    result.map_or_else(|error| error.to_string(), |()| good.to_owned())
}

fn log_lines(count: i32) {
    for n in 1..=count {
        say(&format!("game: line {n}"));
    }
}

/// What a terminal would take for commands: colours, its title, its screen; in one byte (C1) and backwards (bidi) as well.
const ESCAPES: &str =
    "\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7} \u{1b}[2J \u{9b}1A \u{202e}txet\u{202c} \"\\ \0 <b>\n";

/// Starts what the modes ask for.
fn write_log(modes: &[String]) {
    let megabytes = |word: &str| number(modes, word).and_then(|n| usize::try_from(n).ok());
    let line = "game: a line of log as games write them when somebody has left them at the loudest level\n";
    let binary: Vec<u8> = (0..65_536_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    if has(modes, "escapes") {
        let _ = std::io::stdout().write_all(ESCAPES.as_bytes());
    }
    for (word, block) in [
        ("flood", line.repeat(700).into_bytes()),
        ("binary", binary),
        ("escapes", ESCAPES.repeat(900).into_bytes()),
    ] {
        if let Some(rate) = megabytes(word) {
            thread::spawn(move || pour(&block, rate, usize::MAX));
        }
    }
    if let Some(size) = megabytes("oneline") {
        thread::spawn(move || {
            pour(&[b'x'; 65_536], 50, size * 1_000_000);
            say("game: the long line has ended");
        });
    }
}

/// Writes a block over and over, so many megabytes a second, until so many bytes are written.
#[expect(clippy::disallowed_methods, reason = "the game depends on nothing, and its time is the machine's")]
fn pour(block: &[u8], rate: usize, mut left: usize) {
    let pause = Duration::from_micros(u64::try_from(block.len() / rate.max(1)).unwrap_or(1));
    while left > 0 {
        let part = &block[..block.len().min(left)];
        let started = std::time::Instant::now();
        if std::io::stdout().write_all(part).is_err() {
            return;
        }
        left -= part.len();
        thread::sleep(pause.saturating_sub(started.elapsed()));
    }
}

// --- looking around ------------------------------------------------------------------------------------------------

fn status() -> String {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return "no /proc".to_owned() };
    let wanted = ["Uid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"];
    let mut words = vec![format!("pid={}", process::id())];
    for line in status.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        if wanted.contains(&key) {
            words.push(format!("{key}={}", value.split_whitespace().next().unwrap_or_default()));
        }
    }
    words.join(" ")
}

/// The address that packets to the outside would carry. Nothing is sent.
fn own_address() -> String {
    let address = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    address.map_or_else(|error| error.to_string(), |address| address.ip().to_string())
}

fn connect(target: &str) -> String {
    let Ok(target) = target.parse::<SocketAddr>() else { return "not an address".to_owned() };
    outcome(TcpStream::connect_timeout(&target, PATIENCE).map(drop), "connected")
}

fn ask_udp(target: &str) -> String {
    let asked = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(b"ping", target)?;
        socket.recv_from(&mut [0; 1500]).map(drop)
    });
    outcome(asked, "answered")
}

/// One HTTP/1.1 call in the clear, with the token bare in the `authorization` header, as Edgegap's samples do it.
fn http(method: &str, url: &str, token: &str) -> String {
    let Some(rest) = url.strip_prefix("http://") else { return format!("not an http URL: {url}") };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let target = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let called = TcpStream::connect(&target).and_then(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE * 5))?;
        let head = format!("{method} /{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {token}\r\n");
        stream.write_all(format!("{head}content-length: 0\r\nconnection: close\r\n\r\n").as_bytes())?;
        let mut reply = Vec::new();
        stream.take(65_536).read_to_end(&mut reply)?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    });
    match called {
        Ok(reply) => {
            let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
            format!("{} {body}", head.lines().next().unwrap_or_default())
        }
        Err(error) => error.to_string(),
    }
}

// --- straining the limits ------------------------------------------------------------------------------------------

/// CPU time that this process has used, in milliseconds (fields 14 and 15 of its stat line, in ticks of 10 ms).
fn cpu_millis() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>()
        * 10
}

fn burn(time: Duration) -> u64 {
    let before = cpu_millis();
    let stop = Arc::new(AtomicBool::new(false));
    for _ in 0..2 {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
    }
    thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    cpu_millis().saturating_sub(before)
}

fn fork() -> usize {
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    while threads.len() < THREADS_MAX {
        let stop = Arc::clone(&stop);
        let idle = move || {
            while !stop.load(Ordering::Relaxed) {
                thread::park();
            }
        };
        match thread::Builder::new().stack_size(16 * 1024).spawn(idle) {
            Ok(thread) => threads.push(thread),
            Err(_) => break,
        }
    }
    stop.store(true, Ordering::Relaxed);
    let count = threads.len();
    for thread in threads {
        thread.thread().unpark();
        let _ = thread.join();
    }
    count
}

fn eat_memory() -> ! {
    say("game: eating memory");
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        // Not zero, so that every page is really touched.
        eaten.push(vec![1; 1024 * 1024]);
        std::hint::black_box(&eaten);
    }
}

// --- a known load --------------------------------------------------------------------------------------------------

/// Where the disk is written to, over and over.
const LOAD_FILE: &str = "/load";
/// Between two looks at what the process has used so far.
const LOAD_BEAT: Duration = Duration::from_millis(1);

/// `<percent>:<MiB>:<KiB>`; what is missing is 0.
fn carry_load(load: &str) {
    let mut numbers = load.split(':').map(|number| number.parse::<usize>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (percent, mebibytes, kibibytes) = (next(), next(), next());
    // Not zero, so that every page is really touched.
    let held = vec![1_u8; mebibytes * 1024 * 1024];
    thread::spawn(move || burn_share(percent, &held));
    if kibibytes > 0 {
        thread::spawn(move || write_every_second(kibibytes));
    }
}

/// Burns what is missing to the share: what the other threads use counts too, and what a busy machine did not give is
/// made up for.
fn burn_share(percent: usize, held: &[u8]) {
    let share = f64::from(u32::try_from(percent).unwrap_or(0)) / 100.0;
    let (start, used_before) = (clock::now(), clock::cpu());
    loop {
        std::hint::black_box(held);
        let wanted = (clock::now() - start).mul_f64(share);
        let until = clock::now() + LOAD_BEAT;
        if clock::cpu() - used_before < wanted {
            while clock::now() < until {
                std::hint::spin_loop();
            }
        } else {
            thread::sleep(LOAD_BEAT);
        }
    }
}

/// The same file again and again, through to the disk: little is left of it in memory.
fn write_every_second(kibibytes: usize) {
    let piece = vec![7_u8; kibibytes * 1024];
    let start = clock::now();
    for second in 1.. {
        let written = fs::File::create(LOAD_FILE)
            .and_then(|mut file| file.write_all(&piece).and_then(|()| file.sync_data()));
        if let Err(error) = written {
            say(&format!("game: {LOAD_FILE}: {error}"));
        }
        thread::sleep((start + Duration::from_secs(second)).saturating_sub(clock::now()));
    }
}

/// The kernel's clocks, finer than what stands in `/proc`.
mod clock {
    #![expect(
        unsafe_code,
        reason = "the standard library tells no CPU time, and this file may have no dependency"
    )]

    use std::time::Duration;

    const MONOTONIC: i32 = 1;
    const PROCESS_CPU: i32 = 2;

    /// As the kernel writes it on 64-bit machines.
    #[repr(C)]
    struct Time {
        seconds: i64,
        nanos: i64,
    }

    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Time) -> i32;
    }

    fn read(clock: i32) -> Duration {
        let mut time = Time { seconds: 0, nanos: 0 };
        // SAFETY: it lives through the call.
        unsafe {
            clock_gettime(clock, &raw mut time);
        }
        Duration::new(time.seconds.unsigned_abs(), u32::try_from(time.nanos).unwrap_or(0))
    }

    /// Time since some moment.
    pub fn now() -> Duration {
        read(MONOTONIC)
    }

    /// CPU time that this process has used.
    pub fn cpu() -> Duration {
        read(PROCESS_CPU)
    }
}

// --- signals -------------------------------------------------------------------------------------------------------

/// SIGTERM and SIGINT, taken by waiting for them. A first process without a handler would never see them; a blocked
/// signal is kept for it all the same.
mod signals {
    #![expect(
        unsafe_code,
        reason = "the standard library has no signals, and this file may have no dependency"
    )]

    const SIGINT: i32 = 2;
    const SIGTERM: i32 = 15;
    const SIG_BLOCK: i32 = 0;

    /// As large as any `sigset_t` of Linux.
    #[repr(C, align(16))]
    struct Set([u8; 128]);

    unsafe extern "C" {
        fn sigemptyset(set: *mut Set) -> i32;
        fn sigaddset(set: *mut Set, signal: i32) -> i32;
        fn pthread_sigmask(how: i32, set: *const Set, old: *mut Set) -> i32;
        fn sigwait(set: *const Set, signal: *mut i32) -> i32;
    }

    fn set() -> Set {
        let mut set = Set([0; 128]);
        // SAFETY: the set is as large as any libc's and lives through the calls.
        unsafe {
            sigemptyset(&raw mut set);
            sigaddset(&raw mut set, SIGTERM);
            sigaddset(&raw mut set, SIGINT);
        }
        set
    }

    pub fn block() {
        let set = set();
        // SAFETY: the set is initialised; no old one is asked for.
        unsafe {
            pthread_sigmask(SIG_BLOCK, &raw const set, std::ptr::null_mut());
        }
    }

    pub fn wait() -> i32 {
        let set = set();
        let mut signal = 0;
        // SAFETY: both live through the call.
        unsafe {
            sigwait(&raw const set, &raw mut signal);
        }
        signal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_mapping() {
        let json = r#"{"ports":{"game":{"name":"game","internal":7777,"external":31504,"protocol":"UDP","link":"a:1"},
            "query": {"name": "query", "internal": 80, "external": 2, "protocol": "HTTP"},
            "both":{"name":"both","internal":9,"external":3,"protocol":"TCP/UDP"}}}"#;
        assert_eq!(mapped_ports(json), [(7777, true), (80, false), (9, false), (9, true)]);
        assert_eq!(mapped_ports("{}"), []);
        assert_eq!(mapped_ports("\"internal\""), []);
    }

    #[test]
    fn modes_have_arguments() {
        let modes = ["exit:3".to_owned(), "ignore-term".to_owned(), "exit-after:200:7".to_owned()];
        assert_eq!(number(&modes, "exit"), Some(3));
        assert!(has(&modes, "ignore-term"));
        assert_eq!(argument(&modes, "exit-after"), Some("200:7"));
        assert_eq!(number(&modes, "slow"), None);
    }

    #[test]
    fn http_calls_carry_the_bare_token_and_tell_the_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/self/stop/5d1e07a9c34b/48213", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}").unwrap();
            head
        });
        assert_eq!(http("DELETE", &url, "secret"), "HTTP/1.1 202 Accepted {}");
        let head = server.join().unwrap();
        assert_eq!(head[0], "DELETE /v1/self/stop/5d1e07a9c34b/48213 HTTP/1.1");
        assert!(head.contains(&"authorization: secret".to_owned()), "{head:?}");
    }

    #[test]
    fn what_is_no_command_is_echoed() {
        for text in ["hello", "pingpong", "", "seq 17", "\u{0}"] {
            assert!(!is_command(text), "{text:?}");
        }
        assert!(is_command("ping") && is_command("exit 3"));
        assert_eq!(answer("connect nowhere"), "not an address");
    }
}
