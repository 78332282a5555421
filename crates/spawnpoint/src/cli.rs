//! The command line: what can be written after `spawnpoint`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use spawnpoint_model::limits::BEACON_PORT_MAX;
use spawnpoint_model::token::Scope;

/// Starts dedicated game servers near the players who will play on them, behind the Edgegap HTTP API.
#[derive(Debug, Parser)]
#[command(name = "spawnpoint", version, disable_help_subcommand = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Configuration file (TOML); without it the defaults hold
    #[arg(long, global = true, value_name = "FILE", env = "SPAWNPOINT_CONFIG")]
    pub config: Option<PathBuf>,
    /// Directory for the database, the master key and the first token [default: spawnpoint-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server until SIGTERM or Ctrl-C; running matches stay
    Serve {
        /// Address of the HTTP API [default: 127.0.0.1:8080]
        #[arg(long, value_name = "ADDR")]
        listen: Option<SocketAddr>,
    },
    /// Answer pings on a machine that is not the server's, until SIGTERM or Ctrl-C: what is sent over UDP or TCP comes back
    Beacon {
        /// Address on which both are answered
        #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8090", value_parser = parse_beacon)]
        listen: SocketAddr,
    },
    /// Show the whole loop: deploy a real game server over HTTP, play it over UDP, stop it
    Demo,
    /// Look whether deployments can run on this machine, and say what is missing; exit code 1 if they cannot
    Doctor,
    /// List the installations that have something of the embedded runtime on this machine, and take away what is left of one
    Leftovers {
        /// Take this installation away: its processes, networks and control groups. Refused while its control plane is at work
        #[arg(long, value_name = "INSTALLATION")]
        remove: Option<String>,
        /// Also if its containers run: they are ended
        #[arg(long, requires = "remove")]
        force: bool,
    },
    /// Bring images into the embedded runtime's store, list and remove them
    #[command(subcommand)]
    Image(ImageCommand),
    /// Count the violations of every invariant; exit code 1 if there are any
    Audit,
    /// Tell the whole course of a deployment, live or ended: how it ended, why, when what happened, the end of its log
    Inspect {
        /// The deployment's id (`request_id`)
        id: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make, list and revoke API tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Tell which certificate TLS ports show, and show the authority that signs it while none is configured
    #[command(subcommand)]
    Ca(CaCommand),
    /// Bring the database to this version's schema, and say which it had
    Migrate,
    /// Check a configuration, or print the defaults with their explanations
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at webhooks that were given up, and send them again
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// List hosts, add and remove them, cordon and drain them, say when one is given up
    #[command(subcommand)]
    Host(HostCommand),
    /// List private fleets, create and delete them
    #[command(subcommand)]
    Fleet(FleetCommand),
    /// Print the version
    Version,
}

/// Tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; its secret is shown this once
    Create {
        /// A name for people
        #[arg(long)]
        name: String,
        /// What it may do; each scope includes the ones before it
        #[arg(long, value_enum, default_value_t = ScopeArg::Deploy)]
        scope: ScopeArg,
        /// An application that it is bound to; may be given several times [default: all]
        #[arg(long = "app", value_name = "APP")]
        apps: Vec<String>,
        /// When it expires: 90m, 12h or 30d from now [default: never]
        #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
        expires_in: Option<std::time::Duration>,
    },
    /// List all tokens, revoked ones too; never their secrets
    List,
    /// Revoke a token by its id
    Revoke {
        /// The id, as `token list` shows it
        id: String,
    },
}

/// The authority.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Print its certificate (PEM), for clients that are to trust it: curl --cacert
    Print,
    /// Tell where the certificate of TLS ports comes from, when it expires, and how the next order stands; exit code 1 if
    /// none is good, or only for the last sixth of its life
    Status,
}

/// The configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration as `serve` would and say what it comes to; exit code 2 if something is wrong
    Check,
    /// Print every option with its default and its explanation
    PrintDefault,
}

/// Images of the embedded runtime.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Take images from a file of `docker save` or an OCI layout (a folder or an archive)
    Import {
        /// The file or folder
        path: PathBuf,
        /// A name for an image that has none, as registry.example.com/game:1
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Take the game server that this binary carries, which `demo` plays with: for tries of your own
    Demo,
    /// Bring an image from its registry
    Pull {
        /// Its name, as registry.example.com/game:1
        name: String,
        /// Login name
        #[arg(long, requires = "password_file")]
        username: Option<String>,
        /// A file with the login secret
        #[arg(long, value_name = "FILE", requires = "username")]
        password_file: Option<PathBuf>,
    },
    /// List all images
    Ls,
    /// Remove an image, or one of its names
    Rm {
        /// A name, or a digest
        name: String,
    },
    /// Remove images that no name leads to and nothing runs from
    Prune {
        /// Also those that have a name
        #[arg(long)]
        all: bool,
    },
}

/// Webhooks.
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// List deliveries that were given up, newest first
    ListDead {
        /// Page, from 1
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        page: u32,
    },
    /// Send a delivery again, from its first try
    Replay {
        /// The message id, as `webhook list-dead` shows it
        id: String,
    },
    /// Print the secret with which webhooks are signed, for their receivers
    Secret,
}

/// Hosts.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// List all hosts with their state and what is held on them
    List,
    /// Add a host beside those of the configuration
    Add(Box<NewHostArgs>),
    /// Remove a host that was added, once nothing runs there
    Remove {
        /// The host's name
        host: String,
    },
    /// Take no new deployments on a host; what runs there goes on
    Cordon {
        /// The host's name
        host: String,
    },
    /// Take new deployments on a host again
    Uncordon {
        /// The host's name
        host: String,
    },
    /// Empty a host: take no new deployments there, and wait for those that run or stop them
    Drain {
        /// The host's name
        host: String,
        /// Stop what runs there, with its grace; without it everything ends when it ends
        #[arg(long)]
        stop: bool,
        /// Wait until the host is empty, at most 90m, 12h or 30d; exit code 1 if it is not
        #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
        wait: Option<std::time::Duration>,
    },
    /// Give a host up at some time: it is drained by stopping then, and its fleet does not list it any more
    Delete {
        /// The host's name
        host: String,
        /// When: 2026-04-11T08:30:12Z, or 90m, 12h or 30d from now
        #[arg(long, value_name = "TIME")]
        at: String,
    },
    /// Keep a host that was to be given up
    Keep {
        /// The host's name
        host: String,
    },
}

/// A host that is added. What is left out is as in the configuration.
#[derive(Debug, Args)]
pub struct NewHostArgs {
    /// Its name
    pub host: String,
    /// The site of the configuration in which it stands
    #[arg(long)]
    pub site: String,
    /// Where players reach it [default: where its engine is]
    #[arg(long, value_name = "IP")]
    pub public_address: Option<String>,
    /// docker or fake [default: docker]
    #[arg(long)]
    pub driver: Option<String>,
    /// An engine that a host of the configuration has, or tcp://ADDRESS:PORT of another machine (added_hosts.tls)
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// What may be given out, 1024 = one vCPU [default: measured]
    #[arg(long, value_name = "N", requires = "memory_mib")]
    pub cpu_units: Option<u32>,
    /// What may be given out, MiB [default: measured]
    #[arg(long, value_name = "N", requires = "cpu_units")]
    pub memory_mib: Option<u32>,
    /// Host ports that may be given out [default: 30000-32767]
    #[arg(long, value_name = "FIRST-LAST")]
    pub port_range: Option<String>,
    /// The private fleet it belongs to [default: none, a shared host]
    #[arg(long, value_name = "FLEET")]
    pub private_fleet: Option<String>,
    /// Address or name of the beacon near it [default: its own address]
    #[arg(long, value_name = "NAME")]
    pub beacon_host: Option<String>,
    /// UDP port of the beacon near it
    #[arg(long, value_name = "PORT")]
    pub beacon_udp_port: Option<u16>,
    /// TCP port of the beacon near it
    #[arg(long, value_name = "PORT")]
    pub beacon_tcp_port: Option<u16>,
    /// What game servers are told of its CPU [default: 3000]
    #[arg(long, value_name = "MHZ")]
    pub base_clock_mhz: Option<u32>,
    /// baseline or restricted [default: baseline]
    #[arg(long)]
    pub security: Option<String>,
}

/// Private fleets.
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// List private fleets with their hosts
    List,
    /// Create a private fleet beside those of the configuration
    Create {
        /// Its name
        fleet: String,
        /// Where its hosts are meant to stand, degrees north [default: where the first one stands]
        #[arg(long, requires = "longitude", allow_negative_numbers = true)]
        latitude: Option<f64>,
        /// Degrees east
        #[arg(long, requires = "latitude", allow_negative_numbers = true)]
        longitude: Option<f64>,
        /// How far around it
        #[arg(long, requires = "latitude")]
        radius_km: Option<f64>,
        /// What that place is called [default: as the fleet]
        #[arg(long, requires = "latitude")]
        label: Option<String>,
        /// How many hosts are wanted there [default: as many as there are]
        #[arg(long, requires = "latitude")]
        desired_hosts: Option<u32>,
    },
    /// Delete a private fleet that was created so, once it has no hosts
    Delete {
        /// Its name
        fleet: String,
    },
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScopeArg {
    /// Look at everything
    Read,
    /// Deploy and stop as well
    Deploy,
    /// Change applications, versions and settings as well
    Admin,
}

impl From<ScopeArg> for Scope {
    fn from(scope: ScopeArg) -> Self {
        match scope {
            ScopeArg::Read => Self::Read,
            ScopeArg::Deploy => Self::Deploy,
            ScopeArg::Admin => Self::Admin,
        }
    }
}

/// Reads an address with a port that a beacon may have.
fn parse_beacon(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().ok().filter(|at: &SocketAddr| (1..=BEACON_PORT_MAX).contains(&at.port()));
    address
        .ok_or_else(|| format!("must be an address and a port from 1 to {BEACON_PORT_MAX}, as 0.0.0.0:8090"))
}

/// Reads `90m`, `12h`, `30d`.
///
/// # Errors
/// What is allowed.
pub fn parse_lifetime(text: &str) -> Result<std::time::Duration, String> {
    let allowed = || format!("{text:?} must be a number with m, h or d, as 30d");
    let unit = match text.chars().last() {
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86400,
        _ => return Err(allowed()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| allowed())?;
    if count == 0 || count > 100_000 {
        return Err(allowed());
    }
    Ok(std::time::Duration::from_secs(count * unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_lifetime_is_a_number_with_a_unit() {
        assert_eq!(parse_lifetime("90m").unwrap().as_secs(), 5400);
        assert_eq!(parse_lifetime("30d").unwrap().as_secs(), 2_592_000);
        for bad in ["", "d", "0h", "-1d", "10", "1.5h", "999999999d", "1é"] {
            assert!(parse_lifetime(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn common_options_may_stand_before_or_after_the_command() {
        let before = Cli::try_parse_from(["spawnpoint", "--data-dir", "/x", "audit"]).unwrap();
        let after = Cli::try_parse_from(["spawnpoint", "audit", "--data-dir", "/x"]).unwrap();
        assert_eq!(before.common.data_dir, after.common.data_dir);
    }
}
