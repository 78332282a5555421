//! `spawnpoint ca status`: which certificate TLS ports show, until when, and how it stands with the next one.

use std::time::Duration;

use spawnpoint_api::dates::V2Date;
use spawnpoint_engine::Clock as _;
use spawnpoint_model::Timestamp;
use spawnpoint_store::AcmeCertificate;
use spawnpoint_tls::Issued;

use crate::config::{Acme, CertificateFiles, Config};
use crate::console::print;
use crate::failure::Failure;
use crate::opened::{Mode, Opened};

/// What is left of a certificate's life when its renewal is long overdue: a sixth.
const OVERDUE: u32 = 6;

/// Prints it; `false` if there is no certificate that is good, or not for long.
///
/// # Errors
/// The installation cannot be read.
pub async fn status(config: &Config) -> Result<bool, Failure> {
    match (&config.tls.acme, config.tls.files()) {
        (Some(acme), _) => by_acme(config, acme).await,
        (None, Some(files)) => of_files(&files),
        (None, None) => {
            row("source", "the installation's own authority; see `spawnpoint ca print`");
            Ok(true)
        }
    }
}

async fn by_acme(config: &Config, acme: &Acme) -> Result<bool, Failure> {
    let opened = Opened::open(config, Mode::Look).await?;
    let directory = acme.directory.as_ref().map(|url| url.as_str()).unwrap_or_default();
    let names = acme.all_names(&config.domain.suffix);
    row("source", &format!("ACME, {directory}"));
    row("names", &names.join(", "));
    let now = opened.clock.now();
    let Some(found) = opened.store.find_acme_certificate(directory, &names.join(",")).await? else {
        row("certificate", "none yet: no server has run with this configuration");
        return Ok(false);
    };
    let good = match &found.chain {
        None => {
            row("certificate", "none yet; one of the installation's own authority is shown");
            false
        }
        Some(chain) => {
            row("issued", &V2Date(chain.not_before).to_string());
            expiry(chain.not_before, chain.not_after, now)
        }
    };
    tell_next(&found, now);
    Ok(good)
}

fn tell_next(found: &AcmeCertificate, now: Timestamp) {
    let at = V2Date(found.next_at).to_string();
    match (found.lease_until, found.attempts) {
        (Some(until), _) if until > now => row("next", "an order is under way"),
        (_, 0) => row("next", &format!("ordered from {at} on")),
        (_, attempts) => row("next", &format!("ordered again from {at} on; failed tries: {attempts}")),
    }
    if let Some(error) = &found.last_error {
        row("last error", error);
    }
}

fn of_files(files: &CertificateFiles) -> Result<bool, Failure> {
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path).map_err(|err| Failure::new(format!("{}: {err}", path.display())))
    };
    row("source", &files.certificate.display().to_string());
    let issued = Issued::from_pem(&read(&files.certificate)?, &read(&files.key)?);
    let issued = issued.map_err(|err| Failure::new(format!("{}: {err}", files.certificate.display())))?;
    let at = |seconds: u64| Timestamp(0).plus(Duration::from_secs(seconds));
    row("issued", &V2Date(at(issued.not_before)).to_string());
    Ok(expiry(at(issued.not_before), at(issued.not_after), spawnpoint_engine::SystemClock::new().now()))
}

/// Says until when it is good, and tells whether that is long enough.
fn expiry(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> bool {
    let left = not_after.since(now);
    let is_overdue = left.is_zero() || left < not_after.since(not_before) / OVERDUE;
    let days = left.as_secs() / (24 * 3600);
    let told = match (left.is_zero(), is_overdue) {
        (true, _) => "it is not good any more".to_owned(),
        (false, true) => format!("days left: {days}; its renewal is overdue"),
        (false, false) => format!("days left: {days}"),
    };
    row("expires", &format!("{} ({told})", V2Date(not_after)));
    !is_overdue
}

fn row(name: &str, text: &str) {
    print(&format!("{name:<12} {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_in_the_last_sixth_of_its_life_is_complained_about() {
        let at = |days: u64| Timestamp(0).plus(Duration::from_secs(days * 24 * 3600));
        let fine = |now| expiry(at(1000), at(1090), at(now));
        assert_eq!([1000, 1060, 1075, 1076, 1090, 2000].map(fine), [true, true, true, false, false, false]);
    }
}
