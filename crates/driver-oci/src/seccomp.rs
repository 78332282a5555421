//! Which system calls a container may make: a filter in the kernel's own machine language (classic BPF).
//!
//! What it has the meaning of: Docker's default profile for a container without administrative capabilities. The list of
//! calls that are allowed whatever their arguments is data (`seccomp.table`); the four that depend on arguments stand here.
//! On x86-64 programs of 32 bits may run as well (many game servers' installers are such), with their own numbers.
//!
//! ```text
//! architecture? ─ none of ours ──▶ the process is killed
//!       └▶ number: a tree of comparisons over ranges of numbers ─▶ allow | EPERM | ENOSYS | look at the arguments
//! ```
//!
//! The filter is made once, in the zygote, before anything is forked.

use std::collections::BTreeMap;

use libc::sock_filter;

/// `name x86_64 i386 aarch64`
const TABLE: &str = include_str!("seccomp.table");

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_ABOVE: u16 = 0x25;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const NOT_PERMITTED: u32 = 0x0005_0000 | 1;
const NO_SUCH_CALL: u32 = 0x0005_0000 | 38;

/// Where the number, the architecture and the low half of the first argument stand in what the filter looks at.
const AT_NUMBER: u32 = 0;
const AT_ARCHITECTURE: u32 = 4;
const AT_ARGUMENT: u32 = 16;

const X86_64: u32 = 0xC000_003E;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xC000_00B7;
/// Numbers from here on are the x32 variant's.
const X32: u32 = 0x4000_0000;

/// New namespaces of every kind: what `clone` may not ask for.
const NAMESPACES: u32 = 0x7E02_0000;
/// Personalities that change nothing but what `uname` tells and where memory lies.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Families of sockets that are not let out of a namespace's reach or have been a way into the kernel: DECnet, Econet, ATM,
/// RDS, IRDA, LLC's neighbours, AF_ALG, AF_VSOCK, and what is newer than XDP and MCTP.
const NO_SOCKETS: [u32; 9] = [12, 19, 20, 23, 25, 34, 37, 38, 40];
const FIRST_UNKNOWN_SOCKET: u32 = 46;

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Allow,
    Deny,
    NotThere,
    Socket,
    Personality,
    Clone,
}

/// One architecture's numbers: column of the table, and of the calls that are not in it.
struct Architecture {
    audit: u32,
    column: usize,
    socket: u32,
    personality: u32,
    clone: u32,
    clone3: u32,
}

/// Those that programs on this machine may have.
fn architectures() -> &'static [Architecture] {
    const X86: [Architecture; 2] = [
        Architecture { audit: X86_64, column: 1, socket: 41, personality: 135, clone: 56, clone3: 435 },
        Architecture { audit: I386, column: 2, socket: 359, personality: 136, clone: 120, clone3: 435 },
    ];
    const ARM: [Architecture; 1] =
        [Architecture { audit: AARCH64, column: 3, socket: 198, personality: 92, clone: 220, clone3: 435 }];
    if cfg!(target_arch = "aarch64") { &ARM } else { &X86 }
}

const fn op(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The filter of every container.
#[must_use]
pub fn filter() -> Vec<sock_filter> {
    let mut program = vec![op(LOAD, AT_ARCHITECTURE)];
    for architecture in architectures() {
        let body = body(architecture);
        let length = u32::try_from(body.len()).unwrap_or(0);
        program.push(jump(JUMP_EQUAL, architecture.audit, 1, 0));
        program.push(op(JUMP, length));
        program.extend(body);
    }
    program.push(op(RETURN, KILL));
    program
}

fn verdicts(architecture: &Architecture) -> BTreeMap<u32, Verdict> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let numbers = lines.filter_map(|line| line.split(' ').nth(architecture.column)?.parse().ok());
    let mut verdicts: BTreeMap<u32, Verdict> = numbers.map(|number| (number, Verdict::Allow)).collect();
    verdicts.insert(architecture.socket, Verdict::Socket);
    verdicts.insert(architecture.personality, Verdict::Personality);
    verdicts.insert(architecture.clone, Verdict::Clone);
    // Its arguments lie in memory, where a filter cannot look. The C library then asks for `clone`.
    verdicts.insert(architecture.clone3, Verdict::NotThere);
    verdicts
}

/// Where each range of numbers with one verdict begins; the last one goes on for ever.
fn ranges(verdicts: &BTreeMap<u32, Verdict>) -> Vec<(u32, Verdict)> {
    let mut ranges = vec![(0, Verdict::Deny)];
    let mut add = |from: u32, verdict: Verdict| match ranges.last_mut() {
        Some((_, last)) if *last == verdict => {}
        Some((start, last)) if *start == from => *last = verdict,
        _ => ranges.push((from, verdict)),
    };
    let mut next = 0;
    for (number, verdict) in verdicts {
        if *number > next {
            add(next, Verdict::Deny);
        }
        add(*number, *verdict);
        next = number + 1;
    }
    add(next, Verdict::Deny);
    ranges
}

fn body(architecture: &Architecture) -> Vec<sock_filter> {
    let mut body = vec![op(LOAD, AT_NUMBER)];
    if architecture.audit == X86_64 {
        body.extend([jump(JUMP_AT_LEAST, X32, 0, 1), op(RETURN, NOT_PERMITTED)]);
    }
    body.extend(tree(&ranges(&verdicts(architecture))));
    body
}

/// Compares until one range is left.
fn tree(ranges: &[(u32, Verdict)]) -> Vec<sock_filter> {
    match ranges {
        [] => Vec::new(),
        [(_, verdict)] => leaf(*verdict),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let from = high.first().map_or(0, |(from, _)| *from);
            let (low, high) = (tree(low), tree(high));
            // Conditional jumps reach 255 far.
            let mut all = match u8::try_from(low.len()) {
                Ok(length) => vec![jump(JUMP_AT_LEAST, from, length, 0)],
                Err(_) => {
                    let length = u32::try_from(low.len()).unwrap_or(0);
                    vec![jump(JUMP_AT_LEAST, from, 0, 1), op(JUMP, length)]
                }
            };
            all.extend(low);
            all.extend(high);
            all
        }
    }
}

fn leaf(verdict: Verdict) -> Vec<sock_filter> {
    let one_of = |values: &[u32], hit: u32, miss: u32| {
        let mut all = Vec::new();
        for value in values {
            all.extend([jump(JUMP_EQUAL, *value, 0, 1), op(RETURN, hit)]);
        }
        all.push(op(RETURN, miss));
        all
    };
    let mut code = match verdict {
        Verdict::Allow => return vec![op(RETURN, ALLOW)],
        Verdict::Deny => return vec![op(RETURN, NOT_PERMITTED)],
        Verdict::NotThere => return vec![op(RETURN, NO_SUCH_CALL)],
        Verdict::Clone => {
            vec![jump(JUMP_ANY_BIT, NAMESPACES, 0, 1), op(RETURN, NOT_PERMITTED), op(RETURN, ALLOW)]
        }
        Verdict::Personality => one_of(&PERSONALITIES, ALLOW, NOT_PERMITTED),
        Verdict::Socket => {
            let mut code = vec![jump(JUMP_ABOVE, FIRST_UNKNOWN_SOCKET - 1, 0, 1), op(RETURN, NOT_PERMITTED)];
            code.extend(one_of(&NO_SOCKETS, NOT_PERMITTED, ALLOW));
            code
        }
    };
    code.insert(0, op(LOAD, AT_ARGUMENT));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn run(program: &[sock_filter], architecture: u32, number: u32, argument: u32) -> u32 {
        let (mut at, mut value) = (0_usize, 0_u32);
        for _ in 0..program.len() {
            let step = program[at];
            let mut decide = |yes: bool| at += 1 + usize::from(if yes { step.jt } else { step.jf });
            match step.code {
                LOAD => {
                    value = match step.k {
                        AT_NUMBER => number,
                        AT_ARCHITECTURE => architecture,
                        AT_ARGUMENT => argument,
                        other => panic!("looks at {other}"),
                    };
                    at += 1;
                }
                JUMP => at += 1 + usize::try_from(step.k).unwrap(),
                JUMP_EQUAL => decide(value == step.k),
                JUMP_ABOVE => decide(value > step.k),
                JUMP_AT_LEAST => decide(value >= step.k),
                JUMP_ANY_BIT => decide(value & step.k != 0),
                RETURN => return step.k,
                other => panic!("{other} is no operation of ours"),
            }
        }
        panic!("the filter does not end");
    }

    #[test]
    fn every_number_has_the_verdict_of_the_table() {
        let program = filter();
        assert!(program.len() < 4096, "{}", program.len());
        for architecture in architectures() {
            let verdicts = verdicts(architecture);
            for number in 0..1000 {
                let wanted = match verdicts.get(&number) {
                    Some(Verdict::NotThere) => NO_SUCH_CALL,
                    Some(_) => ALLOW,
                    None => NOT_PERMITTED,
                };
                assert_eq!(
                    run(&program, architecture.audit, number, 2),
                    match verdicts.get(&number) {
                        Some(Verdict::Personality) => NOT_PERMITTED,
                        _ => wanted,
                    },
                    "{number}"
                );
            }
        }
    }

    #[test]
    fn what_leads_out_of_a_container_is_refused() {
        let program = filter();
        let first = &architectures()[0];
        let verdicts = verdicts(first);
        #[cfg(target_arch = "x86_64")]
        for call in [
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_keyctl,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_open_by_handle_at,
            libc::SYS_init_module,
            libc::SYS_kexec_load,
            libc::SYS_perf_event_open,
            libc::SYS_chroot,
            libc::SYS_pivot_root,
            libc::SYS_reboot,
        ] {
            let number = u32::try_from(call).unwrap();
            assert!(!verdicts.contains_key(&number), "{number} is allowed");
            assert_eq!(run(&program, first.audit, number, 0), NOT_PERMITTED);
        }
        assert_eq!(run(&program, 0x1234, 0, 0), KILL);
        assert_eq!(
            run(&program, X86_64, X32 + 1, 0),
            if cfg!(target_arch = "x86_64") { NOT_PERMITTED } else { KILL }
        );
    }

    #[test]
    fn arguments_decide_over_four_calls() {
        let program = filter();
        for own in architectures() {
            let ask = |number, argument| run(&program, own.audit, number, argument);
            assert_eq!(ask(own.clone, 0x003d_0f00), ALLOW, "a thread");
            assert_eq!(ask(own.clone, 0x1000_0000), NOT_PERMITTED, "a user namespace");
            assert_eq!(ask(own.clone, 0x0002_0000), NOT_PERMITTED, "a mount namespace");
            assert_eq!(ask(own.clone3, 0), NO_SUCH_CALL);
            assert_eq!(ask(own.socket, 2), ALLOW, "IPv4");
            assert_eq!(ask(own.socket, 16), ALLOW, "netlink");
            assert_eq!(ask(own.socket, 38), NOT_PERMITTED, "the kernel's cryptography");
            assert_eq!(ask(own.socket, 40), NOT_PERMITTED, "the hypervisor");
            assert_eq!(ask(own.socket, 46), NOT_PERMITTED, "one that is not known");
            assert_eq!(ask(own.personality, 0x0004_0000), NOT_PERMITTED);
            assert_eq!(ask(own.personality, 0xffff_ffff), ALLOW);
        }
    }
}
