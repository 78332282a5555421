//! What it costs to lead a port of the host to a workload, with 100 ports that lead somewhere already and with 5,000: two
//! installations on this machine, asked in turn. The network room alone, without a container.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use spawnpoint_model::{DeploymentId, InstallationId, Transport, WorkloadId};
use spawnpoint_network::{Network, NetworkConfig, NetworkError, Port};
use tokio::time::Instant;

use crate::docker::WARM_UPS;
use crate::paired::Samples;
use crate::server::scratch;
use crate::{Failure, Report, block_on};

/// Ports that are led somewhere: first number, how many.
const FEW: (u16, u16) = (20_000, 100);
const MANY: (u16, u16) = (21_000, 5_000);
/// The port that comes and goes.
const ONE: u16 = 19_990;
/// Ports of one workload of those that stay.
const EACH: u16 = 50;
/// Ports that others may have in between.
const SPARE: u16 = 1_000;
/// What is done after an answer is done by then.
const SETTLED: Duration = Duration::from_millis(3);

/// Measures it.
pub fn run(rounds: usize) -> Report {
    block_on(async {
        let directory = tempfile::Builder::new().prefix("spawnpoint-ports-").tempdir_in(scratch()?)?;
        let mut few = Side::open(&directory.path().join("few"), "few", FEW).await?;
        let mut many = Side::open(&directory.path().join("many"), "many", MANY).await?;
        let measured = async {
            few.fill(FEW).await?;
            many.fill(MANY).await?;
            for round in 0..WARM_UPS + rounds {
                if round == WARM_UPS {
                    (few.times, many.times) = Default::default();
                }
                few.round().await?;
                many.round().await?;
            }
            Ok::<_, Failure>(())
        };
        let measured = measured.await;
        few.close().await?;
        many.close().await?;
        measured?;
        let line = |(what, few, many): (&str, &Samples, &Samples)| {
            let ratio = many.ratio(few);
            format!(
                "  {what} with {} ports: {few} | with {}: {many} | ratio {ratio:.2} (entry 2, goal 1.35)",
                FEW.1, MANY.1
            )
        };
        let mut lines = vec![format!("  {rounds} rounds")];
        lines.extend(
            [
                ("publishing one more", &few.times.publish, &many.times.publish),
                ("releasing it", &few.times.release, &many.times.release),
            ]
            .map(line),
        );
        Ok(lines)
    })
}

#[derive(Debug, Default)]
struct Times {
    publish: Samples,
    release: Samples,
}

/// One installation's networks.
struct Side {
    network: Network,
    config: NetworkConfig,
    held: Vec<WorkloadId>,
    times: Times,
}

fn workload(number: u16) -> WorkloadId {
    WorkloadId { deployment: DeploymentId::from_random(u64::from(number)), attempt: 1 }
}

fn ports(range: RangeInclusive<u16>) -> Vec<Port> {
    range.map(|external| Port { transport: Transport::Udp, external, internal: external }).collect()
}

impl Side {
    async fn open(run_dir: &Path, name: &str, (first, count): (u16, u16)) -> Result<Self, Failure> {
        let config = NetworkConfig {
            installation: InstallationId::from(format!("{name}{:x}", std::process::id())),
            run_dir: run_dir.to_owned(),
            pool_size: 4,
            callback_port: None,
            port_range: ONE..=first + count + SPARE,
            subnet: None,
            ipv6: true,
            open_host_firewall: false,
        };
        let network = Network::open(config.clone()).await?;
        Ok(Self { network, config, held: Vec::new(), times: Times::default() })
    }

    /// Leads ports somewhere; those that others have are left out.
    async fn fill(&mut self, (first, count): (u16, u16)) -> Result<(), Failure> {
        let mut at = first;
        while self.held.len() < usize::from(count / EACH) {
            let id = workload(at);
            self.network.lease(id).await?;
            let range = at..=at + EACH - 1;
            at += EACH;
            match self.network.publish(id, &ports(range), None).await {
                Ok(()) => self.held.push(id),
                Err(NetworkError::PortBusy { .. }) if at < first + count + SPARE => {
                    self.network.release(id).await?;
                }
                Err(error) => {
                    self.network.release(id).await?;
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Publishes one port more, and takes it away.
    async fn round(&mut self) -> Result<(), Failure> {
        let id = workload(ONE);
        self.network.lease(id).await?;
        tokio::time::sleep(SETTLED).await;
        let begin = Instant::now();
        self.network.publish(id, &ports(ONE..=ONE), None).await?;
        self.times.publish.add(begin.elapsed());
        tokio::time::sleep(SETTLED).await;
        let begin = Instant::now();
        self.network.release(id).await?;
        self.times.release.add(begin.elapsed());
        Ok(())
    }

    /// Leaves nothing.
    async fn close(&mut self) -> Result<(), Failure> {
        for id in std::mem::take(&mut self.held) {
            self.network.release(id).await?;
        }
        self.network.close().await?;
        Ok(Network::remove_all(&self.config.installation, &self.config.run_dir).await?)
    }
}
