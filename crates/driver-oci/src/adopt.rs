//! A supervisor that was killed is replaced: another one, of those that wait, goes on with its workload. What the first knew
//! stands in the workload's folder and in the kernel.
//!
//! ```text
//! state.json ─▶ the process, the group, the end of its time
//! /proc/<process>/fd ─▶ its pipes, opened again: what was written meanwhile waits in them
//! spec.json ─▶ the host ports that are kept from others
//! the zygote ─▶ how it ends, as its parent by now (zygote.rs); not known if that zygote is gone as well
//! ```
//!
//! The grace of a stop that the first was told of is lost with it: the control plane, which has asked, ends that itself.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::protocol::Refusal;
use crate::records::{self, SpecRecord, StateRecord};
use crate::supervisor::{self, Running, Shared};
use crate::users::Block;
use crate::{log, zygote};

/// Takes a workload over that runs and that nobody looks after.
///
/// # Errors
/// Somebody does, it does not run, or what the kernel says.
pub fn adopt(shared: &Shared, dir: &Path, zygote: i32) -> Result<Running, Refusal> {
    let internal = |what: &str, error: io::Error| Refusal::Internal(format!("{what}: {error}"));
    let lock = supervisor::take_lock(dir).map_err(|error| internal("folder", error))?;
    let lock = lock.ok_or(Refusal::UnderWay)?;
    let state =
        records::read::<StateRecord>(dir, records::STATE).map_err(|error| internal("record", error))?;
    let spec = records::read::<SpecRecord>(dir, records::SPEC).map_err(|error| internal("record", error))?;
    let (Some(state), Some(spec)) = (state, spec) else {
        return Err(Refusal::Internal("its folder does not tell enough of it".to_owned()));
    };
    // A note of an end that is there already is of another process that had the number.
    let note = shared.run.join(zygote::EXITS).join(state.pid.to_string());
    let _ = fs::remove_file(&note);
    let Some(child) = supervisor::handle_of(&state) else {
        return Err(Refusal::Internal("it has ended".to_owned()));
    };
    let slot_lock = File::create(shared.run.join("slots").join(&state.slot));
    let slot_lock = slot_lock.map_err(|error| internal("slot", error))?;
    // The janitor may look at it just now; it leaves the group of a process that lives alone.
    let _ = rustix::fs::flock(&slot_lock, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    let [out, err] = state.pipes;
    let processes = shared.hierarchies.group(&state.slot).processes();
    let output = [pipe_or_nothing(&state, &processes, out), pipe_or_nothing(&state, &processes, err)];
    let [Ok(out), Ok(err)] = output else {
        return Err(Refusal::Internal("its output cannot be read, nor /dev/null".to_owned()));
    };
    Ok(Running {
        slot: state.slot.clone(),
        _slot_lock: slot_lock,
        child,
        output: [out, err],
        _users: shared.users.and_then(|range| Block::hold_again(&shared.run, range, state.pid)),
        _mounts: File::open(format!("/proc/{}/ns/mnt", state.pid)).ok(),
        lines: Default::default(),
        writer: log::Writer::new(dir),
        control: supervisor::control_socket(dir).map_err(|error| internal("control socket", error))?,
        _lock: lock,
        // Somebody may have taken one of them meanwhile: its packets come to the workload all the same.
        ports: spec.ports.iter().filter_map(|(_, port, udp)| supervisor::hold(*port, *udp).ok()).collect(),
        ends_at: state.ends_at,
        over_disk: false,
        noted: Some(note).filter(|_| records::parent(state.pid) == Some(zygote)),
    })
}

/// One of its pipes. A program that has closed it everywhere has nothing more to say there.
fn pipe_or_nothing(state: &StateRecord, processes: &[i32], number: u64) -> io::Result<OwnedFd> {
    let name = format!("pipe:[{number}]");
    let found = std::iter::once(&state.pid).chain(processes).find_map(|pid| {
        let all = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        all.flatten().find_map(|entry| {
            // What the kernel shows of a pipe is no path: no file can be named so.
            let is_it = fs::read_link(entry.path()).is_ok_and(|shown| shown.as_os_str() == name.as_str());
            is_it.then(|| open_again(&entry.path(), number).ok()).flatten()
        })
    });
    found.map_or_else(|| File::open("/dev/null").map(OwnedFd::from), Ok)
}

/// Opens what a descriptor of another process leads to, if it is the pipe that is meant: the number may be another file by now.
fn open_again(path: &Path, number: u64) -> io::Result<OwnedFd> {
    let looked_at = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let found = rustix::fs::fstat(&looked_at)?;
    let kind = rustix::fs::fstatfs(&looked_at)?.f_type;
    if found.st_ino != number || kind != PIPES {
        return Err(io::ErrorKind::NotFound.into());
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(format!("/proc/self/fd/{}", looked_at.as_raw_fd()), flags, Mode::empty())?)
}

/// Of the kernel's own file system of pipes.
const PIPES: rustix::fs::FsWord = 0x5049_5045;

#[cfg(test)]
mod tests {
    use super::*;

    fn own_state() -> StateRecord {
        let pid = i32::try_from(std::process::id()).unwrap();
        let ticks = records::ticks(pid).unwrap();
        let slot = String::new();
        StateRecord { pid, ticks, boot: records::boot(), slot, started_at: 0, pipes: [0; 2], ends_at: None }
    }

    #[test]
    fn a_pipe_is_found_by_its_number_and_what_was_written_waits_in_it() {
        let (reading, writing) = rustix::pipe::pipe().unwrap();
        let number = rustix::fs::fstat(&writing).unwrap().st_ino;
        rustix::io::write(&writing, b"before").unwrap();
        let again = pipe_or_nothing(&own_state(), &[], number).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(rustix::io::read(&again, &mut buffer).unwrap(), 6);
        assert_eq!(rustix::io::read(&again, &mut buffer), Err(rustix::io::Errno::AGAIN), "it never waits");
        drop((reading, writing));
        assert_eq!(rustix::io::read(&again, &mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_pipe_that_nobody_has_any_more_says_nothing() {
        let nothing = pipe_or_nothing(&own_state(), &[i32::MAX], u64::MAX).unwrap();
        assert_eq!(rustix::io::read(&nothing, &mut [0; 16]).unwrap(), 0);
    }

    #[test]
    fn another_file_in_the_place_of_a_pipe_is_not_opened() {
        let file = File::open("/dev/null").unwrap();
        let number = rustix::fs::fstat(&file).unwrap().st_ino;
        assert!(open_again(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())), number).is_err());
    }
}
