//! The one thread that changes our table. Changes that wait are made in one transaction.
//!
//! It knows every element that ought to be in the table. So when a transaction is refused since the table is not as it was
//! left (an operator flushed the rule set), the whole table is built anew, in one transaction as well.

use std::collections::BTreeSet;
use std::io;

use tokio::sync::{mpsc, oneshot};

use crate::flows;
use crate::nft::{self, Batch, Element, INET};
use crate::rules::{self, Plan};
use crate::types::NetworkError;
use crate::wire::Socket;

/// Changes that may wait.
const QUEUE: usize = 256;
/// Changes that are made at once.
const TOGETHER: usize = 64;
/// Marks that are tried again with the next change, if the kernel did not forget their flows.
const OWED_MAX: usize = 1024;

/// A change.
#[derive(Debug, Default)]
pub struct Change {
    /// These go.
    pub gone: Vec<Element>,
    /// These come.
    pub new: Vec<Element>,
    /// Flows with these marks are forgotten before it is told that it was made.
    pub marks: Vec<u32>,
    /// And with these right after, before any later change: the kernel walks through its whole table for each, which takes
    /// longer than the change.
    pub late_marks: Vec<u32>,
}

#[derive(Debug)]
enum Job {
    Change(Change, oneshot::Sender<io::Result<()>>),
    Check(oneshot::Sender<io::Result<()>>),
}

/// The way to the thread.
#[derive(Clone, Debug)]
pub struct Committer(mpsc::Sender<Job>);

impl Committer {
    /// Puts the table in place, with these elements in it, and starts the thread.
    pub fn start(table: String, plan: Plan, elements: BTreeSet<Element>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let socket = Socket::netfilter()?.widen()?;
        let mut worker = Worker { socket, table, plan, elements, lengths: BTreeSet::new(), owed: Vec::new() };
        worker.rebuild()?;
        std::thread::Builder::new().name("network-rules".into()).spawn(move || worker.run(receiver))?;
        Ok(Self(sender))
    }

    /// Makes a change.
    pub async fn change(&self, doing: &str, change: Change) -> Result<(), NetworkError> {
        self.ask(doing, |reply| Job::Change(change, reply)).await
    }

    /// Looks whether the table is as it ought to be, and makes it so.
    pub async fn check(&self) -> Result<(), NetworkError> {
        self.ask("the rules cannot be put in force", Job::Check).await
    }

    async fn ask(
        &self,
        doing: &str,
        job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job,
    ) -> Result<(), NetworkError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(job(reply)).await.map_err(|_| NetworkError::Closing)?;
        let result = answer.await.map_err(|_| NetworkError::Closing)?;
        result.map_err(|source| NetworkError::Kernel { doing: doing.to_owned(), source })
    }
}

#[derive(Debug)]
struct Worker {
    socket: Socket,
    table: String,
    plan: Plan,
    /// What ought to be in the table.
    elements: BTreeSet<Element>,
    /// The lengths of prefixes that there are rules for.
    lengths: BTreeSet<(u8, u8)>,
    /// Marks whose flows are still to be forgotten.
    owed: Vec<u32>,
}

impl Worker {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut changes = Vec::new();
            let mut checks = Vec::new();
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Change(change, reply) => changes.push((change, reply)),
                    Job::Check(reply) => checks.push(reply),
                }
                next = if changes.len() < TOGETHER { jobs.try_recv().ok() } else { None };
            }
            self.make(changes);
            for reply in checks {
                let _ = reply.send(self.check());
            }
        }
    }

    /// Makes changes together; if that is refused, one by one, so that only who asked for the impossible is told.
    fn make(&mut self, changes: Vec<(Change, oneshot::Sender<io::Result<()>>)>) {
        let whole: Vec<&Change> = changes.iter().map(|(change, _)| change).collect();
        let together = self.commit(&whole).is_ok();
        self.owed.extend(whole.iter().flat_map(|change| change.late_marks.iter().copied()));
        for (change, reply) in changes {
            let result = match if together { Ok(()) } else { self.commit(&[&change]) } {
                Ok(()) => Ok(()),
                Err(refused) => self.anew(&change, refused),
            };
            // Who asked may have gone.
            let _ = reply.send(result.and_then(|()| flows::forget(&self.socket, &change.marks)));
        }
        match flows::forget(&self.socket, &self.owed) {
            Ok(()) => self.owed.clear(),
            Err(error) => {
                tracing::warn!(table = %self.table, %error, "flows could not be forgotten; tried again with the next change");
                self.owed.truncate(OWED_MAX);
            }
        }
    }

    fn commit(&mut self, changes: &[&Change]) -> io::Result<()> {
        let mut batch = Batch::new(INET, &self.table, &self.table);
        let mut lengths = rules::lengths(changes.iter().flat_map(|change| &change.new));
        lengths.retain(|length| !self.lengths.contains(length));
        for length in &lengths {
            batch.add_rule(rules::LIST_CHAIN, &rules::length_rule(*length), true);
        }
        for change in changes {
            for element in &change.gone {
                batch.delete_element(element);
            }
            for element in &change.new {
                batch.add_element(element);
            }
        }
        if batch.changes() > 0 {
            batch.commit(&self.socket)?;
        }
        self.lengths.append(&mut lengths);
        for change in changes {
            self.note(change);
        }
        Ok(())
    }

    fn note(&mut self, change: &Change) {
        for element in &change.gone {
            self.elements.remove(element);
        }
        self.elements.extend(change.new.iter().cloned());
    }

    /// Builds the table anew with a change that was refused.
    fn anew(&mut self, change: &Change, refused: io::Error) -> io::Result<()> {
        tracing::warn!(table = %self.table, error = %refused, "the rules are not as they were left: built anew");
        let before = self.elements.clone();
        self.note(change);
        let result = self.rebuild();
        if result.is_err() {
            self.elements = before;
        }
        result
    }

    fn rebuild(&mut self) -> io::Result<()> {
        rules::rebuild(&self.table, &self.plan, &self.elements).commit(&self.socket)?;
        self.lengths = rules::lengths(&self.elements);
        Ok(())
    }

    fn check(&mut self) -> io::Result<()> {
        let there = in_kernel(&self.socket, &self.table);
        let rules = rules::chain_names().map(|chain| {
            let rules = nft::rules(&self.socket, INET, &self.table, chain)?;
            Ok::<usize, io::Error>(rules.len())
        });
        let rules = rules.sum::<io::Result<usize>>().unwrap_or(0);
        let wanted = rules::count(&self.plan) + self.lengths.len();
        if there.is_ok_and(|there| there == self.elements) && rules == wanted {
            return Ok(());
        }
        tracing::warn!(table = %self.table, "the rules are not as they were left: built anew");
        self.rebuild()
    }
}

/// The elements that are in the table; the error says that there is none.
pub fn in_kernel(socket: &Socket, table: &str) -> io::Result<BTreeSet<Element>> {
    let mut all = BTreeSet::new();
    for set in &rules::SETS {
        all.extend(nft::elements(socket, INET, table, set)?);
    }
    Ok(all)
}
