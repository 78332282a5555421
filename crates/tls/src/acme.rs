//! Certificates of an authority that speaks ACME (RFC 8555), proven by TXT records (DNS-01).
//!
//! What it is for: one order, from the account to the chain, and when the next one is due ([`schedule`]).
//!
//! What it must not know: where things are kept and who answers DNS. That is the business of a [`Journal`].
//!
//! ```text
//! account ─▶ key and order ─▶ TXT values ─▶ validated ─▶ finalized with that key ─▶ chain
//! (noted)    (noted)          (noted)
//! ```
//!
//! What is noted is durable before the next step is taken, so that an order which was cut short goes on where it stood
//! ([`Task::pending`]): whoever is killed in between does not leave a second certificate behind.
//!
//! Entry point: [`AcmeServer::obtain`].

mod http;
pub mod schedule;

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeStatus, ChallengeType, Error,
    ExternalAccountKey, Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tokio::time::Instant;

use self::http::Http;
use crate::identity::{CertificateFault, Issued};

/// For the authority to check TXT records, and again to sign.
const POLLING: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(60));
/// Characters of a fault's text: what an authority writes is shown, but not at any length.
const TEXT_MAX: usize = 600;
/// The label below each name at which the authority looks.
pub const CHALLENGE_LABEL: &str = "_acme-challenge";

/// An authority's server.
pub struct AcmeServer {
    directory: String,
    applicant: Applicant,
    http: Http,
}

/// Who asks it for certificates.
#[derive(Default)]
pub struct Applicant {
    /// How the authority may reach its people, as `mailto:…`.
    pub contact: Vec<String>,
    /// The account that they have with it already.
    pub binding: Option<Binding>,
}

/// An account at the authority that does not come of ACME (external account binding).
pub struct Binding {
    /// Its name.
    pub kid: String,
    /// The secret shared with the authority.
    pub key: Vec<u8>,
}

/// What is to be got, and what was noted on an earlier way to it.
pub struct Task {
    /// Names, with `*.` before the rest of them or not.
    pub names: Vec<String>,
    /// The account, as it was noted; `None` = there is none yet.
    pub account: Option<String>,
    /// The order that was cut short.
    pub pending: Option<Pending>,
    /// Now, in seconds since 1970.
    pub now: u64,
}

/// An order that was noted.
pub struct Pending {
    /// Its address.
    pub url: String,
    /// The key for its certificate: a secret.
    pub key_pem: String,
}

/// What came of it.
pub struct Obtained {
    /// The certificate and what leads from it to its authority.
    pub chain_pem: String,
    /// Its key: a secret.
    pub key_pem: String,
    /// Both, ready to be shown.
    pub issued: Issued,
}

/// Keeps what must not be lost. What cannot be kept ends the order, with a sentence.
#[async_trait]
pub trait Journal: Send + Sync {
    /// There is an account. It holds a key: a secret.
    async fn account(&self, account: &str) -> Result<(), String>;
    /// There is an order.
    async fn ordered(&self, pending: &Pending) -> Result<(), String>;
    /// The values that the TXT records below [`CHALLENGE_LABEL`] have to show from now on.
    async fn texts(&self, values: &[String]) -> Result<(), String>;
}

/// What is worth keeping of what was noted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// Everything: the same may do later.
    Again,
    /// The account: the order has failed.
    NewOrder,
    /// Nothing: the authority does not know the account.
    NewAccount,
}

/// Why there is no certificate.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct AcmeFault {
    /// A sentence; it may quote the authority.
    pub text: String,
    /// What is worth keeping.
    pub remedy: Remedy,
    /// The authority wants to be left alone for so long.
    pub retry_after: Option<Duration>,
}

impl AcmeFault {
    /// One line of it, at most so long.
    pub fn new(remedy: Remedy, text: impl Into<String>) -> Self {
        let text: String = text.into();
        // Whatever a stranger's server says, it comes in one line of bounded length.
        let text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX).collect();
        Self { text, remedy, retry_after: None }
    }
}

impl From<CertificateFault> for AcmeFault {
    fn from(CertificateFault(text): CertificateFault) -> Self {
        Self::new(Remedy::NewOrder, format!("the certificate cannot be used: {text}"))
    }
}

type Outcome<T> = Result<T, AcmeFault>;

impl AcmeServer {
    /// The server with its directory at this address. `ca` is a file with the certificates that it may be signed by, in
    /// place of those of this machine.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn at(directory: &str, ca: Option<&Path>, applicant: Applicant) -> Result<Self, CertificateFault> {
        Ok(Self { directory: directory.to_owned(), applicant, http: Http::trusting(ca)? })
    }

    /// Gets a certificate. It takes a minute or two at most; dropping it is like being killed: the task goes on another time.
    ///
    /// # Errors
    /// There is none now.
    pub async fn obtain(&self, task: &Task, journal: &dyn Journal) -> Outcome<Obtained> {
        self.http.forget();
        let outcome = Box::pin(self.try_obtain(task, journal)).await;
        outcome.map_err(|fault| {
            let wish = self.http.retry_after(task.now);
            AcmeFault { retry_after: fault.retry_after.max(wish), ..fault }
        })
    }

    async fn try_obtain(&self, task: &Task, journal: &dyn Journal) -> Outcome<Obtained> {
        let account = self.account(task, journal).await?;
        let (mut order, key_pem) = self.order(&account, task, journal).await?;
        if order.state().status == OrderStatus::Pending {
            validate(&mut order, journal).await?;
        }
        if order.state().status == OrderStatus::Ready {
            let request = signing_request(&task.names, &key_pem)?;
            order.finalize_csr(&request).await.map_err(|err| fault("the order was not taken", err))?;
        }
        if order.state().status == OrderStatus::Invalid {
            return Err(refused(&mut order).await);
        }
        let polled = order.poll_certificate(&POLLING).await;
        let chain_pem = polled.map_err(|err| fault("there is no certificate", err))?;
        let issued = Issued::from_pem(&chain_pem, &key_pem)?;
        Ok(Obtained { chain_pem, key_pem, issued })
    }

    /// The account that was noted, or a new one.
    async fn account(&self, task: &Task, journal: &dyn Journal) -> Outcome<Account> {
        let failed = |err| fault(&format!("{} gives no account", self.directory), err);
        let builder = Account::builder_with_http(Box::new(self.http.clone()));
        if let Some(noted) = &task.account {
            let credentials: AccountCredentials = serde_json::from_str(noted).map_err(|_| {
                AcmeFault::new(Remedy::NewAccount, "the account that was noted cannot be read")
            })?;
            return builder.from_credentials(credentials).await.map_err(failed);
        }
        let contact: Vec<&str> = self.applicant.contact.iter().map(String::as_str).collect();
        let wanted =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let binding = self.applicant.binding.as_ref();
        let binding = binding.map(|binding| ExternalAccountKey::new(binding.kid.clone(), &binding.key));
        let made = builder.create(&wanted, self.directory.clone(), binding.as_ref()).await;
        let (account, credentials) = made.map_err(failed)?;
        let text = serde_json::to_string(&credentials).map_err(|err| failed(err.into()))?;
        journal.account(&text).await.map_err(not_kept)?;
        Ok(account)
    }

    /// The order that was noted, or a new one; and the key for it.
    async fn order(&self, account: &Account, task: &Task, journal: &dyn Journal) -> Outcome<(Order, String)> {
        if let Some(Pending { url, key_pem }) = &task.pending {
            let order = account.order(url.clone()).await;
            return Ok((order.map_err(|err| fault("the order is not known", err))?, key_pem.clone()));
        }
        let key = KeyPair::generate().map_err(no_request)?.serialize_pem();
        let names: Vec<Identifier> = task.names.iter().cloned().map(Identifier::Dns).collect();
        let ordered = account.new_order(&NewOrder::new(&names)).await;
        let order = ordered.map_err(|err| fault("nothing can be ordered", err))?;
        let pending = Pending { url: order.url().to_owned(), key_pem: key };
        journal.ordered(&pending).await.map_err(not_kept)?;
        Ok((order, pending.key_pem))
    }
}

/// Shows the values that are asked for, has them looked at, and waits for what is said of them.
async fn validate(order: &mut Order, journal: &dyn Journal) -> Outcome<()> {
    let failed = |err| fault("the names cannot be proven", err);
    let mut values = Vec::new();
    let mut all = order.authorizations();
    while let Some(authorization) = all.next().await {
        let mut authorization = authorization.map_err(failed)?;
        if authorization.status == AuthorizationStatus::Pending {
            let challenge = authorization.challenge(ChallengeType::Dns01);
            let challenge = challenge
                .ok_or_else(|| AcmeFault::new(Remedy::NewOrder, "the authority does not take DNS-01"))?;
            values.push(challenge.key_authorization().dns_value());
        }
    }
    journal.texts(&values).await.map_err(not_kept)?;
    let mut all = order.authorizations();
    while let Some(authorization) = all.next().await {
        let mut authorization = authorization.map_err(failed)?;
        if authorization.status == AuthorizationStatus::Pending
            && let Some(mut challenge) = authorization.challenge(ChallengeType::Dns01)
            // One that was cut short may have been told already, and is not to be told twice.
            && challenge.status == ChallengeStatus::Pending
        {
            challenge.set_ready().await.map_err(failed)?;
        }
    }
    match order.poll_ready(&POLLING).await.map_err(failed)? {
        OrderStatus::Invalid => Err(refused(order).await),
        _ => Ok(()),
    }
}

/// Why an order is invalid: the authority says it at the challenge.
async fn refused(order: &mut Order) -> AcmeFault {
    let mut said = order.state().error.as_ref().map(Problem::to_string);
    let mut all = order.authorizations();
    while said.is_none()
        && let Some(Ok(mut authorization)) = all.next().await
    {
        // What is in hand is from before it was looked at.
        if authorization.refresh().await.is_ok() {
            said = authorization.challenges.iter().find_map(|one| one.error.as_ref()).map(Problem::to_string);
        }
    }
    let said = said.unwrap_or_else(|| "the authority does not say why".to_owned());
    AcmeFault::new(Remedy::NewOrder, format!("the names were not proven: {said}"))
}

/// What is to be signed: names and the public half of the key.
fn signing_request(names: &[String], key_pem: &str) -> Outcome<Vec<u8>> {
    // What it says may quote the key.
    let key = KeyPair::from_pem(key_pem);
    let key = key.map_err(|_| AcmeFault::new(Remedy::NewOrder, "the key that was noted cannot be read"))?;
    let mut params = CertificateParams::new(names).map_err(no_request)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key).map_err(no_request)?.der().to_vec())
}

fn no_request(err: rcgen::Error) -> AcmeFault {
    AcmeFault::new(Remedy::NewOrder, format!("no request can be made: {err}"))
}

fn not_kept(text: String) -> AcmeFault {
    AcmeFault::new(Remedy::Again, text)
}

/// What failed, why, and what of it may be tried again.
fn fault(what: &str, err: Error) -> AcmeFault {
    let remedy = remedy(&err);
    let mut text = format!("{what}: {err}");
    // Libraries hide the reason behind what they were doing.
    let mut cause = err.source();
    while let Some(err) = cause {
        text = format!("{text}: {err}");
        cause = err.source();
    }
    let retry_after = match err {
        // It was asked for less often than there was time for.
        Error::Timeout(Some(next)) => Some(next.saturating_duration_since(Instant::now().into_std())),
        _ => None,
    };
    AcmeFault { retry_after, ..AcmeFault::new(remedy, text) }
}

/// What is left to do after an error.
fn remedy(err: &Error) -> Remedy {
    let Error::Api(problem) = err else {
        return if matches!(err, Error::Str("invalid order state")) {
            Remedy::NewOrder
        } else {
            Remedy::Again
        };
    };
    let kind = problem.r#type.as_deref().unwrap_or_default();
    match kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or_default() {
        "accountDoesNotExist" => Remedy::NewAccount,
        "badNonce" | "rateLimited" | "serverInternal" | "userActionRequired" => Remedy::Again,
        _ => Remedy::NewOrder,
    }
}

#[cfg(test)]
mod tests;
