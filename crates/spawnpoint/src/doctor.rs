//! `spawnpoint doctor`: whether deployments can run on this machine, what is missing, and how to get it.
//!
//! It looks first, and then tries: the embedded runtime is set up under a name of its own on a temporary folder, and taken down.

use std::time::Duration;

use crate::console::{print, print_table};
use crate::embedded;

/// For an engine's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks and tells; `false` if nothing here runs deployments.
pub async fn doctor() -> bool {
    let mut rows = Vec::new();
    let mut row = |mark: &str, what: &str, text: &str| {
        rows.push(vec![mark.to_owned(), what.to_owned(), text.to_owned()])
    };
    let mut well = true;
    for finding in embedded::findings() {
        match finding.state {
            Ok(text) => row("ok", finding.what, &text),
            Err(text) => {
                well = false;
                row("missing", finding.what, &text);
            }
        }
    }
    if well {
        match embedded::attempt().await {
            Ok((notes, users)) => {
                row("ok", "networks and containers", "set up and taken down again");
                notes.iter().for_each(|note| row("note", "", note));
                let what = "user namespaces (not needed)";
                match users {
                    Ok(()) => row("ok", what, "oci.user_namespaces may be turned on"),
                    Err(text) => row("-", what, &text),
                }
            }
            Err(text) => {
                well = false;
                row("missing", "networks and containers", &text);
            }
        }
    }
    if rustls_native_certs::load_native_certs().certs.is_empty() {
        let text = "none is trusted, so no registry and no webhook is called over TLS; apt-get install ca-certificates";
        row("note", "certificate authorities", text);
    }
    let docker = docker().await;
    match &docker {
        Ok(text) => row("ok", "Docker (not needed)", text),
        Err(text) => row("-", "Docker (not needed)", text),
    }
    print_table(&rows);
    print("");
    match (well, docker.is_ok()) {
        (true, _) => print("Deployments run in the embedded runtime (driver = \"auto\" or \"oci\")."),
        (false, true) => print("Deployments run on the Docker engine (driver = \"auto\" or \"docker\")."),
        (false, false) => {
            print("Nothing here runs deployments yet: get what is missing above, or install Docker.")
        }
    }
    well || docker.is_ok()
}

async fn docker() -> Result<String, String> {
    const SOCKET: &str = "/var/run/docker.sock";
    match tokio::time::timeout(PATIENCE, tokio::net::UnixStream::connect(SOCKET)).await {
        Ok(Ok(_)) => Ok(format!("an engine listens at {SOCKET}")),
        Ok(Err(err)) => Err(format!("no engine at {SOCKET}: {err}")),
        Err(_) => Err(format!("{SOCKET} does not answer")),
    }
}
