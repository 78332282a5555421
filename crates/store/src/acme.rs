//! `acme_accounts`, `acme_certificates`: certificates that an authority signs, and the orders for them.
//!
//! A row of `acme_certificates` is written by compare-and-swap on its generation: of several control planes that find an
//! order due, one gets the lease, and one that lost it in the meantime writes nothing any more.

use spawnpoint_model::{Sealed, Timestamp};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// Values that are shown at a time, at most, over all rows.
pub const TEXTS_MAX: usize = 8;
/// Rows that are looked at for them: one is in use, others are from before the configuration was changed.
const TEXT_ROWS_MAX: u32 = 4;

/// A certificate, and what is under way for the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeCertificate {
    /// The authority.
    pub directory: String,
    /// The names it is for.
    pub names: String,
    /// Counts the writes.
    pub generation: i64,
    /// What is shown; `None` = there never was one.
    pub chain: Option<AcmeChain>,
    /// The order under way, or cut short.
    pub order: Option<AcmeOrder>,
    /// What TXT records have to say for it.
    pub texts: Vec<String>,
    /// Until when nobody else goes on with it.
    pub lease_until: Option<Timestamp>,
    /// When the next order is due.
    pub next_at: Timestamp,
    /// Tries since the last success.
    pub attempts: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// When the row was written.
    pub updated_at: Timestamp,
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeChain {
    /// The certificate, and what leads to its authority: PEM.
    pub pem: String,
    /// Its key.
    pub key: Sealed,
    /// From when it is good.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeOrder {
    /// Its address at the authority.
    pub url: String,
    /// The key for its certificate.
    pub key: Sealed,
}

impl Tx {
    /// Makes the row of a certificate unless it is there; an order is due at once.
    pub fn see_acme_certificate(&mut self, directory: &str, names: &str, now: Timestamp) {
        let sql = "insert into acme_certificates (directory, names, generation, texts, next_at, attempts, updated_at) \
                   values ($1, $2, 0, '[]', $3, 0, $3) on conflict (directory, names) do nothing";
        self.run(sql, args![directory, names, now]);
    }

    /// Writes the row as it is to be; [`Conflict::Outdated`] if somebody has written it since it was read. Its generation
    /// in the database is one more afterwards.
    pub fn save_acme_certificate(&mut self, row: &AcmeCertificate, now: Timestamp) {
        let sql = "update acme_certificates set generation = generation + 1, chain = $4, chain_key = $5, not_before = $6, \
                   not_after = $7, order_url = $8, order_key = $9, texts = $10, lease_until = $11, next_at = $12, \
                   attempts = $13, last_error = $14, updated_at = $15 \
                   where directory = $1 and names = $2 and generation = $3";
        let (chain, order) = (row.chain.as_ref(), row.order.as_ref());
        let texts = self.json(&row.texts);
        let args = args![
            row.directory.as_str(),
            row.names.as_str(),
            row.generation,
            chain.map(|chain| chain.pem.as_str()),
            chain.map(|chain| &chain.key),
            chain.map(|chain| chain.not_before),
            chain.map(|chain| chain.not_after),
            order.map(|order| order.url.as_str()),
            order.map(|order| &order.key),
            texts,
            row.lease_until,
            row.next_at,
            row.attempts,
            row.last_error.as_deref(),
            now,
        ];
        let refused = Conflict::Outdated { what: "certificate", key: row.names.clone() };
        self.must(sql, args, refused);
    }

    /// Forgets certificates that nobody has ordered since `before`.
    pub fn purge_acme_certificates(&mut self, before: Timestamp) {
        self.run("delete from acme_certificates where updated_at < $1", args![before]);
    }

    /// Keeps the account with an authority, in place of an earlier one.
    pub fn put_acme_account(&mut self, directory: &str, credentials: &Sealed, now: Timestamp) {
        let sql = "insert into acme_accounts (directory, credentials, created_at) values ($1, $2, $3) \
                   on conflict (directory) do update set credentials = excluded.credentials, \
                   created_at = excluded.created_at";
        self.run(sql, args![directory, credentials, now]);
    }

    /// Forgets the account with an authority, unless it is another one by now.
    pub fn forget_acme_account(&mut self, directory: &str, credentials: &Sealed) {
        let sql = "delete from acme_accounts where directory = $1 and credentials = $2";
        self.run(sql, args![directory, credentials]);
    }
}

impl Store {
    /// The row of a certificate.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_acme_certificate(
        &self,
        directory: &str,
        names: &str,
    ) -> Result<Option<AcmeCertificate>, StoreError> {
        let sql = "select directory, names, generation, chain, chain_key, not_before, not_after, order_url, order_key, \
                   texts, lease_until, next_at, attempts, last_error, updated_at \
                   from acme_certificates where directory = $1 and names = $2";
        self.first(Query::new(sql, args![directory, names]), certificate).await
    }

    /// The account with an authority.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_acme_account(&self, directory: &str) -> Result<Option<Sealed>, StoreError> {
        let sql = "select credentials from acme_accounts where directory = $1";
        self.first(Query::new(sql, args![directory]), |row| Ok(Sealed(row.text(0)?.to_owned()))).await
    }

    /// What TXT records have to say now, for any order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn acme_texts(&self) -> Result<Vec<String>, StoreError> {
        let sql = "select texts from acme_certificates where texts <> '[]' order by updated_at desc limit $1";
        let rows = self.all(Query::new(sql, args![TEXT_ROWS_MAX]), |row| row.json::<Vec<String>>(0)).await?;
        Ok(rows.into_iter().flatten().take(TEXTS_MAX).collect())
    }
}

fn certificate(row: &Row) -> Result<AcmeCertificate, StoreError> {
    let sealed = |column| Ok::<_, StoreError>(row.opt_text(column)?.map(|text| Sealed(text.to_owned())));
    let chain = match (row.opt_text(3)?, sealed(4)?, row.opt_time(5)?, row.opt_time(6)?) {
        (Some(pem), Some(key), Some(not_before), Some(not_after)) => {
            Some(AcmeChain { pem: pem.to_owned(), key, not_before, not_after })
        }
        _ => None,
    };
    let order = row.opt_text(7)?.map(str::to_owned).zip(sealed(8)?);
    Ok(AcmeCertificate {
        directory: row.text(0)?.to_owned(),
        names: row.text(1)?.to_owned(),
        generation: row.int(2)?,
        chain,
        order: order.map(|(url, key)| AcmeOrder { url, key }),
        texts: row.json(9)?,
        lease_until: row.opt_time(10)?,
        next_at: row.time(11)?,
        attempts: row.number(12)?,
        last_error: row.opt_text(13)?.map(str::to_owned),
        updated_at: row.time(14)?,
    })
}
