//! `webhook_outbox`: the calls that are due, written in the transaction of the change that they announce. Its column
//! `deployment_id` names the subject: a deployment or a session.
//!
//! Order within a subject: a delivery waits for the earlier ones, until each of them has either arrived or failed
//! [`FAILURES_THAT_LET_PASS`] times.

use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::webhook::{Subject, WebhookEvent};
use spawnpoint_model::{Sealed, Timestamp};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// Failed tries after which later deliveries of the same deployment need not wait any more.
pub const FAILURES_THAT_LET_PASS: u32 = 3;

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// To be sent (again).
    Pending,
    /// Arrived.
    Delivered,
    /// Given up; can be replayed.
    Dead,
}

/// A call of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message's id; the same on each try.
    pub id: String,
    /// Whose webhook it is.
    pub subject: Subject,
    /// Its place among the subject's deliveries.
    pub seq: i64,
    /// What it announces.
    pub event: WebhookEvent,
    /// Where to, sealed.
    pub url: Sealed,
    /// What is sent, JSON.
    pub body: String,
    /// What became of it.
    pub state: DeliveryState,
    /// Tries so far.
    pub attempts: u32,
    /// Not tried again before.
    pub next_at: Timestamp,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it arrived.
    pub delivered_at: Option<Timestamp>,
}

/// What [`delivery`] decodes.
macro_rules! columns {
    () => {
        "o.id, o.deployment_id, o.seq, o.event, o.url, o.body, o.state, o.attempts, o.next_at, o.last_error, \
         o.created_at, o.delivered_at"
    };
}

/// The same of rows picked so. The table is called `o`.
macro_rules! select {
    ($rest:literal) => {
        concat!("select ", columns!(), " from webhook_outbox o ", $rest)
    };
}

/// True of a row before which nothing has to be sent.
macro_rules! is_next {
    () => {
        "not exists (select 1 from webhook_outbox e where e.deployment_id = o.deployment_id \
         and e.state = 'pending' and e.seq < o.seq and e.attempts < 3)"
    };
}

impl DeliveryState {
    /// The word in the column.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

impl Tx {
    /// Writes a delivery; [`Conflict::Exists`] if its id is in use.
    pub fn enqueue_webhook(&mut self, delivery: &Delivery) {
        let sql = "insert into webhook_outbox (id, deployment_id, seq, event, url, body, state, attempts, next_at, \
                   last_error, created_at, delivered_at) \
                   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        let args = args![
            delivery.id.as_str(),
            delivery.subject.to_string(),
            delivery.seq,
            delivery.event.as_str(),
            &delivery.url,
            delivery.body.as_str(),
            delivery.state.word(),
            delivery.attempts,
            delivery.next_at,
            delivery.last_error.as_deref(),
            delivery.created_at,
            delivery.delivered_at,
        ];
        self.must(sql, args, Conflict::Exists { what: "delivery", key: delivery.id.clone() });
    }

    /// It arrived.
    pub fn delivery_done(&mut self, id: &str, now: Timestamp) {
        let sql = "update webhook_outbox set state = 'delivered', attempts = attempts + 1, delivered_at = $2, \
                   last_error = null, lease_owner = null, lease_until = null where id = $1";
        self.run(sql, args![id, now]);
    }

    /// A try failed; `attempts` counts it.
    pub fn delivery_failed(&mut self, id: &str, attempts: u32, next_at: Timestamp, error: &str) {
        let sql = "update webhook_outbox set attempts = $2, next_at = $3, last_error = $4, lease_owner = null, \
                   lease_until = null where id = $1 and state = 'pending'";
        self.run(sql, args![id, attempts, next_at, error]);
    }

    /// The last try failed: kept as a dead letter.
    pub fn delivery_dead(&mut self, id: &str, error: &str, now: Timestamp) {
        let sql = "update webhook_outbox set state = 'dead', attempts = attempts + 1, next_at = $3, last_error = $2, \
                   lease_owner = null, lease_until = null where id = $1 and state = 'pending'";
        self.run(sql, args![id, error, now]);
    }

    /// Sends a dead letter again, with all its tries; [`Conflict::Missing`] if there is no such dead letter.
    pub fn replay_delivery(&mut self, id: &str, now: Timestamp) {
        let sql = "update webhook_outbox set state = 'pending', attempts = 0, next_at = $2 \
                   where id = $1 and state = 'dead'";
        self.must(sql, args![id, now], Conflict::Missing { what: "dead delivery", key: id.to_owned() });
    }

    /// Forgets what arrived or was given up and was written before `before`.
    pub fn purge_deliveries(&mut self, before: Timestamp) {
        self.run("delete from webhook_outbox where state <> 'pending' and created_at < $1", args![before]);
    }
}

impl Store {
    /// The deliveries that can be tried at `now`, the longest waiting first: of each deployment the oldest pending
    /// one, or a later one if all before it failed [`FAILURES_THAT_LET_PASS`] times.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn due_deliveries(&self, now: Timestamp, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        const SQL: &str = concat!(
            "select ",
            columns!(),
            " from webhook_outbox o where o.state = 'pending' and o.next_at <= $1 and ",
            is_next!(),
            " order by o.next_at, o.seq limit $2"
        );
        self.all(Query::new(SQL, args![now, limit]), delivery).await
    }

    /// The same, for one of several control planes: takes a lease on each, and leaves out what another owner has
    /// leased. Those of one's own come again, so the caller must know what it has in hand. Where the database is not
    /// shared (SQLite), this is [`Store::due_deliveries`].
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn claim_deliveries(
        &self,
        owner: &str,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        const SQL: &str = concat!(
            "with due as (select o.id from webhook_outbox o where o.state = 'pending' and o.next_at <= $2 \
             and (o.lease_until is null or o.lease_until <= $2 or o.lease_owner = $1) and ",
            is_next!(),
            " order by o.next_at, o.seq limit $4 for update skip locked) \
             update webhook_outbox o set lease_owner = $1, lease_until = $3 from due where o.id = due.id \
             returning ",
            columns!()
        );
        if !self.dialect().is_shared() {
            return self.due_deliveries(now, limit).await;
        }
        self.all(Query::new(SQL, args![owner, now, lease_until, limit]), delivery).await
    }

    /// When the next pending delivery is due; `None` = none is pending.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn next_delivery_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let sql = "select min(next_at) from webhook_outbox where state = 'pending'";
        Ok(self.first(Query::new(sql, args![]), |row| row.opt_time(0)).await?.flatten())
    }

    /// How many deliveries are pending.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_pending_deliveries(&self) -> Result<u64, StoreError> {
        self.count(Query::new("select count(*) from webhook_outbox where state = 'pending'", args![])).await
    }

    /// A delivery by its id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_delivery(&self, id: &str) -> Result<Option<Delivery>, StoreError> {
        self.first(Query::new(select!("where o.id = $1"), args![id]), delivery).await
    }

    /// One page of the dead letters, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn dead_deliveries(&self, page: Page) -> Result<Paged<Delivery>, StoreError> {
        let total = Query::new("select count(*) from webhook_outbox where state = 'dead'", args![]);
        let sql = select!("where o.state = 'dead' order by o.created_at desc, o.id desc limit $1 offset $2");
        self.page(total, Query::new(sql, args![]), page, delivery).await
    }

    /// All deliveries of a deployment or a session, in order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn deliveries_of(&self, subject: impl Into<Subject>) -> Result<Vec<Delivery>, StoreError> {
        let subject = subject.into().to_string();
        let query = Query::new(select!("where o.deployment_id = $1 order by o.seq"), args![subject]);
        self.all(query, delivery).await
    }
}

fn delivery(row: &Row) -> Result<Delivery, StoreError> {
    let event = |word: &str| WebhookEvent::ALL.into_iter().find(|e| e.as_str() == word).ok_or(());
    let state = |word: &str| {
        let all = [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Dead];
        all.into_iter().find(|s| s.word() == word).ok_or(())
    };
    Ok(Delivery {
        id: row.text(0)?.to_owned(),
        subject: row.parsed(1, str::parse)?,
        seq: row.int(2)?,
        event: row.parsed(3, event)?,
        url: Sealed(row.text(4)?.to_owned()),
        body: row.text(5)?.to_owned(),
        state: row.parsed(6, state)?,
        attempts: row.number(7)?,
        next_at: row.time(8)?,
        last_error: row.opt_text(9)?.map(str::to_owned),
        created_at: row.time(10)?,
        delivered_at: row.opt_time(11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_lets_pass_after_the_documented_number_of_failures() {
        assert!(is_next!().contains(&format!("e.attempts < {FAILURES_THAT_LET_PASS}")));
    }
}
