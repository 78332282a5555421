//! `audit`, `token`, `webhook`, `host` and `fleet`: they ask the server that runs on the data directory, or do the same on the store directly
//! if none runs.

pub mod fleets;
pub mod hosts;

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use spawnpoint_api::dates::V2Date;
use spawnpoint_engine::positions::NoPositions;
use spawnpoint_engine::tokens::NewToken;
use spawnpoint_engine::{Clock as _, ConnectHost, Engine, Parts};
use spawnpoint_model::query::Page;
use spawnpoint_model::token::{Actor, Scope, Token};
use spawnpoint_model::{AppName, Timestamp, TokenId};

use crate::cli::{TokenCommand, WebhookCommand};
use crate::config::{Loaded, StoreUrl, Variables};
use crate::console::{count, note, print, print_table};
use crate::failure::Failure;
use crate::hosts::Hosts;
use crate::http::Api;
use crate::keys;
use crate::opened::{Mode, Opened};
use crate::running::Running;
use crate::server::{given_token, parts};

/// Deliveries on one page.
const PAGE: u32 = 50;

/// How an installation is reached.
enum Reach {
    /// By the server that runs on it.
    Server(Api),
    /// By its store; with the hosts, if everything is to be looked at.
    Store(Engine, Option<Hosts>),
}

impl Reach {
    /// Finds the server, or opens the store.
    async fn find(loaded: &Loaded, variables: &Variables, mode: Mode) -> Result<Self, Failure> {
        match find_server(loaded, variables).await? {
            Some(api) => Ok(Self::Server(api)),
            None => open(loaded, mode, mode == Mode::Look).await,
        }
    }

    /// The same, to say something of hosts.
    async fn find_hosts(loaded: &Loaded, variables: &Variables) -> Result<Self, Failure> {
        match find_server(loaded, variables).await? {
            Some(api) => Ok(Self::Server(api)),
            None => open(loaded, Mode::Write, true).await,
        }
    }
}

/// The server that runs on the data directory, if one does.
pub async fn find_server(loaded: &Loaded, variables: &Variables) -> Result<Option<Api>, Failure> {
    let dir = &loaded.config.data.dir;
    let Some(running) = Running::find(dir) else { return Ok(None) };
    let token = match given_token(variables)? {
        Some(token) => token,
        None => keys::read_secret(&dir.join("admin-token"))
            .map_err(|err| Failure::new(format!("{}: {err}", dir.join("admin-token").display())))?,
    };
    let api = Api::at(&running, token)?;
    // The note may be a dead server's, and its number another process's by now.
    let answers = api.call(Method::GET, "/monitor", None).await.is_ok();
    Ok(answers.then_some(api))
}

/// The engine without its tasks, with the hosts only where they are needed.
async fn open(loaded: &Loaded, mode: Mode, with_hosts: bool) -> Result<Reach, Failure> {
    let opened = Opened::open(&loaded.config, mode).await?;
    let hosts = match with_hosts {
        true => Some(crate::hosts::connect(&loaded.config, &loaded.plan, &opened, None).await?),
        false => None,
    };
    let setups = hosts.as_ref().map(|hosts| hosts.setups.clone()).unwrap_or_default();
    let parts = Parts {
        private_fleets: loaded.plan.private_fleets.clone(),
        connect: hosts.as_ref().map(|hosts| hosts.connector.clone() as Arc<dyn ConnectHost>),
        ..parts(&loaded.config, &opened, Arc::new(NoPositions), loaded.config.api.listen, setups)
    };
    Ok(Reach::Store(Engine::open_for_audit(parts).await?, hosts))
}

/// Looking at an engine sets up what a server would need there; where no server can be, it is taken away again.
async fn tidy(loaded: &Loaded, hosts: Option<&Hosts>) {
    if let Some(hosts) = hosts
        && matches!(loaded.config.store_url(), StoreUrl::Sqlite(_))
    {
        hosts.tidy().await;
    }
}

/// Whoever may open the store may do everything.
pub fn operator() -> Actor {
    Actor { token: TokenId::from("operator"), scope: Scope::Admin, apps: Vec::new() }
}

/// Prints each invariant with its violations; `false` if there are any.
///
/// # Errors
/// The installation cannot be reached.
pub async fn audit(loaded: &Loaded, variables: &Variables) -> Result<bool, Failure> {
    let findings = match Reach::find(loaded, variables, Mode::Look).await? {
        Reach::Server(api) => api.ask(Method::GET, "/spawnpoint/v1/audit", None).await?["invariants"].take(),
        Reach::Store(engine, hosts) => {
            let findings = engine.audit().await?;
            tidy(loaded, hosts.as_ref()).await;
            let row = |f: &spawnpoint_engine::audit::Finding| json!({"id": f.id, "rule": f.rule, "violations": f.violations, "skipped": f.skipped});
            findings.iter().map(row).collect()
        }
    };
    let findings = findings.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut rows = Vec::new();
    let mut total = 0;
    for finding in findings {
        let violations = list(&finding["violations"]);
        total += violations.len();
        let skipped = finding["skipped"]
            .as_str()
            .map(|why| format!(" (not checked in full: {why})"))
            .unwrap_or_default();
        rows.push(vec![
            text(&finding["id"]),
            count(violations.len(), "violation"),
            format!("{}{skipped}", text(&finding["rule"])),
        ]);
        rows.extend(
            violations
                .iter()
                .map(|violation| vec![String::new(), String::new(), format!("- {}", text(violation))]),
        );
    }
    print_table(&rows);
    print(&format!("{} checked, {}", count(findings.len(), "invariant"), count(total, "violation")));
    Ok(total == 0 && !findings.is_empty())
}

/// Makes, lists, revokes.
///
/// # Errors
/// The installation cannot be reached, or refuses.
pub async fn token(loaded: &Loaded, variables: &Variables, command: &TokenCommand) -> Result<(), Failure> {
    if let TokenCommand::Create { apps, .. } = command {
        check_apps(apps)?;
    }
    let reach = Reach::find(loaded, variables, Mode::Write).await?;
    match command {
        TokenCommand::Create { name, scope, apps, expires_in } => {
            let new = NewToken {
                name: name.clone(),
                scope: (*scope).into(),
                apps: check_apps(apps)?,
                expires_in: *expires_in,
            };
            let (id, secret) = create(&reach, new).await?;
            note(&format!("token {id} is made; its secret is shown this once:"));
            print(&secret);
        }
        TokenCommand::List => {
            let tokens = match &reach {
                Reach::Server(api) => {
                    api.ask(Method::GET, "/spawnpoint/v1/tokens", None).await?["tokens"].take()
                }
                Reach::Store(engine, _) => {
                    engine.list_tokens(&operator()).await?.iter().map(token_json).collect()
                }
            };
            print_tokens(list(&tokens));
        }
        TokenCommand::Revoke { id } => {
            match &reach {
                Reach::Server(api) => {
                    let path = format!("/spawnpoint/v1/tokens/{}", path_part(id)?);
                    api.ask(Method::DELETE, &path, None).await?;
                }
                Reach::Store(engine, _) => engine.revoke_token(&operator(), id).await?,
            }
            print(&format!("token {id} is revoked"));
        }
    }
    Ok(())
}

async fn create(reach: &Reach, new: NewToken) -> Result<(String, String), Failure> {
    match reach {
        Reach::Server(api) => {
            let body = json!({
                "name": new.name,
                "scope": new.scope,
                "apps": new.apps.iter().map(AppName::as_str).collect::<Vec<_>>(),
                "expires_in_seconds": new.expires_in.map(|duration| duration.as_secs()),
            });
            let made = api.ask(Method::POST, "/spawnpoint/v1/tokens", Some(&body)).await?;
            Ok((text(&made["id"]), text(&made["token"])))
        }
        Reach::Store(engine, _) => {
            let (token, secret) = engine.create_token(&operator(), new).await?;
            Ok((token.id.to_string(), secret.reveal().to_owned()))
        }
    }
}

fn check_apps(apps: &[String]) -> Result<Vec<AppName>, Failure> {
    apps.iter()
        .map(|app| {
            AppName::parse(app).map_err(|err| Failure::misused(format!("--app {app:?}: {}", err.problem)))
        })
        .collect()
}

fn token_json(token: &Token) -> Value {
    let date = |at: Timestamp| V2Date(at).to_string();
    json!({
        "id": token.id,
        "name": token.name,
        "scope": token.scope,
        "apps": token.apps,
        "created_at": date(token.created_at),
        "expires_at": token.expires_at.map(date),
        "revoked_at": token.revoked_at.map(date),
    })
}

fn print_tokens(tokens: &[Value]) {
    let head = ["ID", "SCOPE", "CREATED", "STATE", "APPS", "NAME"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for token in tokens {
        let state = match (&token["revoked_at"], &token["expires_at"]) {
            (Value::String(at), _) => format!("revoked {}", day(at)),
            (_, Value::String(at)) => format!("expires {}", day(at)),
            _ => "valid".to_owned(),
        };
        let apps: Vec<String> = list(&token["apps"]).iter().map(text).collect();
        let apps = if apps.is_empty() { "all".to_owned() } else { apps.join(",") };
        let created = text(&token["created_at"]);
        rows.push(vec![
            text(&token["id"]),
            text(&token["scope"]),
            day(&created),
            state,
            apps,
            text(&token["name"]),
        ]);
    }
    print_table(&rows);
}

/// The day of a date.
fn day(date: &str) -> String {
    date.chars().take(10).collect()
}

/// Lists what was given up, sends it again, or tells the secret that receivers check signatures with.
///
/// # Errors
/// The installation cannot be reached, or refuses.
pub async fn webhook(
    loaded: &Loaded,
    variables: &Variables,
    command: &WebhookCommand,
) -> Result<(), Failure> {
    match command {
        WebhookCommand::ListDead { page } => {
            let dead = match Reach::find(loaded, variables, Mode::Write).await? {
                Reach::Server(api) => {
                    let path = format!("/spawnpoint/v1/webhooks/dead?page={page}&limit={PAGE}");
                    api.ask(Method::GET, &path, None).await?
                }
                Reach::Store(engine, _) => {
                    let dead =
                        engine.dead_deliveries(&operator(), Page { number: *page, limit: PAGE }).await?;
                    let row = |d: &spawnpoint_engine::webhooks::DeadDelivery| {
                        json!({
                            "id": d.id, "request_id": d.subject.to_string(), "event": d.event, "attempts": d.attempts,
                            "last_error": d.last_error, "created_at": V2Date(d.created_at).to_string(),
                        })
                    };
                    json!({"deliveries": dead.items.iter().map(row).collect::<Vec<_>>(), "total_count": dead.total})
                }
            };
            print_dead(&dead);
        }
        WebhookCommand::Replay { id } => {
            match Reach::find(loaded, variables, Mode::Write).await? {
                Reach::Server(api) => {
                    let path = format!("/spawnpoint/v1/webhooks/dead/{}:replay", path_part(id)?);
                    api.ask(Method::POST, &path, None).await?;
                }
                Reach::Store(engine, _) => engine.replay_delivery(&operator(), id).await?,
            }
            print(&format!("webhook {id} will be sent again"));
        }
        WebhookCommand::Secret => {
            let opened = Opened::open(&loaded.config, Mode::Look).await?;
            print(opened.webhook_secret().reveal());
        }
    }
    Ok(())
}

fn print_dead(dead: &Value) {
    let head = ["ID", "DEPLOYMENT", "EVENT", "TRIES", "SINCE", "LAST ERROR"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let keys = ["id", "request_id", "event", "attempts", "created_at", "last_error"];
    rows.extend(list(&dead["deliveries"]).iter().map(|row| keys.map(|key| text(&row[key])).to_vec()));
    print_table(&rows);
    print(&format!("{} in all", dead["total_count"]));
}

/// `spawnpoint migrate`.
///
/// # Errors
/// The database cannot be reached, is newer, or belongs to a running server.
pub async fn migrate(loaded: &Loaded) -> Result<(), Failure> {
    keys::make_data_dir(&loaded.config.data.dir).map_err(Failure::new)?;
    let url = loaded.config.store_url();
    let clock = spawnpoint_engine::SystemClock::new();
    let done = spawnpoint_store::Store::migrate(&(&url).into(), clock.now()).await?;
    if done.from == done.to {
        print(&format!("{url} is at schema version {} already", done.to));
    } else {
        print(&format!("{url} is brought from schema version {} to {}", done.from, done.to));
    }
    Ok(())
}

/// A JSON array's items.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A JSON value as a person reads it.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An id that may stand in a path.
///
/// # Errors
/// It may not.
pub fn path_part(id: &str) -> Result<&str, Failure> {
    if !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Ok(id);
    }
    Err(Failure::misused(format!("{id:?} is no id")))
}
