//! Access lists, and flows that are older than the port they go to.

use std::net::{Ipv4Addr, UdpSocket};

use spawnpoint_model::Cidr;

use crate::lab::{
    Elsewhere, Lab, answer, both, comes, echo, id, inside, no_answer, possible, talk, tcp_client, udp,
    udp_client,
};

fn list(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_holds_from_the_start_and_changes_hold_for_flows_that_are_there() {
    if !possible() {
        return;
    }
    let (lab, friend, foe) = (Lab::open(|_| {}).await, Elsewhere::new(), Elsewhere::new());
    let slot = lab.network.lease(id(1)).await.unwrap();
    let own = [format!("{}/32", friend.own)];
    let friends = list(&[&own[0]]);
    lab.network.publish(id(1), &both(lab.base_port), Some(&friends)).await.unwrap();
    echo(&slot, "1");

    let client = |host: &Elsewhere| {
        let to = (host.host, lab.base_port);
        inside(&host.netns, || (udp_client(to), tcp_client(to)))
    };
    let (friend_udp, friend_tcp) = client(&friend);
    let mut friend_tcp = friend_tcp.unwrap();
    answer(&friend_udp);
    talk(&mut friend_tcp).unwrap();
    let (foe_udp, foe_tcp) = client(&foe);
    no_answer(&foe_udp);
    assert!(foe_tcp.is_none());

    // An empty list is nobody, also for who is in already.
    lab.network.set_access(id(1), Some(&[])).await.unwrap();
    no_answer(&friend_udp);
    assert_eq!(talk(&mut friend_tcp), None);
    assert!(client(&friend).1.is_none());

    // No list is everybody; the connection that was cut off goes on.
    lab.network.set_access(id(1), None).await.unwrap();
    answer(&foe_udp);
    answer(&friend_udp);
    assert!(client(&foe).1.is_some());

    // Networks are cut to their lengths, and one length is not another.
    let wide = format!("{}/28", friend.own);
    lab.network.set_access(id(1), Some(&list(&[&wide, "10.0.0.0/8"]))).await.unwrap();
    answer(&friend_udp);
    lab.network.set_access(id(1), Some(&list(&["192.0.2.0/24", "198.18.0.0/32"]))).await.unwrap();
    no_answer(&friend_udp);
    no_answer(&foe_udp);
    // The host is asked as anybody.
    no_answer(&udp_client((Ipv4Addr::LOCALHOST, lab.base_port)));
    lab.network.set_access(id(1), Some(&list(&["127.0.0.1/32"]))).await.unwrap();
    answer(&udp_client((Ipv4Addr::LOCALHOST, lab.base_port)));
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_list_leaves_out_is_neither_heard_nor_talked_to() {
    if !possible() {
        return;
    }
    let (lab, elsewhere) = (Lab::open(|_| {}).await, Elsewhere::new());
    let slot = lab.network.lease(id(1)).await.unwrap();
    lab.network.publish(id(1), &[udp(lab.base_port)], None).await.unwrap();
    let server = inside(&slot.netns, || UdpSocket::bind("0.0.0.0:7777").unwrap());
    let far = inside(&elsewhere.netns, || udp_client((elsewhere.host, lab.base_port)));
    let near = udp_client((Ipv4Addr::LOCALHOST, lab.base_port));
    let mut clients = Vec::new();
    for client in [&far, &near] {
        client.send(b"hi").unwrap();
        let mut buffer = [0; 64];
        clients.push(server.recv_from(&mut buffer).unwrap().1);
        server.send_to(b"hello", clients[clients.len() - 1]).unwrap();
        assert!(comes(client).is_some());
    }
    lab.network.set_access(id(1), Some(&[])).await.unwrap();
    for client in [&far, &near] {
        // What is dropped on the way out is told to who sends.
        let _ = client.send(b"hi");
    }
    assert_eq!(comes(&server), None);
    for (client, from) in [&far, &near].into_iter().zip(clients) {
        server.send_to(b"hello", from).unwrap();
        assert_eq!(comes(client), None);
    }
    lab.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_udp_flow_follows_its_port_to_the_new_owner() {
    if !possible() {
        return;
    }
    let (lab, elsewhere) = (Lab::open(|_| {}).await, Elsewhere::new());
    // Each is one flow: the port of the client never changes.
    let far = inside(&elsewhere.netns, || udp_client((elsewhere.host, lab.base_port)));
    let near = udp_client((Ipv4Addr::LOCALHOST, lab.base_port));
    for number in 1..4 {
        // To nobody: the kernel remembers that, and the flow never rests.
        no_answer(&far);
        no_answer(&near);
        lab.echo(number, lab.base_port).await;
        for client in [&far, &near] {
            let answer = answer(client);
            assert!(answer.starts_with(&format!("{number} ")), "{answer}");
        }
        lab.network.release(id(number)).await.unwrap();
    }
    // From one to the next without anybody in between.
    lab.echo(7, lab.base_port).await;
    answer(&far);
    lab.network.lease(id(8)).await.unwrap();
    lab.network.publish(id(7), &[udp(lab.base_port + 1)], None).await.unwrap();
    let slot = lab.network.lease(id(8)).await.unwrap();
    echo(&slot, "8");
    lab.network.publish(id(8), &[udp(lab.base_port)], None).await.unwrap();
    let answer = answer(&far);
    assert!(answer.starts_with("8 "), "{answer}");
    lab.close().await;
}
