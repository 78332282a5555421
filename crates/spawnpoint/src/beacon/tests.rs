//! Against real sockets on loopback.

use std::net::Ipv4Addr;

use super::*;

/// A beacon on ports that the system chose, and how it is stopped.
struct Running {
    udp: SocketAddr,
    tcp: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    async fn start() -> Self {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let running = Self { udp: udp.local_addr().unwrap(), tcp: tcp.local_addr().unwrap(), stop, tasks };
        Listeners { udp: Some(udp), tcp: Some(tcp) }.serve(7, &running.tasks, &running.stop);
        running
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await.expect("it ends");
    }
}

async fn player() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// The next datagram, within a second.
async fn next(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 2048];
    let received = tokio::time::timeout(Duration::from_secs(1), socket.recv_from(&mut buffer)).await;
    received.ok().map(|received| buffer[..received.unwrap().0].to_vec())
}

#[tokio::test]
async fn datagrams_come_back_as_they_were_and_long_ones_not_at_all() {
    let beacon = Running::start().await;
    let player = player().await;
    for size in [0, 1, 64, DATAGRAM_BYTES_MAX] {
        let question = vec![0xa5; size];
        player.send_to(&question, beacon.udp).await.unwrap();
        assert_eq!(next(&player).await, Some(question), "{size} bytes");
    }
    player.send_to(&[1; DATAGRAM_BYTES_MAX + 1], beacon.udp).await.unwrap();
    player.send_to(b"after", beacon.udp).await.unwrap();
    assert_eq!(next(&player).await.as_deref(), Some(&b"after"[..]), "the long one was passed over");
    beacon.stop().await;
}

#[tokio::test]
async fn a_flood_gets_fewer_answers_than_it_has_questions() {
    let beacon = Running::start().await;
    let player = player().await;
    for _ in 0..1000 {
        player.send_to(b"flood", beacon.udp).await.unwrap();
    }
    let mut answers = 0;
    while next(&player).await.is_some() {
        answers += 1;
    }
    assert!((1..400).contains(&answers), "{answers}");
    beacon.stop().await;
}

#[tokio::test]
async fn connections_send_back_what_they_are_sent() {
    let beacon = Running::start().await;
    let mut stream = TcpStream::connect(beacon.tcp).await.unwrap();
    for question in [&b"ping"[..], &[7; 5000]] {
        stream.write_all(question).await.unwrap();
        let mut answer = vec![0; question.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, question);
    }
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "it ends when the other side has ended");
    beacon.stop().await;
}

#[tokio::test]
async fn a_source_holds_a_bounded_number_of_connections_and_gets_them_back() {
    let beacon = Running::start().await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_PER_SOURCE_MAX {
        let mut stream = TcpStream::connect(beacon.tcp).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        held.push(stream);
    }
    let mut further = TcpStream::connect(beacon.tcp).await.unwrap();
    let _ = further.write_all(b"x").await;
    assert!(!matches!(further.read(&mut [0; 8]).await, Ok(1..)), "it is closed without an answer");
    drop(held);
    for _ in 0..50 {
        let mut again = TcpStream::connect(beacon.tcp).await.unwrap();
        let _ = again.write_all(b"x").await;
        if matches!(again.read(&mut [0; 8]).await, Ok(1)) {
            return beacon.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("places are not given back");
}

#[tokio::test]
async fn a_connection_sends_back_so_much_and_no_more() {
    let beacon = Running::start().await;
    let stream = TcpStream::connect(beacon.tcp).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let writing = tokio::spawn(async move { write.write_all(&[1; 4 * CONNECTION_BYTES_MAX]).await });
    let mut received = 0;
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = read.read(&mut buffer).await {
        received += length;
    }
    assert!(received <= CONNECTION_BYTES_MAX && received > 0, "{received}");
    let _ = writing.await;
    beacon.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_by_its_option() {
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let failure = Listeners::bind(Ipv4Addr::LOCALHOST.into(), port, 0).await.err().unwrap();
    assert!(failure.to_string().starts_with(&format!("beacon.udp_port: 127.0.0.1:{port}: ")), "{failure}");
    assert!(Listeners::bind(Ipv4Addr::LOCALHOST.into(), 0, 0).await.is_ok());
}
