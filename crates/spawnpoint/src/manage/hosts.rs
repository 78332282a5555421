//! `host`: lists hosts, adds, removes, cordons, uncordons, drains them, and says when one is given up.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use spawnpoint_api::admin::hosts::host_json;
use spawnpoint_api::admin::new_host;
use spawnpoint_api::dates::{self, V2Date};
use spawnpoint_engine::private_fleets::HostReport;
use spawnpoint_engine::{Clock as _, Engine, SystemClock};
use spawnpoint_model::host_settings::Drain;
use spawnpoint_model::query::Page;
use spawnpoint_model::{HostId, Timestamp};

use super::{Reach, list, operator, path_part, text, tidy};
use crate::cli::{HostCommand, NewHostArgs};
use crate::config::{Loaded, Variables};
use crate::console::{count, note, print, print_table};
use crate::failure::Failure;

/// Hosts that are asked for at once.
const PAGE: u32 = 100;
/// Between two looks at a host that is drained.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What is said of a host.
enum Said {
    Cordon,
    Uncordon,
    Drain(Drain),
    Delete(Timestamp),
    Keep,
}

/// Carries a command out; `false` if a host was not empty in time.
///
/// # Errors
/// The installation cannot be reached, or refuses.
pub async fn host(loaded: &Loaded, variables: &Variables, command: &HostCommand) -> Result<bool, Failure> {
    let (id, said) = match command {
        HostCommand::List => {
            let reach = Reach::find_hosts(loaded, variables).await?;
            print_hosts(&all(&reach).await?);
            leave(loaded, &reach).await;
            return Ok(true);
        }
        HostCommand::Add(new) => {
            let reach = Reach::find_hosts(loaded, variables).await?;
            print_hosts(&[add(&reach, &body_of(new)).await?]);
            leave(loaded, &reach).await;
            return Ok(true);
        }
        HostCommand::Remove { host } => {
            let reach = Reach::find_hosts(loaded, variables).await?;
            remove(&reach, path_part(host)?).await?;
            print(&format!("host {host} is removed"));
            leave(loaded, &reach).await;
            return Ok(true);
        }
        HostCommand::Cordon { host } => (host, Said::Cordon),
        HostCommand::Uncordon { host } => (host, Said::Uncordon),
        HostCommand::Drain { host, stop, .. } => {
            (host, Said::Drain(if *stop { Drain::Stop } else { Drain::Wait }))
        }
        HostCommand::Delete { host, at } => (host, Said::Delete(time(at)?)),
        HostCommand::Keep { host } => (host, Said::Keep),
    };
    path_part(id)?;
    let reach = Reach::find_hosts(loaded, variables).await?;
    let host = say(&reach, id, &said).await?;
    print_hosts(std::slice::from_ref(&host));
    if let Reach::Store(..) = &reach {
        note("no server runs; it is carried out when one does");
        leave(loaded, &reach).await;
    }
    match command {
        HostCommand::Drain { wait: Some(patience), .. } => wait(&reach, id, *patience).await,
        _ => Ok(true),
    }
}

/// Leaves engines of this machine as they were found, if no server did the work.
pub(super) async fn leave(loaded: &Loaded, reach: &Reach) {
    if let Reach::Store(_, hosts) = reach {
        tidy(loaded, hosts.as_ref()).await;
    }
}

/// A new host as the API takes it.
fn body_of(new: &NewHostArgs) -> Value {
    let mut body = json!({
        "host_id": new.host,
        "site": new.site,
        "public_address": new.public_address,
        "driver": new.driver,
        "endpoint": new.endpoint,
        "port_range": new.port_range,
        "private_fleet": new.private_fleet,
        "base_clock_mhz": new.base_clock_mhz,
        "security": new.security,
    });
    if let (Some(cpu), Some(memory)) = (new.cpu_units, new.memory_mib) {
        body["capacity"] = json!({ "cpu_units": cpu, "memory_mib": memory });
    }
    let (host, udp, tcp) = (&new.beacon_host, new.beacon_udp_port, new.beacon_tcp_port);
    if host.is_some() || udp.is_some() || tcp.is_some() {
        body["beacon"] = json!({ "host": host, "udp_port": udp, "tcp_port": tcp });
    }
    body
}

async fn add(reach: &Reach, body: &Value) -> Result<Value, Failure> {
    match reach {
        Reach::Server(api) => api.ask(Method::POST, "/spawnpoint/v1/hosts", Some(body)).await,
        Reach::Store(engine, _) => {
            let empty = serde_json::Map::new();
            let new = new_host::read(body.as_object().unwrap_or(&empty));
            let new = new.map_err(|invalids| Failure::misused(invalids.to_string()))?;
            Ok(host_json(&engine.add_host(&operator(), new).await?))
        }
    }
}

async fn remove(reach: &Reach, id: &str) -> Result<(), Failure> {
    match reach {
        Reach::Server(api) => {
            api.ask(Method::DELETE, &format!("/spawnpoint/v1/hosts/{id}"), None).await.map(drop)
        }
        Reach::Store(engine, _) => Ok(engine.remove_host(&operator(), &HostId::from(id)).await?),
    }
}

/// A time, or a span from now.
fn time(text: &str) -> Result<Timestamp, Failure> {
    if let Ok(span) = crate::cli::parse_lifetime(text) {
        return Ok(SystemClock::new().now().plus(span));
    }
    dates::parse(text)
        .map_err(|err| Failure::misused(format!("--at {text:?}: {}, or a span as 12h", err.problem)))
}

async fn say(reach: &Reach, id: &str, said: &Said) -> Result<Value, Failure> {
    match reach {
        Reach::Server(api) => {
            let (method, call, body) = match said {
                Said::Cordon => (Method::POST, "cordon", None),
                Said::Uncordon => (Method::POST, "uncordon", None),
                Said::Drain(drain) => (Method::POST, "drain", Some(json!({ "deployments": drain }))),
                Said::Delete(at) => {
                    let at = V2Date(*at).to_string();
                    (Method::PUT, "delete-schedule", Some(json!({ "scheduled_at": at })))
                }
                Said::Keep => (Method::DELETE, "delete-schedule", None),
            };
            api.ask(method, &format!("/spawnpoint/v1/hosts/{id}/{call}"), body.as_ref()).await
        }
        Reach::Store(engine, _) => Ok(host_json(&say_directly(engine, &HostId::from(id), said).await?)),
    }
}

async fn say_directly(engine: &Engine, id: &HostId, said: &Said) -> Result<HostReport, Failure> {
    let operator = operator();
    Ok(match said {
        Said::Cordon => engine.cordon_host(&operator, id).await?,
        Said::Uncordon => engine.uncordon_host(&operator, id).await?,
        Said::Drain(drain) => engine.drain_host(&operator, id, *drain).await?,
        Said::Delete(at) => engine.schedule_host_deletion(&operator, id, *at).await?,
        Said::Keep => engine.keep_host(&operator, id).await?,
    })
}

/// Looks until the host is empty, for as long as there is patience.
async fn wait(reach: &Reach, id: &str, patience: Duration) -> Result<bool, Failure> {
    let Reach::Server(api) = reach else {
        return Err(Failure::new("no server runs that could empty the host"));
    };
    let path = format!("/spawnpoint/v1/hosts/{id}");
    let empty = async {
        loop {
            let host = api.ask(Method::GET, &path, None).await?;
            if host["deployments"] == 0 {
                return Ok::<_, Failure>(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    match tokio::time::timeout(patience, empty).await {
        Ok(ended) => {
            ended?;
            print(&format!("{id} is empty"));
            Ok(true)
        }
        Err(_) => {
            let left = api.ask(Method::GET, &path, None).await?["deployments"].as_u64().unwrap_or(0);
            let left = count(usize::try_from(left).unwrap_or(usize::MAX), "deployment");
            note(&format!("{id} is not empty yet: {left}"));
            Ok(false)
        }
    }
}

/// Every host, page by page.
async fn all(reach: &Reach) -> Result<Vec<Value>, Failure> {
    let mut hosts = Vec::new();
    for number in 1.. {
        let (page, more) = match reach {
            Reach::Server(api) => {
                let path = format!("/spawnpoint/v1/hosts?page={number}&limit={PAGE}");
                let mut body = api.ask(Method::GET, &path, None).await?;
                let more = body["pagination"]["has_next"] == true;
                (list(&body["data"].take()).to_vec(), more)
            }
            Reach::Store(engine, _) => {
                let page = engine.list_hosts(&operator(), Page { number, limit: PAGE }).await?;
                let more = u64::from(number) * u64::from(PAGE) < page.total;
                (page.items.iter().map(host_json).collect(), more)
            }
        };
        hosts.extend(page);
        if !more {
            break;
        }
    }
    Ok(hosts)
}

fn print_hosts(hosts: &[Value]) {
    let head = [
        "HOST",
        "SITE",
        "PRIVATE FLEET",
        "DECLARED",
        "STATE",
        "DEPLOYMENTS",
        "CPU UNITS",
        "MEMORY MIB",
        "DELETION",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for host in hosts {
        let or_dash = |value: &Value| if value.is_null() { "-".to_owned() } else { text(value) };
        let share = |held: &str, all: &str| format!("{}/{}", host[held], host[all]);
        rows.push(vec![
            text(&host["host_id"]),
            text(&host["site"]),
            or_dash(&host["private_fleet"]),
            text(&host["declared"]),
            state(host),
            text(&host["deployments"]),
            share("allocated_cpu_units", "allocatable_cpu_units"),
            share("allocated_memory_mib", "allocatable_memory_mib"),
            or_dash(&host["delete_schedule"]["scheduled_at"]),
        ]);
    }
    print_table(&rows);
}

/// The state of a host in a word or two.
fn state(host: &Value) -> String {
    let is = |key: &str| host[key] == true;
    let state = match () {
        () if is("retired") && is("drained") => "given up",
        () if is("drained") => "drained",
        () if host["drain"] == "stop" => "draining (stops)",
        () if host["drain"] == "wait" => "draining (waits)",
        () if is("cordoned") => "cordoned",
        () => "open",
    };
    if is("healthy") { state.to_owned() } else { format!("{state}, not answering") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_host_is_said_in_a_word_or_two() {
        let said = |body: Value| state(&body);
        assert_eq!(said(json!({"healthy": true, "cordoned": false, "drain": null})), "open");
        assert_eq!(
            said(json!({"healthy": false, "cordoned": true, "drain": null})),
            "cordoned, not answering"
        );
        assert_eq!(said(json!({"healthy": true, "cordoned": true, "drain": "wait"})), "draining (waits)");
        assert_eq!(
            said(json!({"healthy": true, "cordoned": true, "drain": "stop", "drained": true})),
            "drained"
        );
    }

    #[test]
    fn a_deletion_has_a_time_or_a_span() {
        assert_eq!(time("2026-09-21T14:13:20Z").unwrap(), Timestamp(1_790_000_000_000_000));
        assert!(time("12h").unwrap() > SystemClock::new().now().plus(Duration::from_secs(11 * 3600)));
        assert!(time("soon").unwrap_err().to_string().contains("12h"));
    }
}
