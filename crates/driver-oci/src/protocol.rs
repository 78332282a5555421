//! What the control plane and a supervisor say to each other.
//!
//! ```text
//! control plane ── frame: lengths, JSON, contents of files, the network namespace as a descriptor ──▶ a waiting supervisor
//!               ◀── frame: Reply ──
//! control plane ── "stop 5000\n" | "kill\n" | "over-disk\n" ──▶ the supervisor's own socket, for as long as its workload lives
//!               ◀── "ok\n" (stop: at once; kill: when all of it is gone) ──
//! ```
//!
//! Both ends are the same binary: whoever finds a zygote of another one replaces it before it asks for anything.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::{Deserialize, Serialize};

/// Bytes of a frame at most: the contents of a workload's files, above all.
pub const FRAME_MAX: usize = 256 * 1024 * 1024;
/// Bytes of the two lengths in front of a frame.
pub const HEAD: usize = 8;

/// What a waiting supervisor is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Who are you? It goes on waiting.
    Hello,
    /// The zygote is to end; what runs goes on.
    Quit,
    /// Make and start this. A network namespace comes along.
    Start(Box<Start>),
    /// Look after a workload that runs and whose supervisor was lost.
    Adopt {
        /// Its folder.
        dir: PathBuf,
        /// Its id, for hints.
        id: String,
    },
}

/// A workload that is to be started.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// Its folder; it has the folders `upper` and `work`.
    pub dir: PathBuf,
    /// Its id, for hints.
    pub id: String,
    /// The unpacked layers of its image, lowest first.
    pub layers: Vec<PathBuf>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// `KEY=value`, a later one wins. Holds secrets.
    pub env: Vec<String>,
    /// As images write it: `user[:group]`, names or numbers. Empty = root.
    pub user: String,
    /// Working directory.
    pub cwd: String,
    /// Its name for itself.
    pub hostname: String,
    /// `/etc/hosts`.
    pub hosts: String,
    /// `/etc/resolv.conf`.
    pub resolv: String,
    /// Bytes.
    pub memory: u64,
    /// 1024 of them are one CPU.
    pub cpu_units: u32,
    /// Processes and threads.
    pub pids: u32,
    /// Open files of a process.
    pub open_files: u64,
    /// No root, no capability, a read-only root file system.
    pub restricted: bool,
    /// Files that are put into it; their contents follow the JSON.
    pub files: Vec<FileHead>,
    /// Milliseconds that it may live.
    pub lifetime: Option<u64>,
    /// Host ports that are kept from others while it lives: number, and whether it is UDP.
    pub ports: Vec<(u16, bool)>,
}

/// A file without its content.
#[derive(Debug, Serialize, Deserialize)]
pub struct FileHead {
    /// Absolute path inside.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// Bytes.
    pub length: usize,
}

/// What a waiting supervisor answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// To Hello: which binary this is, and the zygote's process.
    Hello {
        /// See [`crate::zygote::identity`].
        identity: String,
        /// The zygote.
        zygote: i32,
    },
    /// To Quit.
    Quitting,
    /// It runs, or is looked after.
    Started,
    /// It does not, and nothing of it is left but its folder.
    Failed(Refusal),
}

/// Why a workload was not started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Its image or spec does not work; a sentence for users.
    Start(String),
    /// Somebody has the port.
    PortBusy {
        /// Number.
        port: u16,
        /// UDP.
        udp: bool,
    },
    /// The host is full.
    NoRoom(String),
    /// Somebody else is starting it right now.
    UnderWay,
    /// Anything else.
    Internal(String),
}

/// A frame: JSON, and the contents of files behind it.
///
/// # Errors
/// It is too large.
pub fn frame(message: &impl Serialize, contents: &[&[u8]]) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(message)?;
    let behind: usize = contents.iter().map(|content| content.len()).sum();
    if json.len() + behind > FRAME_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the files are too large"));
    }
    let mut frame = Vec::with_capacity(HEAD + json.len() + behind);
    for length in [json.len(), behind] {
        frame.extend(u32::try_from(length).map_err(io::Error::other)?.to_le_bytes());
    }
    frame.extend(json);
    contents.iter().for_each(|content| frame.extend(*content));
    Ok(frame)
}

/// Bytes of the JSON and of what follows, from the first bytes of a frame.
///
/// # Errors
/// It is too large.
pub fn lengths(head: [u8; HEAD]) -> io::Result<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = head;
    let length = |bytes| usize::try_from(u32::from_le_bytes(bytes)).map_err(io::Error::other);
    let (json, behind) = (length([a, b, c, d])?, length([e, f, g, h])?);
    if json.saturating_add(behind) > FRAME_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is too large"));
    }
    Ok((json, behind))
}

/// A frame as it came: the whole, how much of it is head and JSON, and the descriptor that came with it.
pub struct Received {
    /// Everything, the head included.
    pub frame: Vec<u8>,
    /// Bytes of JSON.
    pub json: usize,
    /// A descriptor.
    pub fd: Option<OwnedFd>,
}

impl Received {
    /// The JSON.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        self.frame.get(HEAD..HEAD + self.json).unwrap_or_default()
    }

    /// What follows it.
    #[must_use]
    pub fn contents(&self) -> &[u8] {
        self.frame.get(HEAD + self.json..).unwrap_or_default()
    }
}

/// Sends bytes, the descriptor with the first of them. Tells how many went.
///
/// # Errors
/// What the kernel says.
pub fn send_some(socket: impl AsFd, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds;
    if let Some(fd) = fd {
        fds = [fd];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("no room for a descriptor"));
        }
    }
    let slices = [io::IoSlice::new(bytes)];
    Ok(rustix::net::sendmsg(socket, &slices, &mut ancillary, SendFlags::NOSIGNAL)?)
}

/// Sends a whole frame on a blocking socket.
///
/// # Errors
/// What the kernel says.
pub fn send(socket: impl AsFd, frame: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut sent = 0;
    while let Some(rest) = frame.get(sent..).filter(|rest| !rest.is_empty()) {
        match send_some(&socket, rest, fd.filter(|_| sent == 0)) {
            Ok(more) => sent += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Receives a whole frame on a blocking socket. `None` if the other side has hung up before it.
///
/// # Errors
/// What the kernel says; a frame that is cut short or too large.
pub fn receive(socket: impl AsFd) -> io::Result<Option<Received>> {
    let mut head = [0; HEAD];
    let mut fd = None;
    if !fill(&socket, &mut head, &mut fd)? {
        return Ok(None);
    }
    let (json, behind) = lengths(head)?;
    let mut frame = vec![0; HEAD + json + behind];
    let (start, rest) = frame.split_at_mut(HEAD);
    start.copy_from_slice(&head);
    if !rest.is_empty() && !fill(&socket, rest, &mut fd)? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(Received { frame, json, fd }))
}

/// `false` if nothing came at all.
fn fill(socket: impl AsFd, buffer: &mut [u8], fd: &mut Option<OwnedFd>) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let rest = buffer.get_mut(filled..).unwrap_or_default();
        let mut slices = [io::IoSliceMut::new(rest)];
        let got = match rustix::net::recvmsg(&socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => message.bytes,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                for received in fds {
                    *fd = Some(received);
                }
            }
        }
        match got {
            0 if filled == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => filled += more,
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_frame_arrives_with_its_contents_and_its_descriptor() {
        let (here, there) = UnixStream::pair().unwrap();
        let large = vec![7; 100_000];
        let frame = frame(&Request::Hello, &[b"abc", &large]).unwrap();
        let sender = std::thread::spawn(move || {
            let file = std::fs::File::open("/dev/null").unwrap();
            send(&here, &frame, Some(file.as_fd())).unwrap();
        });
        let received = receive(&there).unwrap().unwrap();
        sender.join().unwrap();
        assert!(matches!(serde_json::from_slice(received.json()), Ok(Request::Hello)));
        assert_eq!(received.contents().len(), 100_003);
        assert!(received.fd.is_some());
        assert!(receive(&there).unwrap().is_none());
    }

    #[test]
    fn a_frame_that_is_too_large_is_not_read() {
        assert!(lengths([255; HEAD]).is_err());
        assert_eq!(lengths([1, 0, 0, 0, 2, 0, 0, 0]).unwrap(), (1, 2));
    }
}
