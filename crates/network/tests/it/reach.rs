//! Who reaches a published port, and under which address.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::lab::{
    Elsewhere, Lab, answer, both, id, inside, no_answer, possible, run, talk, tcp_client, udp_client,
};
use spawnpoint_network::NetworkError;

#[tokio::test(flavor = "multi_thread")]
async fn other_hosts_reach_a_published_port_under_their_own_address() {
    if !possible() {
        return;
    }
    let (lab, elsewhere) = (Lab::open(|_| {}).await, Elsewhere::new());
    lab.echo(1, lab.base_port).await;
    let to = (elsewhere.host, lab.base_port);
    let socket = inside(&elsewhere.netns, || udp_client(to));
    assert_eq!(answer(&socket), format!("1 {} hi", elsewhere.own));
    let mut stream = inside(&elsewhere.netns, || tcp_client(to)).unwrap();
    assert_eq!(talk(&mut stream).unwrap(), format!("1 {} hi", elsewhere.own));
    let other = inside(&elsewhere.netns, || udp_client((elsewhere.host, lab.base_port + 1)));
    no_answer(&other);
    let traffic = lab.network.traffic(id(1)).await.unwrap();
    assert!(traffic.received > 100 && traffic.sent > 100, "{traffic:?}");
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_itself_reaches_a_published_port_by_loopback_and_by_its_addresses() {
    if !possible() {
        return;
    }
    let (lab, elsewhere) = (Lab::open(|_| {}).await, Elsewhere::new());
    lab.echo(1, lab.base_port).await;
    // By loopback it is the gateway that the workload sees: there is no way back to a loopback address.
    let gateway = lab.network.gateway();
    for (to, seen) in [(Ipv4Addr::LOCALHOST, gateway), (elsewhere.host, elsewhere.host)] {
        let to = (to, lab.base_port);
        assert_eq!(answer(&udp_client(to)), format!("1 {seen} hi"));
        let mut stream = tcp_client(to).unwrap_or_else(|| panic!("no connection to {to:?}"));
        assert_eq!(talk(&mut stream).unwrap(), format!("1 {seen} hi"));
    }
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_is_published_too_where_the_host_has_it() {
    if !possible() {
        return;
    }
    let (lab, elsewhere) = (Lab::open(|_| {}).await, Elsewhere::new());
    if lab.network.gateway6().is_none() {
        println!("skipped: this host has no IPv6");
        lab.close().await;
        return;
    }
    lab.echo(1, lab.base_port).await;
    let (host, own) = elsewhere.with_ipv6();
    let to = (host, lab.base_port);
    assert_eq!(answer(&inside(&elsewhere.netns, || udp_client(to))), format!("1 {} hi", own));
    let mut stream = inside(&elsewhere.netns, || tcp_client(to)).unwrap();
    assert_eq!(talk(&mut stream).unwrap(), format!("1 {} hi", own));
    assert_eq!(answer(&udp_client(to)), format!("1 {} hi", host));
    // The kernel has no way from there; it says so at once, and "localhost" is tried by IPv4.
    let refused = std::net::TcpStream::connect((Ipv6Addr::LOCALHOST, lab.base_port)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let mut stream = std::net::TcpStream::connect(("localhost", lab.base_port)).unwrap();
    talk(&mut stream).unwrap();
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_again_replaces_and_a_port_is_of_one_workload_only() {
    if !possible() {
        return;
    }
    let lab = Lab::open(|_| {}).await;
    let (first, second) = (lab.base_port, lab.base_port + 1);
    lab.echo(1, first).await;
    lab.network.publish(id(1), &both(first), None).await.unwrap();
    lab.network.publish(id(1), &both(second), None).await.unwrap();
    assert_eq!(answer(&udp_client((Ipv4Addr::LOCALHOST, second))).split(' ').next(), Some("1"));
    no_answer(&udp_client((Ipv4Addr::LOCALHOST, first)));

    lab.network.lease(id(2)).await.unwrap();
    let refused = lab.network.publish(id(2), &both(second), None).await.unwrap_err();
    assert!(matches!(&refused, NetworkError::PortBusy { port, .. } if *port == second), "{refused}");
    let program = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, second + 1)).unwrap();
    let refused = lab.network.publish(id(2), &both(second + 1), None).await.unwrap_err();
    assert!(refused.to_string().contains("a program on this host"), "{refused}");
    drop(program);
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, second + 1)).unwrap();
    let refused = lab.network.publish(id(2), &both(second + 1), None).await.unwrap_err();
    assert!(refused.to_string().contains("a program on this host"), "{refused}");
    // A connection that goes out from the port takes nothing away.
    let mut connection = tcp_client(listener.local_addr().unwrap()).unwrap();
    let _accepted = listener.accept().unwrap();
    drop(listener);
    lab.network.publish(id(2), &both(second + 1), None).await.unwrap();
    assert_eq!(lab.network.published().await.unwrap().len(), 2);
    assert!(talk(&mut connection).is_none(), "it is nobody's who echoes");
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_kernel_has_is_what_nft_shows() {
    if !possible() {
        return;
    }
    let lab = Lab::open(|_| {}).await;
    let slot = lab.echo(1, lab.base_port).await;
    let table = lab.table();
    let shown = |set: &str| -> serde_json::Value {
        serde_json::from_str(&run(&format!("nft -j list set inet {table} {set}"))).unwrap()
    };
    let text = run(&format!("nft list map inet {table} ports4"));
    let element = format!("udp . {} comment \"{}\" : {} . 7777", lab.base_port, id(1), slot.address);
    assert!(text.contains(&element), "{text}");
    let networks = ["203.0.113.0/24".parse().unwrap(), "2001:db8::/33".parse().unwrap()];
    lab.network.set_access(id(1), Some(&networks)).await.unwrap();
    assert_eq!(shown("allowed4")["nftables"][1]["set"]["elem"].as_array().unwrap().len(), 2);
    assert_eq!(shown("allowed6")["nftables"][1]["set"]["elem"].as_array().unwrap().len(), 2);
    let published = lab.network.published().await.unwrap();
    assert_eq!(published[0].access.as_deref(), Some(&networks[..]));
    assert_eq!(published[0].address, slot.address);
    lab.close().await;
}
