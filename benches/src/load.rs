//! Load on a server: as fast as it answers ([`flat_out`]), or at a given rate ([`paced`]).

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::Failure;
use crate::http::{Answer, Connection};
use crate::paired::Samples;

/// What came of it.
#[derive(Debug, Default)]
pub struct Load {
    /// From the first request to the last answer.
    pub took: Duration,
    /// How long each request took; at a given rate from the moment at which it was due, so that a stall counts for
    /// everyone whom it made wait.
    pub latencies: Samples,
    /// The answers, in no order.
    pub answers: Vec<Answer>,
}

impl Load {
    /// Requests a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// The ids of the deployments, if every answer accepts one.
    pub fn deployed(&self) -> Result<Vec<String>, Failure> {
        let id = |answer: &Answer| -> Result<String, Failure> {
            let body = answer.json(202)?;
            Ok(body["request_id"].as_str().ok_or("no request_id")?.to_owned())
        };
        self.answers.iter().map(id).collect()
    }
}

/// Sends `total` requests over `connections` connections, each as soon as the one before it is answered.
pub async fn flat_out(
    address: SocketAddr,
    connections: usize,
    total: usize,
    request: impl Fn(usize) -> Vec<u8>,
) -> Result<Load, Failure> {
    drive(address, connections, total, None, request).await
}

/// Sends `total` requests over `connections` connections, `rate` a second.
pub async fn paced(
    address: SocketAddr,
    connections: usize,
    total: usize,
    rate: f64,
    request: impl Fn(usize) -> Vec<u8>,
) -> Result<Load, Failure> {
    drive(address, connections, total, Some(rate), request).await
}

async fn drive(
    address: SocketAddr,
    connections: usize,
    total: usize,
    rate: Option<f64>,
    request: impl Fn(usize) -> Vec<u8>,
) -> Result<Load, Failure> {
    let open = try_join_all((0..connections).map(|_| Connection::open(address))).await?;
    let next = std::cell::Cell::new(0);
    let start = Instant::now();
    let (next, request) = (&next, &request);
    let each = open.into_iter().map(|mut connection| async move {
        let mut part = Load::default();
        loop {
            let number = next.get();
            if number >= total {
                return Ok::<_, Failure>(part);
            }
            next.set(number + 1);
            let due = match rate {
                Some(rate) => start + Duration::from_secs_f64(number as f64 / rate),
                None => Instant::now(),
            };
            tokio::time::sleep_until(due).await;
            part.answers.push(connection.exchange(&request(number)).await?);
            part.latencies.add(due.elapsed());
        }
    });
    let parts = try_join_all(each).await?;
    let mut load = Load { took: start.elapsed(), ..Load::default() };
    for part in parts {
        load.latencies.append(part.latencies);
        load.answers.extend(part.answers);
    }
    Ok(load)
}
