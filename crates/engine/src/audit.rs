//! The audit: each invariant of the design that can be read off the store and the hosts, checked by one function each.
//! The same code runs after tests and in production (`spawnpoint audit`). It reads only.
//!
//! What must hold only once things have come to rest (a container for each live row, say) is judged with the times in
//! mind: what has been so for less than [`SETTLED`] is not a violation yet.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use spawnpoint_driver::{AccessList, Observed, Running};
use spawnpoint_model::deployment::{Desired, Phase};
use spawnpoint_model::lifecycle::expires_at;
use spawnpoint_model::units::Resources;
use spawnpoint_model::{Deployment, DeploymentId, HostId, Timestamp};
use spawnpoint_store::{HostUsage, PortLease, SocketFigures};

use crate::{Engine, Error};

/// Changes younger than this may still be under way.
const SETTLED: Duration = Duration::from_secs(30);

/// Between the two looks of an audit that found something.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// One invariant and what breaks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its number in the design's list (`I1`).
    pub id: &'static str,
    /// What must hold.
    pub rule: &'static str,
    /// Each violation, a sentence. Empty = it holds.
    pub violations: Vec<String>,
    /// Why it could not be checked in full, if it could not.
    pub skipped: Option<String>,
}

/// Everything that is looked at, read once.
struct World {
    now: Timestamp,
    rows: HashMap<DeploymentId, Arc<Deployment>>,
    leases: Vec<PortLease>,
    usage: Vec<HostUsage>,
    capacity: HashMap<HostId, Resources>,
    /// What each host runs; hosts that did not answer are missing.
    listed: HashMap<HostId, Vec<Observed>>,
    silent: Vec<String>,
    /// Kernel's range of outgoing ports, if known.
    ephemeral: Option<(u16, u16)>,
    overdue_deliveries: Vec<String>,
    overdue_uploads: Vec<String>,
    sockets: Vec<SocketFigures>,
    /// The access lists that should be in force on each host, and those that are.
    access_meant: HashMap<HostId, Vec<AccessList>>,
    access: HashMap<HostId, Vec<AccessList>>,
}

impl Engine {
    /// Checks everything once. Reads only.
    ///
    /// # Errors
    /// Only if the store is not well.
    pub async fn audit(&self) -> Result<Vec<Finding>, Error> {
        let mut findings = self.audit_once().await?;
        if findings.iter().all(|finding| finding.violations.is_empty()) {
            return Ok(findings);
        }
        // Hosts and tables are read one after the other while work goes on: what is real is still there a moment later.
        tokio::time::sleep(SECOND_LOOK).await;
        for (finding, again) in findings.iter_mut().zip(self.audit_once().await?) {
            finding.violations.retain(|violation| again.violations.contains(violation));
        }
        Ok(findings)
    }

    async fn audit_once(&self) -> Result<Vec<Finding>, Error> {
        let world = self.look_around().await?;
        let silent =
            (!world.silent.is_empty()).then(|| format!("not on {}: no answer", world.silent.join(", ")));
        let finding = |id, rule, violations: Vec<String>, needs_hosts: bool| Finding {
            id,
            rule,
            violations,
            skipped: silent.clone().filter(|_| needs_hosts),
        };
        Ok(vec![
            finding(
                "I1",
                "one live row, one container; none without a row",
                one_row_one_container(&world),
                true,
            ),
            finding("I2", "every row comes to rest in bounded time", rows_come_to_rest(&world), false),
            finding(
                "I4",
                "a port belongs to one row, and to no outgoing connection",
                ports_belong(&world),
                true,
            ),
            finding(
                "I5",
                "no host is overcommitted, and what is reserved is what rows hold",
                capacity_adds_up(&world),
                false,
            ),
            finding("I9", "nothing runs for a deployment that has ended", the_ended_are_gone(&world), true),
            finding("I10", "nobody outlives max_duration", nobody_outlives(&world), false),
            finding(
                "I27",
                "no socket is sold twice, and what is taken is what sessions hold",
                sockets_add_up(&world),
                false,
            ),
            finding("I11", "due webhooks are sent or given up", world.overdue_deliveries.clone(), false),
            finding("I22", "logs are uploaded or given up", world.overdue_uploads.clone(), false),
            finding(
                "I28",
                "an access list is in force where it is meant, and nowhere else",
                access_lists_hold(&world),
                true,
            ),
        ])
    }

    async fn look_around(&self) -> Result<World, Error> {
        let inner = &self.inner;
        let mut listed = HashMap::new();
        let mut silent = Vec::new();
        let mut access = HashMap::new();
        for runtime in inner.fleet.all().iter() {
            match runtime.driver().list().await {
                Ok(all) => {
                    listed.insert(runtime.id().clone(), all);
                    // One that cannot tell enforces none.
                    let lists = runtime.driver().access().await.unwrap_or_default();
                    access.insert(runtime.id().clone(), lists);
                }
                Err(error) => silent.push(format!("{} ({error})", runtime.id())),
            }
        }
        // Rows are read after the hosts: a row that appears in between is too young to be judged.
        let rows: HashMap<_, _> =
            inner.store.live_deployments().await?.into_iter().map(|row| (row.id, Arc::new(row))).collect();
        let now = self.now();
        let overdue = inner.store.due_deliveries(now, 1000).await?;
        let overdue_deliveries = overdue
            .iter()
            .filter(|delivery| now.since(delivery.next_at) > Duration::from_secs(300))
            .map(|delivery| {
                format!("{} of {} has been due for over five minutes", delivery.id, delivery.subject)
            })
            .collect();
        let old = i64::try_from(crate::log_upload::OVERDUE_AFTER.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp(now.micros().saturating_sub(old));
        let overdue_uploads = inner.store.uploads_pending_since(before, 1000).await?;
        let overdue_uploads = overdue_uploads
            .iter()
            .map(|upload| format!("the log of {} is still on its way after a day", upload.deployment))
            .collect();
        Ok(World {
            now,
            leases: inner.store.port_leases(None).await?,
            usage: inner.store.host_usage().await?,
            capacity: inner.fleet.all().iter().map(|r| (r.id().clone(), r.setup.host.capacity)).collect(),
            listed,
            silent,
            ephemeral: ephemeral_range().await,
            overdue_deliveries,
            overdue_uploads,
            sockets: inner.store.socket_figures().await?,
            access_meant: self.access_meant(rows.values()).await?,
            access,
            rows,
        })
    }
}

/// `net.ipv4.ip_local_port_range` of this machine.
async fn ephemeral_range() -> Option<(u16, u16)> {
    let text = tokio::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").await.ok()?;
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

impl World {
    fn is_settled(&self, row: &Deployment) -> bool {
        self.now.since(row.state.phase_since) >= SETTLED
    }

    fn all_listed(&self) -> impl Iterator<Item = (&HostId, &Observed)> {
        self.listed.iter().flat_map(|(host, all)| all.iter().map(move |observed| (host, observed)))
    }
}

fn one_row_one_container(world: &World) -> Vec<String> {
    let mut violations = Vec::new();
    let mut by_deployment: HashMap<DeploymentId, Vec<String>> = HashMap::new();
    for (host, observed) in world.all_listed() {
        by_deployment.entry(observed.id.deployment).or_default().push(format!("{} on {host}", observed.id));
    }
    for (id, containers) in &by_deployment {
        if containers.len() > 1 {
            violations.push(format!("{id} has {} containers: {}", containers.len(), containers.join(", ")));
        }
        match world.rows.get(id) {
            Some(row) if row.state.phase.may_have_workload() || !world.is_settled(row) => {}
            Some(row) => violations.push(format!(
                "{} exists, and its row is {}",
                containers.join(", "),
                row.state.phase.word()
            )),
            None => violations.push(format!("{} exists, and no live row means it", containers.join(", "))),
        }
    }
    for row in world.rows.values().filter(|row| row.state.phase == Phase::Ready && world.is_settled(row)) {
        let on_host = row.state.host.as_ref().and_then(|host| world.listed.get(host));
        let runs =
            |all: &Vec<Observed>| all.iter().any(|o| o.id == row.workload() && o.state == Running::Running);
        if on_host.is_some_and(|all| !runs(all)) {
            violations.push(format!("{} is READY, and its container does not run", row.id));
        }
    }
    violations.sort();
    violations
}

fn rows_come_to_rest(world: &World) -> Vec<String> {
    let limit = |row: &Deployment| match &row.state.phase {
        Phase::Pending | Phase::Placed => Some(SETTLED),
        Phase::Starting => {
            Some(Duration::from_secs(u64::from(row.spec.time_to_deploy_seconds)) + 2 * SETTLED)
        }
        Phase::Stopping(_) => Some(Duration::from_secs(u64::from(row.spec.grace_seconds)) + 2 * SETTLED),
        Phase::Ready if row.state.desired != Desired::Run => Some(SETTLED),
        Phase::Ready | Phase::Failed(_) | Phase::Terminated(_) => None,
    };
    let answers =
        |row: &Deployment| row.state.host.as_ref().is_none_or(|host| world.listed.contains_key(host));
    let stuck = |row: &&Arc<Deployment>| {
        limit(row).is_some_and(|limit| world.now.since(row.state.phase_since) > limit) && answers(row)
    };
    let sentence =
        |row: &Arc<Deployment>| format!("{} has been {} for too long", row.id, row.state.phase.word());
    world.rows.values().filter(stuck).map(sentence).collect()
}

fn ports_belong(world: &World) -> Vec<String> {
    let mut violations = Vec::new();
    let mut leased = HashSet::new();
    for lease in &world.leases {
        let name = format!("{}/{} of {}", lease.port, lease.transport.as_str(), lease.host);
        if let Some(id) = lease.deployment.filter(|_| lease.free_at.is_none()) {
            leased.insert((lease.host.clone(), lease.transport, lease.port, id));
            if world.rows.get(&id).is_none_or(|row| !row.state.phase.holds_host()) {
                violations.push(format!("{name} is leased to {id}, which holds nothing"));
            }
        }
        if lease.free_at.is_none()
            && world.ephemeral.is_some_and(|(low, high)| (low..=high).contains(&lease.port))
        {
            violations.push(format!("{name} lies in the kernel's range for outgoing connections"));
        }
    }
    for row in world.rows.values().filter(|row| row.state.phase.holds_host()) {
        let Some(host) = &row.state.host else { continue };
        for port in &row.state.ports {
            for transport in port.protocol.transports() {
                if !leased.contains(&(host.clone(), *transport, port.external, row.id)) {
                    violations.push(format!(
                        "{} uses {}/{} without a lease",
                        row.id,
                        port.external,
                        transport.as_str()
                    ));
                }
            }
        }
    }
    violations.extend(published_without_lease(world, &leased));
    violations
}

fn published_without_lease(
    world: &World,
    leased: &HashSet<(HostId, spawnpoint_model::Transport, u16, DeploymentId)>,
) -> Vec<String> {
    let mut violations = Vec::new();
    for (host, observed) in world.all_listed().filter(|(_, observed)| observed.state == Running::Running) {
        let young = world.rows.get(&observed.id.deployment).is_some_and(|row| !world.is_settled(row));
        for port in observed.ports.iter().filter(|_| !young) {
            if !leased.contains(&(host.clone(), port.transport, port.external, observed.id.deployment)) {
                let transport = port.transport.as_str();
                violations
                    .push(format!("{} publishes {}/{transport} without a lease", observed.id, port.external));
            }
        }
    }
    violations
}

fn capacity_adds_up(world: &World) -> Vec<String> {
    let mut held: HashMap<HostId, Resources> = HashMap::new();
    for row in world.rows.values().filter(|row| row.state.phase.holds_host()) {
        if let Some(host) = &row.state.host {
            let sum = held.entry(host.clone()).or_default();
            sum.cpu.0 = sum.cpu.0.saturating_add(row.spec.resources.cpu.0);
            sum.memory.0 = sum.memory.0.saturating_add(row.spec.resources.memory.0);
        }
    }
    let mut violations = Vec::new();
    for HostUsage { host, reserved, .. } in &world.usage {
        let rows = held.remove(host).unwrap_or_default();
        if rows != *reserved {
            violations.push(format!("{host}: {reserved:?} is reserved, rows hold {rows:?}"));
        }
        if world.capacity.get(host).is_some_and(|capacity| !reserved.fits(*capacity)) {
            violations.push(format!("{host} is overcommitted: {reserved:?} is reserved"));
        }
    }
    violations
        .extend(held.iter().map(|(host, rows)| format!("{host}: nothing is reserved, rows hold {rows:?}")));
    violations
}

fn sockets_add_up(world: &World) -> Vec<String> {
    let mut violations = Vec::new();
    for SocketFigures { counted, sessions, taken } in &world.sockets {
        let Some(row) = world.rows.get(&counted.deployment) else { continue };
        let id = row.id;
        if counted.sessions != *sessions {
            violations.push(format!("{id}: {} sessions are counted, {sessions} are there", counted.sessions));
        }
        let sockets = row.spec.sockets().unwrap_or(0);
        if *taken > sockets {
            violations.push(format!("{id}: {taken} of {sockets} sockets are taken"));
        }
        // Nothing is for sale of one that has failed.
        if let Some(free) = counted.free
            && u64::from(free) + u64::from(*taken) != u64::from(sockets)
        {
            violations.push(format!("{id}: {free} free and {taken} taken are not {sockets} sockets"));
        }
    }
    violations
}

fn the_ended_are_gone(world: &World) -> Vec<String> {
    let ended = |observed: &Observed| {
        let row = world.rows.get(&observed.id.deployment);
        row.is_some_and(|row| matches!(row.state.phase, Phase::Failed(_)) && world.is_settled(row))
    };
    world
        .all_listed()
        .filter(|(_, o)| ended(o))
        .map(|(host, o)| format!("{} still exists on {host}", o.id))
        .collect()
}

fn nobody_outlives(world: &World) -> Vec<String> {
    let outlives = |row: &&Arc<Deployment>| {
        row.state.phase == Phase::Ready && expires_at(row).is_some_and(|end| world.now.since(end) > SETTLED)
    };
    world
        .rows
        .values()
        .filter(outlives)
        .map(|row| format!("{} has outlived its max_duration", row.id))
        .collect()
}

fn access_lists_hold(world: &World) -> Vec<String> {
    let mut violations = Vec::new();
    let runs = |row: &Arc<Deployment>| row.state.phase == Phase::Ready && world.is_settled(row);
    for (host, lists) in &world.access_meant {
        let Some(in_force) = world.access.get(host) else { continue };
        for list in lists.iter().filter(|list| world.rows.get(&list.id.deployment).is_some_and(runs)) {
            let holds = in_force.iter().any(|other| {
                // Ports are published on IPv4 only, so a driver may leave the rest out.
                let ipv4 = |list: &AccessList| list.networks.iter().filter(|n| n.is_ipv4()).count();
                other.id == list.id
                    && ipv4(other) == ipv4(list)
                    && other.networks.iter().all(|network| list.networks.contains(network))
            });
            if !holds {
                violations.push(format!("the access list of {} is not in force on {host}", list.id));
            }
        }
    }
    // Several hosts on one engine tell of the same ones.
    let mut left: Vec<_> = (world.access.values().flatten())
        .filter(|list| {
            world
                .rows
                .get(&list.id.deployment)
                .is_none_or(|row| !row.state.phase.may_have_workload() && world.is_settled(row))
        })
        .map(|list| format!("the access list of {} is in force, and its workload is gone", list.id))
        .collect();
    left.sort();
    left.dedup();
    violations.extend(left);
    violations
}
