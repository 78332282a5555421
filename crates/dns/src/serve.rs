//! The sockets: UDP and TCP on one address.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::rate::{Allowed, Rates};
use crate::{Names, Zone};

/// Questions over UDP that are being answered at a time; more are dropped, as networks do.
const UDP_UNDER_WAY_MAX: usize = 128;
/// Bytes of a question over UDP.
const UDP_QUESTION_MAX: usize = 1232;
/// Bytes of a question over TCP.
const TCP_QUESTION_MAX: usize = 4096;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 128;
/// Connections of one address.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 8;
/// Questions over one connection.
const QUESTIONS_PER_CONNECTION_MAX: u32 = 128;
/// For a question to come, and for its answer to be taken.
const TCP_PATIENCE: Duration = Duration::from_secs(5);
/// After an error of a socket that is not about one sender.
const BREATH: Duration = Duration::from_millis(100);

/// What senders may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Questions a second from each network of senders; 0 = as many as come.
    pub per_second: u32,
}

/// What every question needs.
struct Server {
    zone: Zone,
    names: Arc<dyn Names>,
    rates: Rates,
    holders: Mutex<HashMap<IpAddr, usize>>,
}

/// Opens the sockets; what it gives answers until it is dropped.
///
/// # Errors
/// The address cannot be had.
pub async fn serve(
    listen: SocketAddr,
    zone: Zone,
    names: Arc<dyn Names>,
    limits: Limits,
) -> io::Result<(SocketAddr, impl Future<Output = ()> + Send)> {
    let udp = UdpSocket::bind(listen).await?;
    let address = udp.local_addr()?;
    let tcp = TcpListener::bind(address).await?;
    let rates = Rates::new(limits.per_second);
    let server = Arc::new(Server { zone, names, rates, holders: Mutex::default() });
    let both = async move {
        tokio::join!(over_udp(server.clone(), Arc::new(udp)), over_tcp(server, tcp));
    };
    Ok((address, both))
}

async fn over_udp(server: Arc<Server>, socket: Arc<UdpSocket>) {
    let places = Arc::new(Semaphore::new(UDP_UNDER_WAY_MAX));
    let mut buffer = [0; UDP_QUESTION_MAX + 1];
    loop {
        let (length, sender) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // About an answer that did not arrive, or about the machine.
            Err(error) => {
                tracing::debug!(error = %error, "a question could not be received");
                sleep(BREATH).await;
                continue;
            }
        };
        let Some(question) = buffer.get(..length).filter(|question| question.len() <= UDP_QUESTION_MAX)
        else {
            continue;
        };
        match server.rates.take(sender.ip(), Instant::now()) {
            Allowed::Nothing => {}
            Allowed::Shorten => {
                if let Some(answer) = server.zone.shortened(question) {
                    // Whoever asked may be gone.
                    let _ = socket.try_send_to(&answer, sender);
                }
            }
            Allowed::Answer => {
                let Ok(place) = places.clone().try_acquire_owned() else { continue };
                let (server, socket, question) = (server.clone(), socket.clone(), question.to_vec());
                tokio::spawn(async move {
                    if let Some(answer) = server.zone.answer(&question, server.names.as_ref()).await {
                        let _ = socket.send_to(&answer, sender).await;
                    }
                    drop(place);
                });
            }
        }
    }
}

async fn over_tcp(server: Arc<Server>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, sender) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(error = %error, "a connection could not be accepted");
                sleep(BREATH).await;
                continue;
            }
        };
        let server = server.clone();
        if !server.enter(sender.ip()) {
            continue;
        }
        tokio::spawn(async move {
            // It ends as its sender likes.
            let _ = connection(&server, stream).await;
            server.leave(sender.ip());
            drop(place);
        });
    }
}

/// Answers one question after the other, each with its length before it. Nobody forges an address here: there is no rate, which
/// is what "ask over TCP" promises.
async fn connection(server: &Server, mut stream: TcpStream) -> io::Result<()> {
    for _ in 0..QUESTIONS_PER_CONNECTION_MAX {
        let question = timeout(TCP_PATIENCE, async {
            let length = usize::from(stream.read_u16().await?);
            if length > TCP_QUESTION_MAX {
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            }
            let mut question = vec![0; length];
            stream.read_exact(&mut question).await?;
            Ok(question)
        });
        let question = question.await??;
        let Some(mut answer) = server.zone.answer(&question, server.names.as_ref()).await else { break };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?.to_be_bytes();
        answer.splice(0..0, length);
        timeout(TCP_PATIENCE, stream.write_all(&answer)).await??;
    }
    stream.shutdown().await
}

impl Server {
    /// Counts a connection; false if its address has too many.
    fn enter(&self, address: IpAddr) -> bool {
        let mut holders = self.holders.lock();
        let count = holders.entry(address).or_default();
        if *count >= CONNECTIONS_PER_ADDRESS_MAX {
            return false;
        }
        *count += 1;
        true
    }

    fn leave(&self, address: IpAddr) {
        let mut holders = self.holders.lock();
        if let Some(count) = holders.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                holders.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Known, ZoneConfig};
    use hickory_proto::op::{Message, Query, ResponseCode};
    use hickory_proto::rr::{Name, RecordType};
    use std::str::FromStr as _;

    struct One;

    #[async_trait::async_trait]
    impl Names for One {
        async fn find(&self, label: &str) -> Known {
            if label == "here" { Known::At(IpAddr::from([192, 0, 2, 1])) } else { Known::Nothing }
        }
    }

    async fn server(per_second: u32) -> SocketAddr {
        let config = ZoneConfig {
            domain: "zone.test".into(),
            name_servers: Vec::new(),
            addresses: Vec::new(),
            seconds: 5,
            serial: 1,
        };
        let zone = Zone::new(&config).unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, run) = serve(listen, zone, Arc::new(One), Limits { per_second }).await.unwrap();
        tokio::spawn(run);
        address
    }

    fn question(label: &str) -> Vec<u8> {
        let mut message = Message::query();
        message
            .add_query(Query::query(Name::from_str(&format!("{label}.zone.test.")).unwrap(), RecordType::A));
        message.to_vec().unwrap()
    }

    async fn ask_udp(address: SocketAddr, question: &[u8]) -> Option<Message> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(question, address).await.unwrap();
        let mut buffer = [0; 600];
        let received = timeout(Duration::from_millis(500), socket.recv_from(&mut buffer)).await.ok()?;
        Some(Message::from_vec(&buffer[..received.unwrap().0]).unwrap())
    }

    #[tokio::test]
    async fn both_transports_answer_and_a_connection_may_ask_again() {
        let address = server(0).await;
        assert_eq!(ask_udp(address, &question("here")).await.unwrap().answers.len(), 1);
        let mut stream = TcpStream::connect(address).await.unwrap();
        for (label, code) in [("here", ResponseCode::NoError), ("there", ResponseCode::NXDomain)] {
            let question = question(label);
            stream.write_u16(question.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&question).await.unwrap();
            let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(Message::from_vec(&answer).unwrap().metadata.response_code, code);
        }
    }

    #[tokio::test]
    async fn a_flood_is_answered_with_short_answers_and_silence() {
        let address = server(1).await;
        let mut kinds = Vec::new();
        for _ in 0..5 {
            kinds.push(ask_udp(address, &question("here")).await.map(|answer| answer.metadata.truncation));
        }
        assert_eq!(kinds.iter().filter(|kind| **kind == Some(true)).count(), 1, "{kinds:?}");
        assert!(kinds.contains(&None), "{kinds:?}");
    }

    #[tokio::test]
    async fn an_address_holds_few_connections() {
        let address = server(0).await;
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_PER_ADDRESS_MAX {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        // Each is known to be served once it has been answered.
        for stream in &mut held {
            let question = question("here");
            stream.write_u16(question.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&question).await.unwrap();
            stream.read_u16().await.unwrap();
        }
        let mut one_more = TcpStream::connect(address).await.unwrap();
        let read = timeout(Duration::from_secs(5), one_more.read_u8()).await.unwrap();
        assert!(read.is_err(), "it is closed");
    }
}
