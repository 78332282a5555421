//! How many deploy-shaped transactions a second: `cargo run --release -p spawnpoint-store --example commit_rate
//! [DATABASE] [COMMITTERS] [TRANSACTIONS]`. Each inserts a deployment, reserves capacity, leases two ports and writes
//! the first event. Prints the rate and the latencies.
#![expect(clippy::print_stdout, reason = "an example that measures prints what it measured")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use spawnpoint_model::app::{Application, ImageSource, Version};
use spawnpoint_model::port::Transport::{Tcp, Udp};
use spawnpoint_model::{
    AppName, Deployment, DeploymentId, DeploymentSpec, HostId, Timestamp, VersionName, VersionSpec,
};
use spawnpoint_store::{Database, Store, Tx};
use tokio::time::Instant;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("rate.db").display().to_string();
    let database: Database = args.next().unwrap_or(file).parse()?;
    let committers: u64 = args.next().map_or(Ok(64), |n| n.parse())?;
    let total: u64 = args.next().map_or(Ok(50_000), |n| n.parse())?;
    let store = Store::open(&database, Timestamp(0)).await?;
    let spec = seed(&store).await?;

    let next = Arc::new(AtomicU64::new(1));
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..committers {
        let (store, spec, next) = (store.clone(), spec.clone(), next.clone());
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n > total {
                    return Ok::<_, Failure>(latencies);
                }
                let begun = Instant::now();
                store.commit(deploy(n, &spec)?).await?;
                latencies.push(begun.elapsed());
            }
        });
    }
    let mut latencies = Vec::new();
    while let Some(result) = tasks.join_next().await {
        latencies.extend(result??);
    }
    let took = start.elapsed();
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len() * share / 1000).copied().unwrap_or_default();
    let rate = latencies.len() as f64 / took.as_secs_f64();
    println!(
        "{committers} committers: {rate:.0} transactions/s; p50 {:?}, p99 {:?}, p99.9 {:?}",
        at(500),
        at(990),
        at(999)
    );

    let loading = Instant::now();
    let live = store.live_deployments().await?.len();
    println!("{live} live rows loaded in {:?}", loading.elapsed());
    store.close().await;
    Ok(())
}

async fn seed(store: &Store) -> Result<DeploymentSpec, Failure> {
    let now = Timestamp(0);
    let (app, version) = (AppName::parse("arena").map_err(text)?, VersionName::parse("v1").map_err(text)?);
    let image = ImageSource {
        registry: String::new(),
        name: "arena".into(),
        tag: "1".into(),
        username: None,
        token: None,
    };
    let spec = VersionSpec::new(image, spawnpoint_model::units::Resources::default());
    let mut tx = Tx::new();
    tx.insert_application(&Application {
        name: app.clone(),
        is_active: true,
        image: String::new(),
        created_at: now,
        updated_at: now,
    });
    tx.insert_version(&Version {
        app: app.clone(),
        name: version.clone(),
        revision: "r1".into(),
        spec: Arc::new(spec.clone()),
        created_at: now,
        updated_at: now,
    });
    store.commit(tx).await?;
    Ok(DeploymentSpec {
        app,
        version,
        revision: "r1".into(),
        created_at: now,
        user_count: 2,
        players: vec![spawnpoint_model::geo::GeoPoint { latitude: 35.6, longitude: 139.7 }; 2],
        centroid: None,
        filters: Vec::new(),
        preferred_hosts: Vec::new(),
        require_cached: false,
        env: Vec::new(),
        command: None,
        arguments: None,
        webhooks: spawnpoint_model::webhook::Webhooks::default(),
        log_storage: None,
        pull_profiles: Vec::new(),
        resources: spec.resources,
        restart_policy: spec.restart_policy,
        grace_seconds: 5,
        time_to_deploy_seconds: 120,
        max_duration_minutes: 60,
        session: None,
        origin: None,
    })
}

fn deploy(n: u64, spec: &DeploymentSpec) -> Result<Tx, Failure> {
    let created_at = Timestamp(i64::try_from(n)?);
    let spec = DeploymentSpec { created_at, ..spec.clone() };
    // Ids are random in life, so they are spread here as well.
    let id = DeploymentId::from_random(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8);
    let mut row = Deployment::new(id, spec, Vec::new());
    // 20,000 ports a host.
    let host: HostId = format!("host-{}", n / 20_000).into();
    row.state.host = Some(host.clone());
    let port = u16::try_from(30_000 + n % 20_000)?;
    let mut tx = Tx::new();
    tx.insert_deployment(&row, Some(created_at));
    tx.reserve(&host, &row.spec.resources, &row.spec.resources);
    tx.lease_ports(&host, id, &[(Tcp, port), (Udp, port)], created_at);
    tx.append_event(id, created_at, "created", "{}");
    Ok(tx)
}

fn text(invalid: spawnpoint_model::Invalid) -> String {
    invalid.to_string()
}
