//! Spawnpoint, the binary: configuration, wiring, signals, sub-commands.
//!
//! What it is for: the one place that names concrete drivers and puts the rooms together.
//!
//! What it must not know: how anything works that the rooms do.
//!
//! Entry points: [`main`] reads the command line; [`server`] puts everything together; the other commands are a file each.

mod acme;
mod added_hosts;
mod beacon;
mod cli;
mod config;
mod console;
mod demo;
mod doctor;
mod embedded;
mod failure;
mod geoip;
mod hosts;
mod http;
mod inspect;
mod keys;
mod local;
mod logging;
mod manage;
mod names;
mod opened;
mod running;
mod serve;
mod server;
mod tls;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{CaCommand, Cli, Command, Common, ConfigCommand};
use config::{KernelPorts, Loaded, Log, LogLevel, Overrides, Variables};
use console::{count, note, print};
use embedded::{images, leftovers};
use failure::Failure;

fn main() -> ExitCode {
    // Before any thread: this process may be the embedded runtime's zygote, which forks.
    if let Some(code) = spawnpoint_driver_oci::zygote_main() {
        return code;
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command_line()),
        Err(err) => {
            note(&format!("error: no threads can be started: {err}"));
            ExitCode::FAILURE
        }
    }
}

async fn command_line() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    // Fails only if there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Box::pin(run(common, command)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            note(&format!("error: {failure}"));
            ExitCode::from(failure.code)
        }
    }
}

/// Carries the command out; `false` if it found something to complain about.
async fn run(common: Common, command: Command) -> Result<bool, Failure> {
    let variables = Variables::from_process();
    let load = |listen| -> Result<Loaded, Failure> {
        let overrides = Overrides { data_dir: common.data_dir.clone(), listen };
        let kernel = KernelPorts::of_this_machine();
        let loaded = config::load(common.config.as_deref(), &variables, &overrides, &kernel)?;
        logging::start(&loaded.config.log);
        loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(loaded)
    };
    match command {
        Command::Serve { listen } => serve::serve(&load(listen)?, &variables).await?,
        Command::Beacon { listen } => {
            logging::start(&Log::default());
            serve::beacon(listen).await?;
        }
        Command::Demo => {
            // The demo tells its own story; only what goes wrong is worth a line of log.
            logging::start(&Log { level: LogLevel::warnings(), ..Log::default() });
            Box::pin(demo::demo()).await?;
        }
        Command::Doctor => {
            logging::start(&Log { level: LogLevel::warnings(), ..Log::default() });
            return Ok(Box::pin(doctor::doctor()).await);
        }
        Command::Leftovers { remove, force } => {
            let run_dir = load(None)?.config.oci.run_dir;
            match remove {
                None => leftovers::list(&run_dir).await?,
                Some(id) => leftovers::remove(&run_dir, &id, force).await?,
            }
        }
        Command::Image(command) => Box::pin(images::command(&load(None)?.config, &command)).await?,
        Command::Audit => return manage::audit(&load(None)?, &variables).await,
        Command::Inspect { id, json } => inspect::inspect(&load(None)?, &variables, &id, json).await?,
        Command::Token(command) => manage::token(&load(None)?, &variables, &command).await?,
        Command::Webhook(command) => manage::webhook(&load(None)?, &variables, &command).await?,
        Command::Host(command) => return manage::hosts::host(&load(None)?, &variables, &command).await,
        Command::Ca(CaCommand::Print) => {
            print(tls::authority(&load(None)?.config)?.certificate_pem().trim_end())
        }
        Command::Fleet(command) => manage::fleets::fleet(&load(None)?, &variables, &command).await?,
        Command::Ca(CaCommand::Status) => return acme::status::status(&load(None)?.config).await,
        Command::Migrate => manage::migrate(&load(None)?).await?,
        Command::Config(ConfigCommand::Check) => describe(&load(None)?),
        Command::Config(ConfigCommand::PrintDefault) => print(config::DEFAULT_TEXT.trim_end()),
        Command::Version => print(concat!("spawnpoint ", env!("CARGO_PKG_VERSION"))),
    }
    Ok(true)
}

/// Says what a configuration comes to.
fn describe(loaded: &Loaded) {
    let (sites, hosts) = (loaded.plan.sites.len(), loaded.plan.hosts.len());
    print(&format!("the configuration is valid: {}, {}", count(sites, "site"), count(hosts, "host")));
    for host in &loaded.plan.hosts {
        let ports = &host.port_range;
        print(&format!(
            "  {} in {}: {}, ports {}-{} at {}",
            host.id,
            host.site.location.city,
            host.driver,
            ports.start(),
            ports.end(),
            host.public_address
        ));
    }
}
