//! What a workload is started with: image and spec put together, in the one place that says what a game server may do. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use spawnpoint_driver::{DriverError, Security, WorkloadSpec};
use spawnpoint_images::Image;
use spawnpoint_model::Transport;

use crate::protocol::{FileHead, Start};

/// Files that a workload may have open at once, unless the machine allows fewer.
const OPEN_FILES: u64 = 16_384;
/// Who resolves names if the host only asks itself.
const NAME_SERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// What a workload needs to know of where it is.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Its folder.
    pub dir: PathBuf,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The host's `resolv.conf`.
    pub resolv: String,
}

/// The start of a workload.
///
/// # Errors
/// The image names no program, and neither does the spec.
pub fn start(spec: &WorkloadSpec, image: &Image, around: Surroundings) -> Result<Start, DriverError> {
    let WorkloadSpec {
        id,
        installation: _,
        host: _,
        image: _,
        command,
        arguments,
        env,
        ports,
        resources,
        pids_max,
        security,
        files,
        access: _,
        lifetime,
    } = spec;
    let config = &image.config;
    // As Docker does: an entrypoint of one's own takes the image's arguments away as well.
    let (program, rest) = match (command, arguments) {
        (Some(command), arguments) => (command, arguments.clone().unwrap_or_default()),
        (None, Some(arguments)) => (&config.entrypoint, arguments.clone()),
        (None, None) => (&config.entrypoint, config.cmd.clone()),
    };
    let argv: Vec<String> = program.iter().cloned().chain(rest).collect();
    if argv.is_empty() {
        return Err(DriverError::StartFailed(
            "the image names no program, and neither does the version".to_owned(),
        ));
    }
    let own = env.iter().map(|(key, value)| format!("{key}={}", value.reveal()));
    let hostname = id.deployment.to_string();
    Ok(Start {
        dir: around.dir,
        id: id.to_string(),
        layers: image.layers.clone(),
        argv,
        env: config.env.iter().cloned().chain(own).collect(),
        user: config.user.clone(),
        cwd: config.working_dir.clone(),
        hosts: hosts(&hostname, &around.addresses),
        hostname,
        resolv: resolv(&around.resolv),
        memory: u64::try_from(resources.memory.bytes()).unwrap_or(0),
        cpu_units: resources.cpu.0,
        pids: *pids_max,
        open_files: OPEN_FILES,
        restricted: *security == Security::Restricted,
        files: files
            .iter()
            .map(|file| FileHead { path: file.path.clone(), mode: file.mode, length: file.content.len() })
            .collect(),
        lifetime: lifetime.and_then(|lifetime| u64::try_from(lifetime.as_millis()).ok()),
        ports: ports.iter().map(|port| (port.external, port.transport == Transport::Udp)).collect(),
    })
}

fn hosts(hostname: &str, addresses: &[IpAddr]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff02::1\tip6-allnodes\n",
    );
    for address in addresses {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{address}\t{hostname}");
    }
    text
}

/// The host's own, without name servers that only the host itself reaches.
fn resolv(host: &str) -> String {
    let is_server = |line: &str| line.trim_start().starts_with("nameserver");
    let reachable = |line: &&str| {
        let address = line.split_whitespace().nth(1).unwrap_or_default();
        address.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback())
    };
    let mut servers: Vec<String> =
        host.lines().filter(|line| is_server(line)).filter(reachable).map(str::to_owned).collect();
    if servers.is_empty() {
        servers = NAME_SERVERS.iter().map(|server| format!("nameserver {server}")).collect();
    }
    let others = host
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with("search") || line.starts_with("options"));
    let mut text = String::new();
    for line in servers.iter().map(String::as_str).chain(others) {
        let _ = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use spawnpoint_images::ImageConfig;
    use spawnpoint_model::units::Resources;
    use spawnpoint_model::{CpuUnits, MemoryMib, Plaintext};

    fn spec() -> WorkloadSpec {
        WorkloadSpec {
            id: "00000000002a-1".parse().unwrap(),
            installation: "aabbccddeeff".into(),
            host: "local".into(),
            image: "game:1".to_owned(),
            command: None,
            arguments: None,
            env: vec![("A".to_owned(), Plaintext::new("b=c"))],
            ports: Vec::new(),
            resources: Resources { cpu: CpuUnits(512), memory: MemoryMib(256) },
            pids_max: 300,
            security: Security::Baseline,
            files: Vec::new(),
            access: None,
            lifetime: None,
        }
    }

    fn image() -> Image {
        let config = ImageConfig {
            entrypoint: vec!["/entry".to_owned()],
            cmd: vec!["-a".to_owned()],
            env: vec!["A=image".to_owned()],
            user: "steam".to_owned(),
            ..ImageConfig::default()
        };
        Image {
            digest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
            config,
            layers: vec!["/layers/a".into()],
            root: spawnpoint_images::RootAttributes::default(),
            size: 0,
        }
    }

    fn around() -> Surroundings {
        Surroundings { dir: "/c".into(), addresses: vec!["10.1.0.2".parse().unwrap()], resolv: String::new() }
    }

    #[test]
    fn the_spec_wins_over_the_image() {
        let argv = |change: fn(&mut WorkloadSpec)| {
            let mut spec = spec();
            change(&mut spec);
            start(&spec, &image(), around()).map(|start| start.argv.join(" "))
        };
        assert_eq!(argv(|_| {}).unwrap(), "/entry -a");
        assert_eq!(argv(|s| s.arguments = Some(vec!["-b".to_owned()])).unwrap(), "/entry -b");
        assert_eq!(argv(|s| s.command = Some(vec!["/own".to_owned()])).unwrap(), "/own");
        let both =
            argv(|s| (s.command, s.arguments) = (Some(vec!["/own".to_owned()]), Some(vec!["-b".to_owned()])));
        assert_eq!(both.unwrap(), "/own -b");
        assert!(matches!(argv(|s| s.command = Some(Vec::new())), Err(DriverError::StartFailed(_))));
    }

    #[test]
    fn limits_variables_and_names_are_what_the_spec_says() {
        let start = start(&spec(), &image(), around()).unwrap();
        assert_eq!(start.env, ["A=image", "A=b=c"]);
        assert_eq!((start.memory, start.cpu_units, start.pids), (256 * 1024 * 1024, 512, 300));
        assert_eq!(start.hostname, "00000000002a");
        assert!(start.hosts.contains("10.1.0.2\t00000000002a\n"));
        assert!(!start.restricted);
    }

    #[test]
    fn name_servers_that_only_the_host_reaches_are_left_out() {
        assert_eq!(
            resolv("nameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch a.test\n"),
            "nameserver 192.0.2.1\nsearch a.test\n"
        );
        assert_eq!(resolv("nameserver ::1\n"), "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    }
}
