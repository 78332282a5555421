//! What is said to the kernel, text by text.

use super::*;

fn port(transport: Transport, external: u16, internal: u16) -> Port {
    Port { transport, external, internal }
}

fn network(text: &str) -> Cidr {
    text.parse().unwrap()
}

#[test]
fn names_fit_where_they_go_and_none_begins_another() {
    let names = ["A1b2-c3D4_e5f6g7", "a1b2", ""].map(InstallationId::from).map(|id| interfaces(&id));
    assert_eq!(names, ["spna1b2c3d4", "spna1b2----", "spn--------"]);
    assert!(names.iter().all(|name| name.len() + 4 <= 15), "the kernel allows 15 characters");
}

#[test]
fn masks_cut_where_the_prefix_ends() {
    assert_eq!(mask(0, 4), [0, 0, 0, 0]);
    assert_eq!(mask(9, 4), [255, 128, 0, 0]);
    assert_eq!(mask(24, 4), [255, 255, 255, 0]);
    assert_eq!(mask(32, 4), [255; 4]);
    assert_eq!(mask(65, 16)[7..10], [255, 128, 0]);
    assert_eq!(mask(128, 16), [255; 16]);
}

#[test]
fn marks_of_workloads_and_ports_never_meet() {
    let workload = mark_of_workload(Ipv4Addr::new(10, 64, 1, 2));
    assert_eq!(workload.to_ne_bytes(), [64, 1, 2, MARK_WORKLOAD]);
    assert_eq!(mark_of_port(0x1234).to_ne_bytes(), [0x12, 0x34, 0, MARK_PORT]);
    assert_ne!(MARK_WORKLOAD, MARK_PORT);
}

#[test]
fn what_is_published_is_read_back_from_its_elements() {
    let ports = [port(Transport::Udp, 30000, 7777), port(Transport::Tcp, 30000, 80)];
    let networks = [network("203.0.113.0/24"), network("2001:db8::/33"), network("0.0.0.0/0")];
    let addresses = (Ipv4Addr::new(10, 64, 0, 2), Some("fd00::40:0:2".parse().unwrap()));
    for access in [None, Some(&networks[..0]), Some(&networks[..])] {
        let elements = elements("5d1e07a9c34b-2", addresses, &ports, access);
        let read = crate::stock::read(&elements);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].id.to_string(), "5d1e07a9c34b-2");
        let sorted = |mut list: Vec<Cidr>| {
            list.sort_unstable();
            list
        };
        assert_eq!(read[0].access, access.map(|list| sorted(list.to_vec())));
        assert_eq!(read[0].ports, [ports[1], ports[0]]);
        assert_eq!(read[0].address, IpAddr::from(addresses.0));
    }
}

#[test]
fn every_length_that_a_list_uses_gets_a_rule() {
    let networks = [network("203.0.113.0/24"), network("198.51.100.0/24"), network("2001:db8::/33")];
    let ports = [port(Transport::Udp, 30000, 7777)];
    let elements = elements("5d1e07a9c34b-2", (Ipv4Addr::new(10, 64, 0, 2), None), &ports, Some(&networks));
    assert_eq!(lengths(&elements), BTreeSet::from([(IPV4, 24), (IPV6, 33)]));
    // 10.0.0.0/8 and 10.0.0.0/16 are two elements: what one lets in is not what the other does.
    let keys = |text: &str| {
        let elements = super::elements("a-1", (Ipv4Addr::UNSPECIFIED, None), &ports, Some(&[network(text)]));
        elements.into_iter().map(|element| element.key).collect::<Vec<_>>()
    };
    assert_ne!(keys("10.0.0.0/8"), keys("10.0.0.0/16"));
}
