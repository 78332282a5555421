//! `sessions`, and the columns of `deployments` that count what they take.
//!
//! Sockets are claimed by one conditional write ([`Tx::claim_sockets`]) in the transaction that writes the session: the
//! database itself refuses to sell a socket twice. `session_seq` counts the changes of a deployment's sessions: whoever
//! decides by them puts [`Tx::guard_sessions`] into its transaction, and is refused if they have changed.

use std::ops::RangeInclusive;

use spawnpoint_model::limits::SESSIONS_PER_DEPLOYMENT_MAX;
use spawnpoint_model::names::{AppName, CustomId, VersionName};
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::session::Session;
use spawnpoint_model::{DeploymentId, SessionId, Status, Timestamp};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, Value, args};
use crate::store::Store;
use crate::tx::Tx;

/// Ids in one question.
const IDS_MAX: usize = 500;

/// What is claimed of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionClaim {
    /// Sockets.
    pub sockets: u32,
    /// A new session: the deployment must be joinable. Otherwise one that is there grows.
    pub joins: bool,
    /// Whether the deployment must be ready, or must not be yet (whoever claims has told its players one or the other);
    /// `None`: either will do.
    pub ready: Option<bool>,
    /// So many sessions must be on it before.
    pub sessions: RangeInclusive<u32>,
}

/// What the sessions on a deployment take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionUsage {
    /// The deployment.
    pub deployment: DeploymentId,
    /// Sessions on it.
    pub sessions: u32,
    /// Counts their changes.
    pub seq: i64,
    /// Free sockets; `None`: sessions take none.
    pub free: Option<u32>,
}

/// A session with the status of its deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRow {
    /// The session.
    pub session: Session,
    /// How its deployment stands; `None`: it has none, or that is forgotten.
    pub status: Option<Status>,
}

/// What is counted and what there is, of a live deployment: for the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketFigures {
    /// What is counted.
    pub counted: SessionUsage,
    /// Sessions that are there.
    pub sessions: u32,
    /// Sockets that they take.
    pub taken: u32,
}

/// What [`row`] decodes. The tables are called `s` and `d`.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select s.doc, d.status from sessions s left join deployments d on d.id = s.deployment_id ",
            $rest
        )
    };
}

impl Tx {
    /// Takes sockets of a deployment that has not ended; [`Conflict::Stale`] if it has not so many, or is not as it must be.
    pub fn claim_sockets(&mut self, id: DeploymentId, claim: &SessionClaim) {
        // One statement, so that nothing can come between the look and the claim.
        let sql = "update deployments set available_sockets = available_sockets - $2, \
                   session_count = session_count + $3, session_seq = session_seq + 1 \
                   where id = $1 and live = 1 and (joinable = 1 or cast($3 as bigint) = 0) \
                   and status not in ('TERMINATING', 'ERROR') \
                   and (cast($4 as bigint) is null or (status = 'READY') = ($4 = 1)) \
                   and (available_sockets is null or available_sockets >= $2) \
                   and session_count + $3 <= $5 and session_count >= $6 and session_count <= $7";
        let SessionClaim { sockets, joins, ready, sessions } = claim;
        let args = args![
            id,
            *sockets,
            *joins,
            *ready,
            SESSIONS_PER_DEPLOYMENT_MAX,
            *sessions.start(),
            *sessions.end()
        ];
        self.must(sql, args, Conflict::Stale(id));
    }

    /// Gives sockets back, with their session if that `leaves`; [`Conflict::Stale`] if not so many sessions are there as
    /// there must be.
    pub fn release_sockets(
        &mut self,
        id: DeploymentId,
        sockets: u32,
        leaves: bool,
        sessions: &RangeInclusive<u32>,
    ) {
        let sql = "update deployments set available_sockets = available_sockets + $2, \
                   session_count = session_count - $3, session_seq = session_seq + 1 \
                   where id = $1 and session_count >= $4 and session_count <= $5";
        let args = args![id, sockets, leaves, *sessions.start(), *sessions.end()];
        self.must(sql, args, Conflict::Stale(id));
    }

    /// [`Conflict::Stale`] if the sessions on a deployment have changed since `seq` was read.
    pub fn guard_sessions(&mut self, id: DeploymentId, seq: i64) {
        let sql = "update deployments set session_seq = session_seq where id = $1 and session_seq = $2";
        self.must(sql, args![id, seq], Conflict::Stale(id));
    }

    /// Nothing is taken of a deployment any more, and nothing of it is for sale: it has ended or failed.
    pub fn close_sockets(&mut self, id: DeploymentId) {
        let sql = "update deployments set session_count = 0, available_sockets = null, \
                   session_seq = session_seq + 1 where id = $1";
        self.run(sql, args![id]);
    }

    /// A new session; [`Conflict::Exists`] if its deployment has one of that custom id.
    pub fn insert_session(&mut self, session: &Session) {
        let sql = "insert into sessions (id, generation, app, deployment_id, custom_id, phase, sockets, doc, \
                   created_at, forget_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let args = args![
            session.id,
            session.generation,
            &session.spec.app,
            session.deployment,
            session.spec.custom_id.as_ref().map(CustomId::as_str),
            session.phase.word(),
            session.sockets(),
            self.json(session),
            session.spec.created_at,
            session.forget_at(),
        ];
        let key = session.spec.custom_id.as_ref().map_or_else(|| session.id.to_string(), CustomId::to_string);
        self.must(sql, args, Conflict::Exists { what: "session", key });
    }

    /// Writes a changed session back. It carries its **new** generation; `stale` unless the stored one is its predecessor.
    pub fn save_session(&mut self, session: &Session, stale: Conflict) {
        let sql = "update sessions set generation = $2, phase = $4, sockets = $5, doc = $6, forget_at = $7 \
                   where id = $1 and generation = $3";
        let args = args![
            session.id,
            session.generation,
            session.generation.saturating_sub(1),
            session.phase.word(),
            session.sockets(),
            self.json(session),
            session.forget_at(),
        ];
        self.must(sql, args, stale);
    }

    /// Forgets sessions whose time is over.
    pub fn purge_sessions(&mut self, now: Timestamp) {
        self.run("delete from sessions where forget_at <= $1", args![now]);
    }
}

impl Store {
    /// A session, ended or not.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_session(&self, id: SessionId) -> Result<Option<SessionRow>, StoreError> {
        self.first(Query::new(select!("where s.id = $1"), args![id]), row).await
    }

    /// The session on a deployment that a user gave this name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_custom_session(
        &self,
        deployment: DeploymentId,
        custom_id: &CustomId,
    ) -> Result<Option<SessionRow>, StoreError> {
        let sql = select!("where s.deployment_id = $1 and s.custom_id = $2 and s.phase = 'linked'");
        self.first(Query::new(sql, args![deployment, custom_id]), row).await
    }

    /// The sessions on these deployments, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sessions_on(&self, ids: &[DeploymentId]) -> Result<Vec<Session>, StoreError> {
        let mut all = Vec::new();
        for some in ids.chunks(IDS_MAX) {
            let sql = format!(
                "select s.doc from sessions s where s.phase = 'linked' and s.deployment_id in ({}) \
                 order by s.created_at, s.id",
                places(some.len())
            );
            let args = some.iter().map(|id| Value::from(*id)).collect();
            all.extend(self.all(Query::new(sql, args), |row| row.json(0)).await?);
        }
        Ok(all)
    }

    /// What the sessions on these deployments take.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn session_usage(&self, ids: &[DeploymentId]) -> Result<Vec<SessionUsage>, StoreError> {
        let mut all = Vec::new();
        for some in ids.chunks(IDS_MAX) {
            let sql = format!(
                "select id, session_count, session_seq, available_sockets from deployments where id in ({})",
                places(some.len())
            );
            let args = some.iter().map(|id| Value::from(*id)).collect();
            all.extend(self.all(Query::new(sql, args), usage).await?);
        }
        Ok(all)
    }

    /// One page of the sessions that have not ended, the newest first; of these applications, if any are named.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn list_sessions(&self, apps: &[AppName], page: Page) -> Result<Paged<SessionRow>, StoreError> {
        let (among, args) = among(apps);
        let total =
            format!("select count(*) from sessions s where s.phase in ('linked', 'unprocessable'){among}");
        let items = format!(
            "select s.doc, d.status from sessions s left join deployments d on d.id = s.deployment_id \
             where s.phase in ('linked', 'unprocessable'){among} order by s.created_at desc, s.id desc \
             limit ${} offset ${}",
            args.len() + 1,
            args.len() + 2
        );
        self.page(Query::new(total, args.clone()), Query::new(items, args), page, row).await
    }

    /// All sessions that have not ended; of these applications, if any are named.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn active_sessions(&self, apps: &[AppName]) -> Result<Vec<Session>, StoreError> {
        let (among, args) = among(apps);
        let sql = format!(
            "select s.doc from sessions s where s.phase in ('linked', 'unprocessable'){among} \
             order by s.created_at, s.id"
        );
        self.all(Query::new(sql, args), |row| row.json(0)).await
    }

    /// The deployments on which sessions are.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn deployments_with_sessions(&self) -> Result<Vec<DeploymentId>, StoreError> {
        let sql = "select distinct deployment_id from sessions where phase = 'linked'";
        self.all(Query::new(sql, args![]), |row| row.deployment_id(0)).await
    }

    /// The number of a version in its application, in the order in which they were made.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn version_number(&self, app: &AppName, name: &VersionName) -> Result<Option<i64>, StoreError> {
        let query = Query::new("select seq from versions where app = $1 and name = $2", args![app, name]);
        self.first(query, |row| row.int(0)).await
    }

    /// What is counted and what there is, of each live deployment with sockets or sessions.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn socket_figures(&self) -> Result<Vec<SocketFigures>, StoreError> {
        let sql = "select d.id, d.session_count, d.session_seq, d.available_sockets, \
                   (select count(*) from sessions s where s.deployment_id = d.id and s.phase = 'linked'), \
                   (select coalesce(cast(sum(s.sockets) as bigint), 0) from sessions s \
                    where s.deployment_id = d.id and s.phase = 'linked') \
                   from deployments d where d.live = 1 and (d.available_sockets is not null or d.session_count > 0 \
                   or exists (select 1 from sessions s where s.deployment_id = d.id and s.phase = 'linked'))";
        let decode = |row: &Row| {
            Ok(SocketFigures { counted: usage(row)?, sessions: row.number(4)?, taken: row.number(5)? })
        };
        self.all(Query::new(sql, args![]), decode).await
    }
}

/// `$1, $2, …`.
fn places(count: usize) -> String {
    (1..=count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}

/// The condition on the application.
fn among(apps: &[AppName]) -> (String, Vec<Value>) {
    if apps.is_empty() {
        return (String::new(), Vec::new());
    }
    (format!(" and s.app in ({})", places(apps.len())), apps.iter().map(Value::from).collect())
}

/// Decodes the columns of `select!`.
fn row(row: &Row) -> Result<SessionRow, StoreError> {
    let status = |word: &str| Status::ALL.into_iter().find(|s| s.as_str() == word).ok_or(());
    let status = row.opt_text(1)?.is_some().then(|| row.parsed(1, status)).transpose()?;
    Ok(SessionRow { session: row.json(0)?, status })
}

fn usage(row: &Row) -> Result<SessionUsage, StoreError> {
    let free = row.opt_int(3)?.is_some().then(|| row.number(3)).transpose()?;
    Ok(SessionUsage { deployment: row.deployment_id(0)?, sessions: row.number(1)?, seq: row.int(2)?, free })
}
