//! What is left: after releases, after a crash, after everything was removed. And what it costs.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use spawnpoint_network::{Network, NetworkConfig, NetworkError, Port};
use tokio::time::Instant;

use crate::lab::{
    Lab, answer, both, config, echo, flows, id, no_answer, no_flows, possible, run, some_flows, udp_client,
};

/// All that an installation could leave behind, in words.
fn stock(config: &NetworkConfig, addresses: &BTreeSet<Ipv4Addr>) -> BTreeSet<String> {
    let short = config.installation.as_str();
    let run_dir = config.run_dir.display().to_string();
    let mut found = BTreeSet::new();
    let mut take = |kind: &str, text: String, own: &str| {
        let lines = text.lines().filter(|line| line.contains(own));
        found.extend(lines.map(|line| format!("{kind}: {}", line.trim())));
    };
    take("link", run("ip -o link"), &format!("spn{short}"));
    take("address", run("ip -o addr"), &format!("spn{short}"));
    take("route", run("ip route show table all"), &format!("spn{short}"));
    take("route6", run("ip -6 route show table all"), &format!("spn{short}"));
    take("rules", run("nft list ruleset"), short);
    take("mount", std::fs::read_to_string("/proc/self/mounts").unwrap(), &run_dir);
    for address in addresses {
        take("flow", flows(*address).join("\n"), "");
    }
    if config.run_dir.exists() {
        let files = run(&format!("find {run_dir}"));
        take("file", files, &run_dir);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_come_and_go_and_leave_nothing() {
    if !possible() {
        return;
    }
    let lab = Lab::open(|config| config.pool_size = 8).await;
    let config = lab.config.clone();
    let begin = Instant::now();
    let tasks: Vec<_> = (0..200_u16)
        .map(|number| {
            let network = lab.network.clone();
            let port = 30000 + (lab.base_port / 10 % 13) * 200 + number;
            tokio::spawn(async move {
                let own = id(number.into());
                let first = network.lease(own).await.unwrap();
                assert_eq!(network.lease(own).await.unwrap().address, first.address);
                network.publish(own, &both(port), Some(&[])).await.unwrap();
                first.address
            })
        })
        .collect();
    let mut addresses = BTreeSet::new();
    for task in tasks {
        addresses.insert(task.await.unwrap());
    }
    assert_eq!(addresses.len(), 200, "each has its own address");
    println!("200 leased and published in {:?}", begin.elapsed());
    assert_eq!(lab.network.published().await.unwrap().len(), 200);
    let inventory = lab.network.inventory().await.unwrap();
    assert_eq!(inventory.leases.len(), 200);
    assert_eq!(inventory.strays, Vec::<String>::new());

    let begin = Instant::now();
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let network = lab.network.clone();
            tokio::spawn(async move {
                network.release(id(number)).await.unwrap();
                network.release(id(number)).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    println!("200 released in {:?}", begin.elapsed());
    assert_eq!(lab.network.published().await.unwrap(), []);
    assert_eq!(lab.network.inventory().await.unwrap().leases, []);
    lab.network.close().await.unwrap();
    assert!(matches!(lab.network.lease(id(1)).await, Ok(_) | Err(NetworkError::Closing)));
    lab.close().await;
    assert_eq!(stock(&config, &addresses), BTreeSet::new());
}

/// Not a test by itself: what the next one kills.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_dies_with_networks_in_its_hands() {
    let Some(dir) = std::env::var_os("SPAWNPOINT_TEST_DIES_IN") else { return };
    let installation = std::env::var("SPAWNPOINT_TEST_INSTALLATION").unwrap();
    let port = std::env::var("SPAWNPOINT_TEST_PORT").unwrap().parse().unwrap();
    let network = Network::open(config(&installation, dir.into())).await.unwrap();
    network.lease(id(1)).await.unwrap();
    network.publish(id(1), &both(port), Some(&["127.0.0.0/8".parse().unwrap()])).await.unwrap();
    network.lease(id(2)).await.unwrap();
    std::process::abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_everything_is_found_again_and_can_be_released() {
    if !possible() {
        return;
    }
    let lab = Lab::open(|config| config.pool_size = 0).await;
    let config = lab.config.clone();
    let installation = config.installation.as_str();
    // What is found half way while it runs is swept away, and what is held is not.
    run(&format!("ip link add spn{installation}0201 type veth peer name spn{installation}y"));
    assert_eq!(lab.network.inventory().await.unwrap().strays, ["network 0201 of nobody"]);
    lab.network.lease(id(3)).await.unwrap();
    lab.network.sweep().await.unwrap();
    let inventory = lab.network.inventory().await.unwrap();
    assert_eq!((inventory.leases, inventory.strays), (vec![id(3)], vec![]));
    lab.network.release(id(3)).await.unwrap();
    lab.network.close().await.unwrap();

    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "remains::child_that_dies_with_networks_in_its_hands"])
        .env("SPAWNPOINT_TEST_DIES_IN", &config.run_dir)
        .env("SPAWNPOINT_TEST_INSTALLATION", installation)
        .env("SPAWNPOINT_TEST_PORT", lab.base_port.to_string())
        .output()
        .unwrap();
    assert!(!child.status.success(), "it dies");
    // What dies half way: a mount without a link, a link without a mount, a lease that was being written.
    std::fs::write(config.run_dir.join("netns/0100"), "").unwrap();
    run(&format!("ip link add spn{installation}0101 type veth peer name spn{installation}x"));
    std::fs::write(config.run_dir.join("leases/0000000000ff-1"), "0102").unwrap();

    let network = Network::open(NetworkConfig { pool_size: 0, ..config.clone() }).await.unwrap();
    let inventory = network.inventory().await.unwrap();
    assert_eq!((inventory.leases, inventory.strays), (vec![id(1), id(2)], vec![]));
    let published = network.published().await.unwrap();
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].access, Some(vec!["127.0.0.0/8".parse().unwrap()]));
    // It still works, and may be published again as it is.
    let slot = network.find(id(1)).unwrap();
    network.publish(id(1), &both(lab.base_port), Some(&["127.0.0.0/8".parse().unwrap()])).await.unwrap();
    echo(&slot, "1");
    let client = udp_client((Ipv4Addr::LOCALHOST, lab.base_port));
    answer(&client);
    // The stock sees what there is, or it could not see that nothing is left.
    let addresses = BTreeSet::from([slot.address]);
    let kinds: BTreeSet<String> = stock(&config, &addresses)
        .iter()
        .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
        .collect();
    for kind in ["link", "address", "route", "rules", "mount", "file", "flow"] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
    network.release(id(1)).await.unwrap();
    no_flows(slot.address).await;
    network.release(id(2)).await.unwrap();
    no_answer(&client);
    assert_eq!(network.inventory().await.unwrap().leases, []);
    network.close().await.unwrap();
    lab.close().await;
    assert_eq!(stock(&config, &addresses), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_in_the_middle_of_a_release_the_next_process_forgets_its_flows() {
    if !possible() {
        return;
    }
    let lab = Lab::open(|config| config.pool_size = 0).await;
    let slot = lab.network.lease(id(1)).await.unwrap();
    lab.network.publish(id(1), &both(lab.base_port), None).await.unwrap();
    echo(&slot, "1");
    let client = udp_client((Ipv4Addr::LOCALHOST, lab.base_port));
    answer(&client);
    some_flows(slot.address).await;
    lab.network.close().await.unwrap();

    // As far as a release comes before it is told that it was made: the lease is buried, and nothing else done.
    let leases = lab.config.run_dir.join("leases");
    let number = std::fs::read_to_string(leases.join(id(1).to_string())).unwrap();
    std::fs::rename(leases.join(id(1).to_string()), leases.join(format!("!{number}"))).unwrap();
    let network = Network::open(NetworkConfig { pool_size: 0, ..lab.config.clone() }).await.unwrap();
    assert_eq!(flows(slot.address), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(&leases).unwrap().count(), 0);
    network.close().await.unwrap();
    lab.close().await;
}

/// Not a test by itself: what the next one kills.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_never_rests() {
    let Some(dir) = std::env::var_os("SPAWNPOINT_TEST_RUNS_IN") else { return };
    let installation = std::env::var("SPAWNPOINT_TEST_INSTALLATION").unwrap();
    let port: u16 = std::env::var("SPAWNPOINT_TEST_PORT").unwrap().parse().unwrap();
    let network = Network::open(config(&installation, dir.into())).await.unwrap();
    for number in (0..4).cycle() {
        let network = network.clone();
        let round = async move {
            let ports = both(port + u16::try_from(number).unwrap());
            network.lease(id(number)).await.unwrap();
            network.publish(id(number), &ports, Some(&["127.0.0.0/8".parse().unwrap()])).await.unwrap();
            network.set_access(id(number), None).await.unwrap();
            network.release(id(number)).await.unwrap();
        };
        // Two of four at a time.
        let task = tokio::spawn(round);
        if number % 2 == 1 {
            task.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_leaves_nothing_that_is_not_found() {
    if !possible() {
        return;
    }
    let lab = Lab::open(|config| config.pool_size = 0).await;
    let config = lab.config.clone();
    let listing = || {
        let mut all = Vec::new();
        for dir in ["netns", "leases"] {
            let files = std::fs::read_dir(config.run_dir.join(dir)).unwrap();
            all.extend(files.map(|file| file.unwrap().file_name()));
        }
        all
    };
    let said = config.run_dir.with_extension("said");
    let rounds = if std::env::var_os("SPAWNPOINT_LONG").is_some() { 200 } else { 12 };
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "remains::child_that_never_rests", "--nocapture"])
            .env("SPAWNPOINT_TEST_RUNS_IN", &config.run_dir)
            .env("SPAWNPOINT_TEST_INSTALLATION", config.installation.as_str())
            .env("SPAWNPOINT_TEST_PORT", lab.base_port.to_string())
            .stdout(std::process::Stdio::null())
            .stderr(std::fs::File::create(&said).unwrap())
            .spawn()
            .unwrap();
        // After so many things were seen to change, each time at another.
        let mut seen = listing();
        for _ in 0..=round * 7 % 23 {
            let begin = Instant::now();
            while listing() == seen {
                let (ended, waited) = (child.try_wait().unwrap(), begin.elapsed());
                let told = || std::fs::read_to_string(&said).unwrap_or_default();
                assert!(ended.is_none() && waited.as_secs() < 20, "{ended:?} in {waited:?}: {}", told());
                tokio::task::yield_now().await;
            }
            seen = listing();
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let network = Network::open(NetworkConfig { pool_size: 1, ..config.clone() }).await.unwrap();
        network.close().await.unwrap();
        let inventory = network.inventory().await.unwrap();
        assert_eq!(inventory.strays, Vec::<String>::new(), "round {round}");
        for own in inventory.leases {
            network.release(own).await.unwrap();
        }
        let inventory = network.inventory().await.unwrap();
        assert_eq!((inventory.leases, inventory.strays), (vec![], vec![]), "round {round}");
        assert_eq!(network.published().await.unwrap(), []);
        // What was released is cleared a moment later, by this process: two of them at a time would clear each other's.
        let begin = Instant::now();
        while listing().iter().any(|file| file.as_encoded_bytes().starts_with(b"!")) {
            assert!(begin.elapsed().as_secs() < 20, "round {round}: {:?}", listing());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    lab.close().await;
    assert_eq!(stock(&config, &BTreeSet::new()), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_others_flushed_are_put_back() {
    if !possible() {
        return;
    }
    let lab = Lab::open(|_| {}).await;
    lab.echo(1, lab.base_port).await;
    let client = || udp_client((Ipv4Addr::LOCALHOST, lab.base_port));
    answer(&client());
    let table = lab.table();
    run(&format!("nft flush chain inet {table} ports_here"));
    no_answer(&client());
    lab.network.sweep().await.unwrap();
    answer(&client());
    run(&format!("nft delete table inet {table}"));
    no_answer(&client());
    // The next change finds it so.
    lab.network.lease(id(2)).await.unwrap();
    lab.network.publish(id(2), &both(lab.base_port + 1), None).await.unwrap();
    answer(&client());
    lab.network.sweep().await.unwrap();
    assert_eq!(lab.network.published().await.unwrap().len(), 2);
    lab.close().await;
}

/// Runs a test of this program again on a "host" of its own, where nobody else changes anything: in a network namespace.
fn on_a_host_of_its_own(test: &str) -> bool {
    if std::env::var_os("SPAWNPOINT_TEST_OWN_HOST").is_some() {
        return true;
    }
    let child = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("SPAWNPOINT_TEST_OWN_HOST", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
    println!("{said}");
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_own_rules_are_as_they_were() {
    if !possible() || !on_a_host_of_its_own("remains::the_hosts_own_rules_are_as_they_were") {
        return;
    }
    run("ip link set lo up");
    run("sysctl -qw net.ipv4.ip_forward=0");
    // As Docker leaves a host, and a firewall that lets nothing in.
    run("iptables -P FORWARD DROP");
    run("iptables -N DOCKER-USER");
    run("iptables -A FORWARD -j DOCKER-USER");
    run("iptables -A DOCKER-USER -j RETURN");
    for rule in [
        "add table inet fence",
        "add chain inet fence in { type filter hook input priority 0 ; policy drop ; }",
        "add rule inet fence in iifname lo accept",
        "add chain inet fence open { type filter hook forward priority 5 ; policy accept ; }",
    ] {
        run(&format!("nft {rule}"));
    }
    let rules = || run("nft -s list ruleset").lines().map(str::to_owned).collect::<Vec<_>>();
    let before = rules();
    let lab = Lab::open(|_| {}).await;
    let own = lab.config.installation.as_str();
    let passes = |rules: Vec<String>| {
        let own = format!("comment \"spawnpoint-{own}\"");
        rules.into_iter().filter(|line| line.contains("accept") && line.contains(&own)).collect::<Vec<_>>()
    };
    let chain =
        |name: &str| passes(run(&format!("nft -s list chain {name}")).lines().map(str::to_owned).collect());
    assert_eq!(chain("ip filter DOCKER-USER").len(), 2);
    assert_eq!(chain("ip filter FORWARD").len(), 0);
    assert_eq!(chain("inet fence in").len(), 1);
    assert_eq!(chain("inet fence open").len(), 0);
    assert!(lab.network.notes().iter().any(|note| note.contains("DOCKER-USER")), "{:?}", lab.network.notes());
    assert!(lab.network.notes().iter().any(|note| note.contains("ip_forward")), "{:?}", lab.network.notes());

    // Others read and write these chains as before; what a reload took is put back, once.
    run("iptables-save");
    run("iptables -F DOCKER-USER");
    lab.network.sweep().await.unwrap();
    lab.network.sweep().await.unwrap();
    assert_eq!(chain("ip filter DOCKER-USER").len(), 2);
    run("iptables -A DOCKER-USER -j RETURN");

    // A workload reaches the callback port through the fence, and is reached through the other.
    lab.echo(1, lab.base_port).await;
    answer(&udp_client((Ipv4Addr::LOCALHOST, lab.base_port)));
    lab.close().await;
    assert_eq!(rules(), before);
    assert_eq!(run("ip -o link").lines().filter(|line| line.contains("spn")).count(), 0);
}

#[test]
fn without_privileges_it_says_why_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = config("feedfeed", dir.path().join("net"));
    let run_dir = wanted.run_dir.clone();
    // Capabilities are of a thread, and threads that it makes have no more.
    let thread = std::thread::spawn(move || {
        use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Network::open(wanted)).unwrap_err().to_string()
    });
    let why = thread.join().unwrap();
    assert!(why.contains("root is needed") && !why.contains('\n'), "{why}");
    assert!(!run_dir.exists(), "nothing was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subnet_can_be_chosen_and_a_wrong_one_is_refused() {
    if !possible() {
        return;
    }
    let lab = Lab::open(|config| config.subnet = Some("10.250.3.0/24".parse().unwrap())).await;
    assert_eq!(lab.network.gateway(), Ipv4Addr::new(10, 250, 3, 1));
    let slot = lab.network.lease(id(1)).await.unwrap();
    assert_eq!(slot.address.octets()[..3], [10, 250, 3]);
    for wrong in ["10.0.0.0/8", "10.1.1.0/30", "fd00::/64"] {
        let wanted = NetworkConfig { subnet: Some(wrong.parse().unwrap()), ..lab.config.clone() };
        let why = Network::open(wanted).await.unwrap_err().to_string();
        assert!(why.contains(wrong) && why.contains("16 to 24"), "{why}");
    }
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_the_host_has_elsewhere_is_refused_or_another_is_chosen() {
    let own = "remains::a_network_that_the_host_has_elsewhere_is_refused_or_another_is_chosen";
    if !possible() || !on_a_host_of_its_own(own) {
        return;
    }
    run("ip link set lo up");
    run("ip link add office type veth peer name street");
    run("ip link set office up");
    run("ip route add 10.250.8.0/22 dev office");
    let dir = tempfile::tempdir().unwrap();
    let wanted = |subnet: &str| NetworkConfig {
        subnet: Some(subnet.parse().unwrap()),
        ..config("overlap1", dir.path().join("net"))
    };
    for (subnet, is_free) in [
        ("10.250.0.0/16", false),
        ("10.250.9.0/24", false),
        ("10.250.12.0/24", true),
        ("10.250.7.0/24", true),
    ] {
        match Network::open(wanted(subnet)).await {
            Ok(network) => {
                assert!(is_free, "{subnet}");
                network.close().await.unwrap();
            }
            Err(why) => {
                let why = why.to_string();
                assert!(!is_free && why.contains(subnet) && why.contains("10.250.8.0/22"), "{why}");
            }
        }
    }
    // Found by ourselves: what is led elsewhere later is left, but not under those who run there.
    let lab = Lab::open(|config| config.subnet = None).await;
    assert_eq!(lab.network.gateway(), Ipv4Addr::new(10, 64, 0, 1));
    lab.echo(1, lab.base_port).await;
    lab.network.close().await.unwrap();
    run("ip route add 10.64.128.0/17 dev office");
    let again = Network::open(lab.config.clone()).await.unwrap();
    assert_eq!(again.gateway(), Ipv4Addr::new(10, 64, 0, 1));
    let said = again.notes().join("\n");
    assert!(said.contains("10.64.0.0/16") && said.contains("10.64.128.0/17"), "{said}");
    answer(&udp_client((Ipv4Addr::LOCALHOST, lab.base_port)));
    let elsewhere = NetworkConfig { subnet: Some("10.99.0.0/16".parse().unwrap()), ..lab.config.clone() };
    again.close().await.unwrap();
    let again = Network::open(elsewhere).await.unwrap();
    assert!(again.notes().join("\n").contains("10.99.0.0/16 is wanted"), "{:?}", again.notes());
    answer(&udp_client((Ipv4Addr::LOCALHOST, lab.base_port)));
    again.release(id(1)).await.unwrap();
    again.close().await.unwrap();
    let again = Network::open(lab.config.clone()).await.unwrap();
    assert_eq!(again.gateway(), Ipv4Addr::new(10, 65, 0, 1));
    again.close().await.unwrap();
    let second = config("overlap1", dir.path().join("net"));
    Network::remove_all(&second.installation, &second.run_dir).await.unwrap();
    lab.close().await;
}

/// Each has its own table, links, addresses and flows; none touches the others', whatever it does.
#[tokio::test(flavor = "multi_thread")]
async fn installations_side_by_side_do_not_disturb_each_other() {
    if !possible() {
        return;
    }
    let (quiet, busy) = (Lab::open(|_| {}).await, Lab::open(|_| {}).await);
    assert_ne!(quiet.network.gateway(), busy.network.gateway());
    quiet.echo(1, quiet.base_port).await;
    let client = udp_client((Ipv4Addr::LOCALHOST, quiet.base_port));
    answer(&client);
    let quiet_config = quiet.config.clone();
    let address = BTreeSet::from([quiet.network.find(id(1)).unwrap().address]);
    quiet.network.close().await.unwrap();
    let own = format!("spn{}", quiet_config.installation.as_str());
    // The kernel looks for a moment whether its own IPv6 addresses are anybody else's, and shows that.
    let end = Instant::now() + Duration::from_secs(20);
    while run("ip -o addr").lines().any(|line| line.contains(&own) && line.contains("tentative")) {
        assert!(Instant::now() < end, "an address stays tentative");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = stock(&quiet_config, &BTreeSet::new());
    // The same ids on the other side, on purpose.
    for round in 0..20 {
        busy.network.lease(id(1)).await.unwrap();
        busy.network.publish(id(1), &both(busy.base_port), Some(&[])).await.unwrap();
        busy.network.sweep().await.unwrap();
        if round % 2 == 0 {
            busy.network.release(id(1)).await.unwrap();
        }
        answer(&client);
    }
    let (installation, run_dir) = (busy.config.installation.clone(), busy.config.run_dir.clone());
    busy.network.close().await.unwrap();
    Network::remove_all(&installation, &run_dir).await.unwrap();
    answer(&client);
    assert_eq!(stock(&quiet_config, &BTreeSet::new()), before);
    some_flows(*address.first().unwrap()).await;
    drop(busy);
    quiet.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_costs_the_same_with_five_thousand_ports_as_with_a_hundred() {
    let own = "remains::publishing_costs_the_same_with_five_thousand_ports_as_with_a_hundred";
    if !possible() || !on_a_host_of_its_own(own) {
        return;
    }
    run("ip link set lo up");
    run("ip addr add 2001:db8::1/64 dev lo nodad");
    let lab = Lab::open(|_| {}).await;
    let ports = |from: u16, count: u16| -> Vec<Port> { (from..from + count).map(crate::lab::udp).collect() };
    let mut filled = 0;
    let mut fast = Vec::new();
    for existing in [100_u16, 5000] {
        while filled < existing {
            let count = (existing - filled).min(50);
            let own = id(1000 + u32::from(filled));
            lab.network.lease(own).await.unwrap();
            lab.network.publish(own, &ports(20000 + filled, count), None).await.unwrap();
            filled += count;
        }
        let (mut leases, mut times, mut releases) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..80 {
            let begin = Instant::now();
            lab.network.lease(id(1)).await.unwrap();
            leases.push(begin.elapsed());
            let begin = Instant::now();
            lab.network.publish(id(1), &ports(19000 + round, 1), None).await.unwrap();
            times.push(begin.elapsed());
            let begin = Instant::now();
            lab.network.release(id(1)).await.unwrap();
            releases.push(begin.elapsed());
        }
        for list in [&mut leases, &mut times, &mut releases] {
            list.sort_unstable();
        }
        println!("leasing takes {:?}, releasing {:?}", leases[40], releases[40]);
        println!("{existing} ports: publishing takes {:?} (fastest {:?})", times[40], times[0]);
        fast.push(times[4]);
    }
    // Rules instead of elements would be ten times. The fast ones are compared, as the machine may be busy.
    assert!(fast[1] < fast[0] * 2, "{fast:?}");
    lab.close().await;
}
