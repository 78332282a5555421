//! Group commit: what waits is carried out as one PostgreSQL transaction, and pays for one flush and a few round trips.
//!
//! One group is under way at a time. Rows that every deployment touches (a host's usage) are then never waited for by a
//! transaction of this process, and two groups cannot lock each other out. If anything in a group is refused, the group
//! leaves nothing and each of its transactions is tried by itself.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use super::Connections;
use crate::error::StoreError;
use crate::sql::Stmt;

/// Transactions in one group, at most.
const GROUP_MAX: usize = 128;
/// Transactions of a refused group that are tried at once.
const ALONE_AT_ONCE: usize = 8;

/// A transaction that waits, and who waits for it.
#[derive(Debug)]
struct Job {
    stmts: Vec<Stmt>,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

/// What waits, and the one who works on it.
#[derive(Clone, Debug)]
pub(super) struct Group {
    connections: Connections,
    waiting: Arc<Mutex<VecDeque<Job>>>,
    leader: Arc<Semaphore>,
}

impl Group {
    pub(super) fn new(connections: Connections) -> Self {
        Self { connections, waiting: Arc::default(), leader: Arc::new(Semaphore::new(1)) }
    }

    /// Carries a transaction out, together with others that wait; durable when it returns.
    pub(super) async fn commit(&self, stmts: Vec<Stmt>) -> Result<(), StoreError> {
        let (answer, result) = oneshot::channel();
        self.waiting.lock().push_back(Job { stmts, answer });
        self.lead();
        // The task that held it has ended without a word: it may have been carried out.
        result.await.unwrap_or(Err(StoreError::OutcomeUnknown))
    }

    /// Begins to work on what waits, unless somebody does. In a task of its own: whoever waits may stop waiting.
    fn lead(&self) {
        let Ok(lead) = Arc::clone(&self.leader).try_acquire_owned() else { return };
        let group = self.clone();
        tokio::spawn(async move {
            loop {
                let jobs: Vec<Job> = {
                    let mut waiting = group.waiting.lock();
                    let count = waiting.len().min(GROUP_MAX);
                    waiting.drain(..count).collect()
                };
                if jobs.is_empty() {
                    break;
                }
                group.carry_out(jobs).await;
            }
            drop(lead);
            // One that came between the last look and the line above found the lead taken.
            if !group.waiting.lock().is_empty() {
                group.lead();
            }
        });
    }

    async fn carry_out(&self, jobs: Vec<Job>) {
        let all: Vec<&Stmt> = jobs.iter().flat_map(|job| &job.stmts).collect();
        let result = self.connections.commit(&all).await;
        let is_shared = match &result {
            Ok(()) | Err(StoreError::OutcomeUnknown | StoreError::Unavailable(_)) => true,
            Err(_) => jobs.len() == 1,
        };
        if is_shared {
            for job in jobs {
                // Nobody may be waiting any more.
                let _ = job.answer.send(result.clone());
            }
            return;
        }
        futures_util::stream::iter(jobs)
            .for_each_concurrent(ALONE_AT_ONCE, |job| async move {
                let stmts: Vec<&Stmt> = job.stmts.iter().collect();
                let _ = job.answer.send(self.connections.commit(&stmts).await);
            })
            .await;
    }
}
