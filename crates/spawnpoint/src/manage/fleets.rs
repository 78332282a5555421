//! `fleet`: lists private fleets, creates and deletes them.

use reqwest::Method;
use serde_json::{Map, Value, json};
use spawnpoint_api::admin::private_fleets::{fleet_json, read};
use spawnpoint_model::query::Page;

use super::hosts::leave;
use super::{Reach, list, operator, path_part, text};
use crate::cli::FleetCommand;
use crate::config::{Loaded, Variables};
use crate::console::{print, print_table};
use crate::failure::Failure;

/// Fleets that are asked for at once.
const PAGE: u32 = 100;

/// Carries a command out.
///
/// # Errors
/// The installation cannot be reached, or refuses.
pub async fn fleet(loaded: &Loaded, variables: &Variables, command: &FleetCommand) -> Result<(), Failure> {
    let reach = Reach::find_hosts(loaded, variables).await?;
    match command {
        FleetCommand::List => print_fleets(&all(&reach).await?),
        FleetCommand::Create { fleet, latitude, longitude, radius_km, label, desired_hosts } => {
            let mut body = json!({ "name": fleet });
            if let (Some(latitude), Some(longitude)) = (latitude, longitude) {
                body["centroid"] = json!({
                    "latitude": latitude, "longitude": longitude, "radius_km": radius_km, "label": label,
                    "desired_host_count": desired_hosts,
                });
            }
            print_fleets(&[create(&reach, &body).await?]);
        }
        FleetCommand::Delete { fleet } => {
            delete(&reach, path_part(fleet)?).await?;
            print(&format!("private fleet {fleet} is deleted"));
        }
    }
    leave(loaded, &reach).await;
    Ok(())
}

async fn create(reach: &Reach, body: &Value) -> Result<Value, Failure> {
    match reach {
        Reach::Server(api) => api.ask(Method::POST, "/spawnpoint/v1/private-fleets", Some(body)).await,
        Reach::Store(engine, _) => {
            let new = read(body.as_object().unwrap_or(&Map::new()));
            let new = new.map_err(|invalids| Failure::misused(invalids.to_string()))?;
            Ok(fleet_json(&engine.add_private_fleet(&operator(), new).await?))
        }
    }
}

async fn delete(reach: &Reach, name: &str) -> Result<(), Failure> {
    match reach {
        Reach::Server(api) => {
            api.ask(Method::DELETE, &format!("/spawnpoint/v1/private-fleets/{name}"), None).await.map(drop)
        }
        Reach::Store(engine, _) => Ok(engine.remove_private_fleet(&operator(), name).await?),
    }
}

/// Every private fleet, page by page.
async fn all(reach: &Reach) -> Result<Vec<Value>, Failure> {
    let mut fleets = Vec::new();
    for number in 1.. {
        let (page, more) = match reach {
            Reach::Server(api) => {
                let path = format!("/spawnpoint/v1/private-fleets?page={number}&limit={PAGE}");
                let mut body = api.ask(Method::GET, &path, None).await?;
                let more = body["pagination"]["has_next"] == true;
                (list(&body["data"].take()).to_vec(), more)
            }
            Reach::Store(engine, _) => {
                let page = engine.list_private_fleets(&operator(), Page { number, limit: PAGE }).await?;
                let more = u64::from(number) * u64::from(PAGE) < page.total;
                (page.items.iter().map(fleet_json).collect(), more)
            }
        };
        fleets.extend(page);
        if !more {
            break;
        }
    }
    Ok(fleets)
}

fn print_fleets(fleets: &[Value]) {
    let head = ["PRIVATE FLEET", "DECLARED", "ACTIVE HOSTS", "DEPLOYMENTS", "HOSTS"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for fleet in fleets {
        let hosts: Vec<String> = list(&fleet["host_ids"]).iter().map(text).collect();
        rows.push(vec![
            text(&fleet["name"]),
            text(&fleet["declared"]),
            text(&fleet["active_hosts"]),
            text(&fleet["deployments"]),
            if hosts.is_empty() { "-".to_owned() } else { hosts.join(",") },
        ]);
    }
    print_table(&rows);
}
