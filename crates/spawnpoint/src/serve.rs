//! `spawnpoint serve`: the server until SIGTERM or Ctrl-C.

use std::net::SocketAddr;

use spawnpoint_engine::Entropy;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::beacon::Listeners;
use crate::config::{Loaded, Variables};
use crate::console::{count, print};
use crate::failure::Failure;
use crate::server::Server;

/// Runs the server. A second signal ends the process at once.
///
/// # Errors
/// It could not be started.
pub async fn serve(loaded: &Loaded, variables: &Variables) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let server = tokio::select! {
        server = Box::pin(Server::start(&loaded.config, &loaded.plan, variables)) => server?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    announce(loaded, &server);
    if !server.address.ip().is_loopback() && !loaded.config.api_speaks_tls() {
        tracing::warn!(address = %server.address, "the API is reachable from outside and speaks plain HTTP: set api.tls, or put TLS in front of it");
    }
    loop {
        tokio::select! {
            _ = hang_up.recv() => {
                tracing::info!("SIGHUP: reading certificates again");
                server.reload();
                continue;
            }
            _ = terminate.recv() => tracing::info!("SIGTERM: shutting down; matches go on"),
            _ = interrupt.recv() => tracing::info!("Ctrl-C: shutting down; matches go on"),
        }
        break;
    }
    tokio::select! {
        () = Box::pin(server.stop()) => Ok(()),
        _ = terminate.recv() => Err(Failure::new("ended by a second signal, without waiting")),
        _ = interrupt.recv() => Err(Failure::new("ended by a second signal, without waiting")),
    }
}

/// Runs a beacon alone.
///
/// # Errors
/// A port is taken.
pub async fn beacon(listen: SocketAddr) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listeners = Listeners::bind(listen.ip(), listen.port(), listen.port()).await?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    listeners.serve(Entropy::from_system().u64(), &tasks, &stop);
    print(&format!("the beacon answers at {listen}, UDP and TCP"));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// Says what is effective.
fn announce(loaded: &Loaded, server: &Server) {
    let config = &loaded.config;
    print(&format!("Spawnpoint {} is ready", env!("CARGO_PKG_VERSION")));
    let scheme = if config.api_speaks_tls() { "https" } else { "http" };
    print(&format!("  API       {scheme}://{}", server.address));
    if let Some(url) = &config.api.public_url {
        print(&format!("  public    {}", url.as_str()));
    }
    print(&format!("  data      {}", config.data.dir.display()));
    print(&format!("  database  {}", config.store_url()));
    let (sites, hosts) = (loaded.plan.sites.len(), loaded.plan.hosts.len());
    print(&format!("  capacity  {}, {}", count(sites, "site"), count(hosts, "host")));
    if config.beacon.enabled {
        let ports = [("UDP", config.beacon.udp_port), ("TCP", config.beacon.tcp_port)];
        let ports = ports.iter().filter(|(_, port)| *port != 0).map(|(name, port)| format!("{name} {port}"));
        print(&format!("  beacon    {}, {}", config.beacon.listen, ports.collect::<Vec<_>>().join(", ")));
    }
    for (planned, setup) in loaded.plan.hosts.iter().zip(&server.hosts.setups) {
        let capacity = setup.host.capacity;
        print(&format!(
            "    {} in {}: {}, {:.1} vCPU, {} MiB, ports {}-{} at {}",
            planned.id,
            planned.site.location.city,
            planned.driver,
            f64::from(capacity.cpu.0) / 1024.0,
            capacity.memory.0,
            planned.port_range.start(),
            planned.port_range.end(),
            planned.public_address,
        ));
    }
    let token_file = config.data.dir.join("admin-token");
    if server.is_first_start {
        print(&format!("  token     {}", server.admin_token.reveal()));
        print(&format!("            (shown this once; kept in {})", token_file.display()));
    }
}
