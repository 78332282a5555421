//! What a workload reaches, and what it does not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use crate::lab::{
    Elsewhere, Lab, answer, comes, id, inside, no_answer, no_flows, possible, run, serve, some_flows, talk,
    tcp_client, udp_client,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_reaches_the_world_under_the_hosts_address() {
    if !possible() {
        return;
    }
    let (lab, elsewhere) = (Lab::open(|_| {}).await, Elsewhere::new());
    let slot = lab.network.lease(id(1)).await.unwrap();
    let (udp, tcp) = inside(&elsewhere.netns, || {
        (UdpSocket::bind("0.0.0.0:9000").unwrap(), TcpListener::bind("0.0.0.0:9000").unwrap())
    });
    serve(udp, tcp, "world");
    let to = (elsewhere.own, 9000);
    let seen = format!("world {} hi", elsewhere.host);
    assert_eq!(answer(&inside(&slot.netns, || udp_client(to))), seen);
    let mut stream = inside(&slot.netns, || tcp_client(to)).unwrap();
    assert_eq!(talk(&mut stream).unwrap(), seen);
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_reaches_no_neighbour_by_any_address() {
    if !possible() {
        return;
    }
    let (lab, other) = (Lab::open(|_| {}).await, Lab::open(|_| {}).await);
    let elsewhere = Elsewhere::new();
    let slot = lab.network.lease(id(1)).await.unwrap();
    let neighbour = lab.echo(2, lab.base_port).await;
    let foreign = other.echo(3, other.base_port).await;
    let to: [SocketAddr; 6] = [
        (neighbour.address, 7777).into(),
        (foreign.address, 7777).into(),
        (elsewhere.host, lab.base_port).into(),
        (elsewhere.host, other.base_port).into(),
        (lab.network.gateway(), lab.base_port).into(),
        (other.network.gateway(), other.base_port).into(),
    ];
    for to in to {
        no_answer(&inside(&slot.netns, || udp_client(to)));
        assert!(inside(&slot.netns, || tcp_client(to)).is_none(), "{to}");
    }
    if let Some(address6) = neighbour.address6 {
        no_answer(&inside(&slot.netns, || udp_client((address6, 7777))));
    }
    // Nor does another host that knows the way: only published ports are open.
    elsewhere.ip(&format!("route add {}/32 via {}", neighbour.address, elsewhere.host));
    no_answer(&inside(&elsewhere.netns, || udp_client((neighbour.address, 7777))));
    other.close().await;
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_reaches_of_the_host_only_the_callback_port() {
    if !possible() {
        return;
    }
    let callback = 8200 + u16::try_from(crate::lab::unique().0 % 700).unwrap();
    let lab = Lab::open(|config| config.callback_port = Some(callback)).await;
    let elsewhere = Elsewhere::new();
    let slot = lab.network.lease(id(1)).await.unwrap();
    let gateway = lab.network.gateway();
    let _callback = TcpListener::bind((gateway, callback)).unwrap();
    // Held, so that its flow is there when it is to be forgotten.
    let held = inside(&slot.netns, || tcp_client((gateway, callback)));
    assert!(held.is_some());

    let others = [(gateway, 0), (elsewhere.host, 0), (Ipv4Addr::LOCALHOST, 0)];
    for (address, port) in others {
        let listener = TcpListener::bind((address, port)).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(inside(&slot.netns, || tcp_client(address)).is_none(), "{address}");
    }
    let elsewhere_callback = TcpListener::bind((elsewhere.host, callback)).unwrap();
    assert!(inside(&slot.netns, || tcp_client(elsewhere_callback.local_addr().unwrap())).is_none());
    some_flows(slot.address).await;
    lab.network.release(id(1)).await.unwrap();
    no_flows(slot.address).await;
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_loopback_stays_its_own() {
    if !possible() {
        return;
    }
    let (lab, elsewhere) = (Lab::open(|_| {}).await, Elsewhere::new());
    let slot = lab.network.lease(id(1)).await.unwrap();
    let service = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind(service.local_addr().unwrap()).unwrap();
    let to = service.local_addr().unwrap();
    serve(service, listener, "loopback");
    answer(&udp_client(to));
    // The worst that a root with all its powers could do, inside and on another host.
    let escape = |netns: String| {
        let enter = |line: &str| run(&format!("nsenter --net={netns} {line}"));
        enter("ip route del local 127.0.0.0/8 dev lo table local");
        enter("ip addr flush dev lo");
        enter("sysctl -qw net.ipv4.conf.eth0.route_localnet=1");
    };
    escape(slot.netns_path.display().to_string());
    run(&format!(
        "nsenter --net={} ip route add 127.0.0.1/32 via {} dev eth0 onlink src {}",
        slot.netns_path.display(),
        slot.gateway,
        slot.address
    ));
    no_answer(&inside(&slot.netns, || udp_client(to)));
    elsewhere.escape();
    no_answer(&inside(&elsewhere.netns, || udp_client(to)));
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_reaches_no_metadata_address() {
    if !possible() {
        return;
    }
    let (lab, elsewhere) = (Lab::open(|_| {}).await, Elsewhere::new());
    let slot = lab.network.lease(id(1)).await.unwrap();
    let (process, _) = crate::lab::unique();
    let metadata =
        Ipv4Addr::new(169, 254, 100 + u8::try_from(process >> 8 & 63).unwrap(), process.to_le_bytes()[0]);
    run(&format!("ip route add {metadata}/32 via {} dev {}", elsewhere.own, elsewhere.link));
    elsewhere.ip(&format!("addr add {metadata}/32 dev lo"));
    let (udp, tcp) = inside(&elsewhere.netns, || {
        (UdpSocket::bind((metadata, 9000)).unwrap(), TcpListener::bind((metadata, 9000)).unwrap())
    });
    serve(udp, tcp, "metadata");
    // The host reaches it, so the way is there.
    answer(&udp_client((metadata, 9000)));
    no_answer(&inside(&slot.netns, || udp_client((metadata, 9000))));
    assert!(inside(&slot.netns, || tcp_client((metadata, 9000))).is_none());
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_false_address_nothing_leaves_a_workload() {
    if !possible() {
        return;
    }
    let (lab, elsewhere) = (Lab::open(|_| {}).await, Elsewhere::new());
    let slot = lab.network.lease(id(1)).await.unwrap();
    let mut ways = vec![(IpAddr::from(elsewhere.own), "203.0.113.9")];
    if slot.address6.is_some() {
        ways.push((elsewhere.with_ipv6().1.into(), "2001:db8:9::9"));
    }
    for (own, pretended) in ways {
        let there = inside(&elsewhere.netns, || UdpSocket::bind((own, 9001)).unwrap());
        let send = |from: Option<&str>| {
            let from = from.map(|from| from.parse::<IpAddr>().unwrap());
            inside(&slot.netns, || {
                let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
                let socket = UdpSocket::bind((from.unwrap_or(any), 0)).unwrap();
                socket.send_to(b"hi", (own, 9001)).map(drop)
            })
        };
        if own.is_ipv6() {
            send(None).unwrap();
        } else {
            inside(&slot.netns, || udp_client((own, 9001)).send(b"hi").unwrap());
        }
        assert!(comes(&there).is_some(), "the way to {own} is there");
        let path = slot.netns_path.display();
        let length = if own.is_ipv6() { "128 nodad" } else { "32" };
        run(&format!("nsenter --net={path} ip addr add dev eth0 {pretended}/{length}"));
        send(Some(pretended)).unwrap();
        assert_eq!(comes(&there), None);
    }
    lab.close().await;
}
