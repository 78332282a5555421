//! The kernel's files, written by the test: what is read from them, and what where they are not there or not right.

use super::*;

/// A machine's control groups in a directory, with one container in them.
struct Machine {
    directory: tempfile::TempDir,
    mountinfo: String,
    cgroup: String,
}

const CONTAINER: &str = "0123abcd";

impl Machine {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), mountinfo: String::new(), cgroup: String::new() }
    }

    /// Mounts a hierarchy (`""` = v2) and puts the container's group into it.
    fn mount(&mut self, controllers: &str, files: &[(&str, &str)]) {
        let name = if controllers.is_empty() { "unified" } else { controllers };
        let mount = self.directory.path().join(name);
        let group = mount.join("docker").join(CONTAINER);
        fs::create_dir_all(&group).unwrap();
        for (file, text) in files {
            fs::write(group.join(file), text).unwrap();
        }
        let kind = if controllers.is_empty() {
            "cgroup2 cgroup2 rw".into()
        } else {
            format!("cgroup cgroup rw,{controllers}")
        };
        self.mountinfo += &format!("31 30 0:29 / {} rw,relatime - {kind}\n", mount.display());
        self.cgroup += &format!("1:{controllers}:/docker/{CONTAINER}\n");
    }

    fn stats(&self) -> Stats {
        Groups { mounts: &Cgroups::parse(&self.mountinfo), text: &self.cgroup }.stats()
    }
}

#[test]
fn figures_are_found_in_version_1() {
    let mut machine = Machine::new();
    machine.mount(
        "cpu,cpuacct",
        &[
            ("cpuacct.usage", "5000000\n"),
            ("cpu.stat", "nr_periods 9\nnr_throttled 2\nthrottled_time 7000\n"),
        ],
    );
    let stat = "cache 99\ninactive_file 1\ntotal_inactive_file 300\n";
    machine.mount("memory", &[("memory.usage_in_bytes", "1000\n"), ("memory.stat", stat)]);
    let io = "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\n8:16 Read 1\nTotal 31\n";
    machine.mount("blkio", &[("blkio.throttle.io_service_bytes_recursive", io)]);
    machine.mount("pids", &[("pids.current", "3\n")]);
    let expected = Stats {
        cpu_micros: Some(5000),
        memory_bytes: Some(700),
        disk_read_bytes: Some(11),
        disk_written_bytes: Some(20),
        pids: Some(3),
        throttled_micros: Some(7),
        ..Stats::default()
    };
    assert_eq!(machine.stats(), expected);
}

#[test]
fn figures_are_found_in_version_2() {
    let mut machine = Machine::new();
    machine.mount(
        "",
        &[
            ("cpu.stat", "usage_usec 5000\nuser_usec 1\nnr_periods 4\nthrottled_usec 7\n"),
            ("memory.current", "1000\n"),
            ("memory.stat", "anon 1\ninactive_file 300\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2\n8:16 rbytes=1 wbytes=0\n"),
            ("pids.current", "3\n"),
        ],
    );
    let expected = Stats {
        cpu_micros: Some(5000),
        memory_bytes: Some(700),
        disk_read_bytes: Some(11),
        disk_written_bytes: Some(20),
        pids: Some(3),
        throttled_micros: Some(7),
        ..Stats::default()
    };
    assert_eq!(machine.stats(), expected);
}

#[test]
fn where_both_versions_are_mounted_each_controller_is_read_where_it_is() {
    let mut machine = Machine::new();
    machine.mount("memory", &[("memory.usage_in_bytes", "1000\n")]);
    machine.mount("", &[("cpu.stat", "usage_usec 5000\n"), ("memory.current", "1\n")]);
    let stats = machine.stats();
    assert_eq!((stats.memory_bytes, stats.cpu_micros), (Some(1000), Some(5000)));
    assert_eq!(
        (stats.disk_read_bytes, stats.throttled_micros),
        (None, None),
        "what is not there is not made up"
    );
}

#[test]
fn where_the_kernel_counts_no_device_the_processes_tell() {
    let mut machine = Machine::new();
    let none = ("blkio.throttle.io_service_bytes_recursive", "Total 0\n");
    let processes = format!("{}\n4194304999\n", std::process::id());
    machine.mount("blkio", &[none, ("cgroup.procs", &processes)]);
    let before = machine.stats().disk_written_bytes.unwrap();
    // A file system in memory would not count: the build's own directory is none.
    let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    std::io::Write::write_all(&mut file, &vec![1; 1 << 20]).unwrap();
    assert!(machine.stats().disk_written_bytes.unwrap() >= before + (1 << 20));
}

#[test]
fn a_group_outside_of_what_is_mounted_is_not_looked_for() {
    let directory = Path::new("/sys/fs/cgroup");
    assert_eq!(below("/docker/a", Path::new("/"), directory), Some(directory.join("docker/a")));
    assert_eq!(below("/pod/docker/a", Path::new("/pod"), directory), Some(directory.join("docker/a")));
    assert_eq!(below("/docker/a", Path::new("/pod"), directory), None);
    assert_eq!(below("/../../docker/a", Path::new("/"), directory), None);
}

#[test]
fn traffic_is_summed_without_loopback() {
    let table = "Inter-|   Receive                  |  Transmit\n face |bytes packets errs\n\
                 \x20   lo:  99 1 0 0 0 0 0 0  99 1 0 0 0 0 0 0\n\
                 \x20 eth0: 866 11 0 0 0 0 0 0  70 1 0 0 0 0 0 0\n  eth1:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
    assert_eq!(traffic(table), (867, 72));
}

#[test]
fn a_process_that_is_not_the_containers_is_not_believed() {
    let own = i64::from(std::process::id());
    assert_eq!(Cgroups::here().read(own, "no-such-container"), Reading::Gone);
    assert_eq!(Cgroups::here().read(i64::MAX, ""), Reading::Gone);
}

#[test]
fn this_machine_tells_of_this_process() {
    match Cgroups::here().read(i64::from(std::process::id()), "") {
        Reading::Read(stats) => assert!(stats.received_bytes.is_some(), "{stats:?}"),
        // Where the tests run in a container, its groups may lie outside of what they see.
        Reading::Hidden => {}
        Reading::Gone => panic!("this process is there"),
    }
}
