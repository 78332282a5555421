//! What one call takes while more and more deployments are live. The exponent b of time ∝ liveᵇ is fitted to the
//! medians by least squares in the logarithms.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::http::{Answer, Connection, request};
use crate::load::flat_out;
use crate::paired::{Samples, text};
use crate::server::{Server, TOKEN, deploy};
use crate::{Failure, Report, block_on};

const CONNECTIONS: usize = 64;
const LIVE: [usize; 5] = [100, 300, 1_000, 3_000, 10_000];
const CALLS: [&str; 4] = ["accept", "status", "stop", "list page"];
/// How long a deployment may take to settle.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures it: `rounds` calls of each kind at each number.
pub fn run(rounds: usize) -> Report {
    block_on(async {
        let server = Server::on_fake_hosts().await?;
        server.describe_game("fake", "game", "ok").await?;
        let mut live: VecDeque<String> = VecDeque::new();
        let mut medians: [Vec<Duration>; 4] = Default::default();
        for wanted in LIVE {
            let missing = wanted - live.len();
            live.extend(flat_out(server.address, CONNECTIONS, missing, deploy).await?.deployed()?);
            server.settle().await?;
            for (times, medians) in measure(&server, &mut live, rounds).await?.iter().zip(&mut medians) {
                medians.push(times.median());
            }
        }
        let mut report =
            vec![format!("  {rounds} calls each, medians at {LIVE:?} live (entry b 0.15, goal 0.05)")];
        for (call, medians) in CALLS.iter().zip(&medians) {
            let shown: Vec<String> = medians.iter().map(|time| text(*time)).collect();
            report.push(format!("  {call:<10} {} | b = {:+.3}", shown.join(", "), exponent(medians)));
        }
        Ok(report)
    })
}

/// One more and one less in turn, so that the number of live ones stays.
async fn measure(
    server: &Server,
    live: &mut VecDeque<String>,
    rounds: usize,
) -> Result<[Samples; 4], Failure> {
    let mut connection = Connection::open(server.address).await?;
    let mut times: [Samples; 4] = Default::default();
    let [accept, status, stop, list] = &mut times;
    for round in 0..rounds {
        let answer = timed(&mut connection, accept, &deploy(round)).await?;
        let id = answer.json(202)?["request_id"].as_str().ok_or("no request_id")?.to_owned();
        until(&mut connection, &id, "Status.READY").await?;
        let some = &live[round * 7 % live.len()];
        timed(&mut connection, status, &ask("GET", &format!("/v1/status/{some}"))).await?.json(200)?;
        live.push_back(id);
        let oldest = live.pop_front().unwrap_or_default();
        timed(&mut connection, stop, &ask("DELETE", &format!("/v1/stop/{oldest}"))).await?.json(200)?;
        until(&mut connection, &oldest, "Status.TERMINATED").await?;
        timed(&mut connection, list, &ask("GET", "/v1/deployments?limit=20")).await?.json(200)?;
    }
    Ok(times)
}

fn ask(method: &str, path: &str) -> Vec<u8> {
    request(method, path, TOKEN, "")
}

async fn timed(connection: &mut Connection, times: &mut Samples, request: &[u8]) -> Result<Answer, Failure> {
    let start = Instant::now();
    let answer = connection.exchange(request).await?;
    times.add(start.elapsed());
    Ok(answer)
}

/// Waits until a deployment is there: what is measured next is not to wait for it.
async fn until(connection: &mut Connection, id: &str, wanted: &str) -> Result<(), Failure> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let status = connection.exchange(&ask("GET", &format!("/v1/status/{id}"))).await?.json(200)?;
        if status["current_status"] == wanted {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Err(format!("{id} did not become {wanted}").into())
}

/// The slope of a line through the logarithms.
fn exponent(medians: &[Duration]) -> f64 {
    let points: Vec<(f64, f64)> =
        LIVE.iter().zip(medians).map(|(live, time)| ((*live as f64).ln(), time.as_secs_f64().ln())).collect();
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_what_grows_with_the_square_root_is_a_half() {
        let times = LIVE.map(|live| Duration::from_secs_f64((live as f64).sqrt()));
        assert!((exponent(&times) - 0.5).abs() < 1e-6);
        assert!(exponent(&[Duration::from_millis(1); 5]).abs() < 1e-6);
    }
}
