//! The certificate that is got by ACME: who orders it, when, and what is shown meanwhile.
//!
//! What it is for: a certificate for `*.<domain>` that every client trusts, without anything but this binary: the authority
//! asks our own name server whether the domain is ours.
//!
//! ```text
//!  every few seconds, in every control plane:
//!    read the row ──▶ another certificate than is held? hold it
//!         │
//!         └─ due, and nobody's lease on it ──▶ take the lease ──▶ order ──▶ the certificate, the next time
//!                                                  │  each step is noted in the row
//!                                                  └──▶ or why not, and when again
//! ```
//!
//! - The row is written by compare-and-swap: of several control planes one orders. It has a lease, which outlasts the
//!   longest order; another goes on with the order once it has run out. Nobody shares an SQLite file: there it is nobody's.
//! - The time of the next try is written **before** the authority is asked anything. So neither an authority that answers
//!   nonsense nor a process that is killed again and again makes more than a few orders.
//! - What was noted outlives a `kill -9`: the same order goes on, with the same key, and gives one certificate.

pub mod status;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::RwLock;
use spawnpoint_engine::{Clock as _, Entropy, SystemClock};
use spawnpoint_model::{Plaintext, Timestamp};
use spawnpoint_store::{AcmeCertificate, AcmeChain, AcmeOrder, Store, StoreError, Tx, Vault};
use spawnpoint_tls::Issued;
use spawnpoint_tls::acme::{
    AcmeFault, AcmeServer, Applicant, Binding, Journal, Obtained, Pending, Remedy, Task, schedule,
};
use tokio::sync::{Mutex, Notify};

use crate::config::{self, Config};
use crate::failure::Failure;
use crate::keys;
use crate::opened::Opened;

/// Between two looks at the row.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two looks, at least.
const LOOK_SOONEST: Duration = Duration::from_millis(100);
/// For one order.
const ORDER_PATIENCE: Duration = Duration::from_secs(180);
/// For which nobody else goes on with an order: longer than it may take.
const LEASE: Duration = Duration::from_secs(300);
/// Tries up to which one that was cut short goes on at once; later ones wait as if they had failed.
const RESUMED_MAX: u32 = 5;
/// Certificates under other names or of other authorities are forgotten after so long: none is good for longer.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(400 * 24 * 3600);
/// What the two secrets are sealed for.
const ACCOUNT: &str = "acme account";
const KEY: &str = "acme key";

/// The certificate that is held now. Clones share it.
#[derive(Clone, Default)]
pub struct Held {
    now: Arc<RwLock<(u64, Option<Issued>)>>,
    changed: Arc<Notify>,
}

impl Held {
    /// The certificate, if it is good at `now` (seconds since 1970), with a number that changes with it.
    #[must_use]
    pub fn good_at(&self, now: u64) -> Option<(u64, Issued)> {
        let (number, issued) = self.now.read().clone();
        issued.filter(|issued| issued.not_after > now).map(|issued| (number, issued))
    }

    /// Waits until it changes.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn hold(&self, issued: Issued) {
        let mut now = self.now.write();
        *now = (now.0 + 1, Some(issued));
        drop(now);
        self.changed.notify_one();
    }
}

/// Keeps the certificate good.
pub struct Keeper {
    server: AcmeServer,
    directory: String,
    names: Vec<String>,
    first_retry: Duration,
    store: Store,
    vault: Arc<Vault>,
    clock: Arc<SystemClock>,
    entropy: Arc<Entropy>,
    held: Held,
    /// The text of what is held, or of what cannot be.
    seen: Mutex<Option<String>>,
}

impl Keeper {
    /// Reads what is there already.
    ///
    /// # Errors
    /// A file of the configuration cannot be used, or the database.
    pub async fn open(config: &Config, acme: &config::Acme, opened: &Opened) -> Result<Self, Failure> {
        let ca = acme.ca.as_deref();
        let directory = acme.directory.as_ref().map(|url| url.as_str().to_owned()).unwrap_or_default();
        let applicant = Applicant { contact: acme.contact.clone(), binding: binding(acme)? };
        let server = AcmeServer::at(&directory, ca, applicant)
            .map_err(|err| Failure::misused(format!("tls.acme.ca: {err}")))?;
        let keeper = Self {
            server,
            directory,
            names: acme.all_names(&config.domain.suffix),
            first_retry: Duration::from_secs(acme.retry_seconds.into()),
            store: opened.store.clone(),
            vault: opened.vault.clone(),
            clock: opened.clock.clone(),
            entropy: opened.entropy.clone(),
            held: Held::default(),
            seen: Mutex::default(),
        };
        let row = keeper.row().await?;
        keeper.show(&row).await;
        Ok(keeper)
    }

    /// What it holds, for those who show it.
    #[must_use]
    pub fn held(&self) -> Held {
        self.held.clone()
    }

    /// Keeps it good, until it is dropped.
    pub async fn run(&self) {
        let mut troubled = false;
        loop {
            let wait = match Box::pin(self.look()).await {
                Ok(wait) => {
                    troubled = false;
                    wait
                }
                Err(error) => {
                    if !troubled {
                        tracing::warn!(%error, "the certificate's row cannot be used now");
                    }
                    troubled = true;
                    LOOK_EVERY
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// One look at the row, and what is to be done about it; how long to wait then.
    async fn look(&self) -> Result<Duration, StoreError> {
        let row = self.row().await?;
        self.show(&row).await;
        let now = self.clock.now();
        let is_shared = self.store.dialect().is_shared();
        if !is_due(&row, now, is_shared) {
            let wait = row.next_at.since(now);
            return Ok(if wait.is_zero() { LOOK_EVERY } else { wait.clamp(LOOK_SOONEST, LOOK_EVERY) });
        }
        if let Some(row) = self.claim(row, now).await? {
            self.order(row).await?;
        }
        Ok(LOOK_SOONEST)
    }

    /// The row, which is made if it is not there.
    async fn row(&self) -> Result<AcmeCertificate, StoreError> {
        let names = self.names.join(",");
        if let Some(row) = self.store.find_acme_certificate(&self.directory, &names).await? {
            return Ok(row);
        }
        let mut tx = Tx::new();
        tx.see_acme_certificate(&self.directory, &names, self.clock.now());
        self.store.commit(tx).await?;
        let row = self.store.find_acme_certificate(&self.directory, &names).await?;
        row.ok_or_else(|| StoreError::Unavailable("a row that was made is not there".into()))
    }

    /// Holds the row's certificate, if it is another one.
    async fn show(&self, row: &AcmeCertificate) {
        let Some(chain) = &row.chain else { return };
        let mut seen = self.seen.lock().await;
        if seen.as_ref() == Some(&chain.pem) {
            return;
        }
        *seen = Some(chain.pem.clone());
        let key = self.vault.open(&chain.key, KEY).map_err(|err| err.to_string());
        let read =
            key.and_then(|key| Issued::from_pem(&chain.pem, key.reveal()).map_err(|err| err.to_string()));
        match read {
            Ok(issued) => {
                tracing::info!(names = %row.names, days = days_left(&issued, self.clock.now()), "a certificate by ACME is held");
                self.held.hold(issued);
            }
            Err(error) => {
                tracing::error!(%error, names = %row.names, "the certificate in the database cannot be used")
            }
        }
    }

    /// Takes the lease; `None` = somebody else was faster.
    async fn claim(
        &self,
        row: AcmeCertificate,
        now: Timestamp,
    ) -> Result<Option<AcmeCertificate>, StoreError> {
        let attempts = row.attempts.saturating_add(1);
        let wait = schedule::retry_in(self.first_retry, attempts, None, self.entropy.u64());
        let mut row =
            AcmeCertificate { attempts, lease_until: Some(now.plus(LEASE)), next_at: now.plus(wait), ..row };
        Ok(self.save(&mut row, Tx::new()).await?.then_some(row))
    }

    /// Writes the row, and what else goes with it; `false` = somebody else has written it.
    async fn save(&self, row: &mut AcmeCertificate, mut tx: Tx) -> Result<bool, StoreError> {
        tx.save_acme_certificate(row, self.clock.now());
        match self.store.commit(tx).await {
            Ok(()) => {
                row.generation += 1;
                Ok(true)
            }
            Err(err) if err.conflict().is_some() => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Orders, or goes on with the order of the row.
    async fn order(&self, mut row: AcmeCertificate) -> Result<(), StoreError> {
        let (attempt, goes_on) = (row.attempts, row.order.is_some());
        tracing::info!(directory = %self.directory, names = %row.names, attempt, goes_on, "a certificate is ordered");
        let account = self.store.find_acme_account(&self.directory).await?;
        let task = Task {
            names: self.names.clone(),
            // What does not open is as good as nothing: there will be another one.
            account: account.as_ref().and_then(|sealed| self.reveal(sealed, ACCOUNT)),
            pending: row.order.as_ref().and_then(|order| {
                Some(Pending { url: order.url.clone(), key_pem: self.reveal(&order.key, KEY)? })
            }),
            now: seconds(self.clock.now()),
        };
        let ordered = {
            let notes = Notes { keeper: self, row: Mutex::new(&mut row) };
            tokio::time::timeout(ORDER_PATIENCE, self.server.obtain(&task, &notes)).await
        };
        let slow = || format!("the authority took longer than {} s", ORDER_PATIENCE.as_secs());
        match ordered.unwrap_or_else(|_| Err(AcmeFault::new(Remedy::Again, slow()))) {
            Ok(obtained) => self.succeed(row, obtained).await,
            Err(fault) => {
                let mut tx = Tx::new();
                if let (Remedy::NewAccount, Some(sealed)) = (fault.remedy, &account) {
                    tx.forget_acme_account(&self.directory, sealed);
                }
                self.fail(row, fault, tx).await
            }
        }
    }

    async fn succeed(&self, row: AcmeCertificate, obtained: Obtained) -> Result<(), StoreError> {
        let (now, issued) = (self.clock.now(), obtained.issued);
        let at = |seconds: u64| Timestamp(0).plus(Duration::from_secs(seconds));
        let renewal = at(schedule::renew_at(issued.not_before, issued.not_after, self.entropy.u64()));
        let mut row = AcmeCertificate {
            chain: Some(AcmeChain {
                pem: obtained.chain_pem,
                key: self.vault.seal(&Plaintext::new(obtained.key_pem), KEY)?,
                not_before: at(issued.not_before),
                not_after: at(issued.not_after),
            }),
            order: None,
            texts: Vec::new(),
            lease_until: None,
            // An authority may sign for a moment only, or for none: it is left alone all the same.
            next_at: renewal.max(now.plus(self.first_retry)),
            attempts: 0,
            last_error: None,
            ..row
        };
        let mut tx = Tx::new();
        tx.purge_acme_certificates(Timestamp(now.micros() - micros(FORGOTTEN_AFTER)));
        if self.save(&mut row, tx).await? {
            tracing::info!(names = %row.names, "a certificate was issued");
            self.show(&row).await;
        }
        Ok(())
    }

    async fn fail(&self, row: AcmeCertificate, fault: AcmeFault, tx: Tx) -> Result<(), StoreError> {
        let now = self.clock.now();
        let wait = schedule::retry_in(self.first_retry, row.attempts, fault.retry_after, self.entropy.u64());
        let keeps_order = fault.remedy == Remedy::Again;
        let mut row = AcmeCertificate {
            lease_until: None,
            next_at: now.plus(wait),
            last_error: Some(fault.text),
            order: row.order.filter(|_| keeps_order),
            // An order that is kept may be looked at by the authority at any time.
            texts: if keeps_order { row.texts } else { Vec::new() },
            ..row
        };
        if !self.save(&mut row, tx).await? {
            tracing::debug!("another control plane has taken the order over");
            return Ok(());
        }
        let days = self.held.good_at(seconds(now)).map(|(_, issued)| days_left(&issued, now));
        let error = row.last_error.as_deref().unwrap_or_default();
        let again = wait.as_secs();
        match days {
            Some(days) => {
                tracing::warn!(
                    error,
                    attempt = row.attempts,
                    again_in_seconds = again,
                    days_left = days,
                    "the certificate could not be renewed; the one before stays"
                );
            }
            None => {
                tracing::warn!(
                    error,
                    attempt = row.attempts,
                    again_in_seconds = again,
                    "no certificate could be had; one of the installation's own authority is shown"
                );
            }
        }
        Ok(())
    }

    fn reveal(&self, sealed: &spawnpoint_model::Sealed, purpose: &str) -> Option<String> {
        self.vault.open(sealed, purpose).ok().map(|secret| secret.reveal().to_owned())
    }
}

/// Notes the steps of an order in its row.
struct Notes<'a> {
    keeper: &'a Keeper,
    row: Mutex<&'a mut AcmeCertificate>,
}

impl Notes<'_> {
    async fn note(&self, tx: Tx, change: impl FnOnce(&mut AcmeCertificate) + Send) -> Result<(), String> {
        let mut row = self.row.lock().await;
        change(&mut row);
        match self.keeper.save(&mut row, tx).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("another control plane has taken the order over".into()),
            Err(error) => Err(format!("the order cannot be noted: {error}")),
        }
    }

    fn seal(&self, secret: &str, purpose: &str) -> Result<spawnpoint_model::Sealed, String> {
        self.keeper.vault.seal(&Plaintext::new(secret), purpose).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Journal for Notes<'_> {
    async fn account(&self, account: &str) -> Result<(), String> {
        let sealed = self.seal(account, ACCOUNT)?;
        let mut tx = Tx::new();
        tx.put_acme_account(&self.keeper.directory, &sealed, self.keeper.clock.now());
        self.note(tx, |_| {}).await
    }

    async fn ordered(&self, pending: &Pending) -> Result<(), String> {
        let order = AcmeOrder { url: pending.url.clone(), key: self.seal(&pending.key_pem, KEY)? };
        self.note(Tx::new(), |row| row.order = Some(order)).await
    }

    async fn texts(&self, values: &[String]) -> Result<(), String> {
        let values = values.to_vec();
        self.note(Tx::new(), |row| row.texts = values).await
    }
}

/// Whether something is to be done about the row now.
fn is_due(row: &AcmeCertificate, now: Timestamp, is_shared: bool) -> bool {
    if is_shared && row.lease_until.is_some_and(|until| until > now) {
        return false;
    }
    // Who had the lease did not come to an end.
    let was_cut_short = row.lease_until.is_some() && row.attempts <= RESUMED_MAX;
    was_cut_short || row.next_at <= now
}

/// The account that the operator has with the authority already.
fn binding(acme: &config::Acme) -> Result<Option<Binding>, Failure> {
    let Some(eab) = &acme.eab else { return Ok(None) };
    let fault = |text: String| Failure::misused(format!("tls.acme.eab: {}: {text}", eab.key_file.display()));
    let secret = keys::read_secret(&eab.key_file).map_err(fault)?;
    let key = BASE64_URL_SAFE_NO_PAD.decode(secret.reveal().trim_end_matches('='));
    let key = key.ok().filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| fault("must hold the key in base64url, nothing else".into()))?;
    Ok(Some(Binding { kid: eab.kid.clone(), key }))
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.micros() / 1_000_000).unwrap_or_default()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn days_left(issued: &Issued, now: Timestamp) -> u64 {
    issued.not_after.saturating_sub(seconds(now)) / (24 * 3600)
}

#[cfg(test)]
mod tests;
