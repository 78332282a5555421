//! Clears what was interrupted: by a crash of the control plane, of a supervisor, of the machine.
//!
//! Every workload has its folder before it has anything else, and loses it last. So whatever has no folder is nobody's.

use std::collections::HashSet;
use std::fs;
use std::sync::{Arc, Weak};
use std::time::Duration;

use spawnpoint_model::WorkloadId;
use tokio::sync::Notify;

use crate::engine::OciEngine;
use crate::protocol::{Reply, Request};
use crate::records::{self, ExitRecord, StateRecord};
use crate::zygote::EXITS;

/// For a supervisor to take a workload over.
const ADOPTED: Duration = Duration::from_secs(10);

impl OciEngine {
    /// The workloads that have a folder, of whatever host.
    pub(crate) fn folders(&self) -> HashSet<WorkloadId> {
        let entries = fs::read_dir(self.containers()).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// One round. Nothing that it does not manage is lost: the next round finds it again.
    pub(crate) async fn tidy(self: &Arc<Self>) {
        let engine = Arc::clone(self);
        // Before the folders are read: what is leased after that is not looked at.
        let leased = self.network.inventory().await.map(|inventory| inventory.leases).unwrap_or_default();
        let held = self.images.leases().unwrap_or_default();
        let looked = tokio::task::spawn_blocking(move || {
            engine.empty_trash();
            engine.note_lost();
            engine.tidy_slots();
            engine.folders()
        });
        let Ok(folders) = looked.await else { return };
        for id in leased.into_iter().filter(|id| !folders.contains(id)) {
            let _alone = self.alone(id).await;
            if !self.folder(id).exists()
                && let Err(error) = self.network.release(id).await
            {
                tracing::warn!(workload.id = %id, %error, "the network of a workload that is gone stays for now");
            }
        }
        for lease in held {
            if lease.holder == self.prepared.holder {
                self.prepared.tidy(&self.images, &lease.digest);
            }
            let Some(id) = self.holder(&lease.holder) else { continue };
            let _alone = self.alone(id).await;
            if !folders.contains(&id) && !self.folder(id).exists() {
                // It is found again.
                let _ = self.images.release(&lease.digest, &lease.holder);
            }
        }
        if let Err(error) = self.network.sweep().await {
            tracing::warn!(%error, "something of a network that was interrupted stays for now");
        }
    }

    /// Has a supervisor look after each workload that has lost its own.
    pub(crate) async fn look_after_orphans(self: &Arc<Self>) {
        let engine = Arc::clone(self);
        let look =
            move || engine.folders().into_iter().filter(|id| engine.is_orphan(*id)).collect::<Vec<_>>();
        let orphans = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        if orphans.is_empty() {
            return;
        }
        // The zygote may have been lost as well.
        if let Err(error) = self.client.ready().await {
            tracing::warn!(%error, "workloads whose supervisor was lost have none for now");
            return;
        }
        for id in orphans {
            let _alone = self.alone(id).await;
            if !self.is_orphan(id) {
                continue;
            }
            let request = Request::Adopt { dir: self.folder(id), id: id.to_string() };
            match self.client.ask(&request, &[], None, ADOPTED).await {
                Ok(Reply::Started) => {
                    tracing::warn!(workload.id = %id, "a supervisor was lost: another looks after its workload now");
                }
                // The next look finds it again: it can be stopped and removed all the same.
                refused if self.is_orphan(id) => {
                    tracing::warn!(workload.id = %id, ?refused, "a workload whose supervisor was lost has none for now");
                }
                // It has ended meanwhile.
                _ => {}
            }
            self.hint(id);
        }
    }

    /// It runs, and nobody looks after it.
    fn is_orphan(&self, id: WorkloadId) -> bool {
        let dir = self.folder(id);
        let state = records::read::<StateRecord>(&dir, records::STATE).ok().flatten();
        let runs = state.is_some_and(|state| state.is_alive());
        runs && !dir.join(records::EXIT).exists() && matches!(records::is_locked(&dir), Ok(false))
    }

    fn empty_trash(&self) {
        for entry in fs::read_dir(self.config.dir.join("trash")).into_iter().flatten().flatten() {
            let _ = fs::remove_dir_all(entry.path());
        }
        // Folders that never got their name.
        for entry in fs::read_dir(self.containers()).into_iter().flatten().flatten() {
            let is_draft = entry.file_name().to_str().is_some_and(|name| name.starts_with('.'));
            if is_draft && is_old(&entry.path()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Workloads that ended without anybody who could write it down.
    fn note_lost(&self) {
        for id in self.folders() {
            let dir = self.folder(id);
            let Ok(Some(state)) = records::read::<StateRecord>(&dir, records::STATE) else { continue };
            if dir.join(records::EXIT).exists() || state.is_alive() {
                continue;
            }
            // While the lock is held, somebody is about to write it.
            if let Ok(Some(_lock)) = records::lock(&dir)
                && !dir.join(records::EXIT).exists()
            {
                let exit = self.exit_of_lost(&state);
                if records::write(&dir, records::EXIT, &exit).is_ok() {
                    tracing::warn!(workload.id = %id, exit.code, "a workload ended while nobody looked after it");
                    self.hint(id);
                }
            }
        }
        for entry in fs::read_dir(self.config.run.join(EXITS)).into_iter().flatten().flatten() {
            if is_old(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// The zygote may have heard how it ended.
    fn exit_of_lost(&self, state: &StateRecord) -> ExitRecord {
        if state.boot != records::boot() {
            return records::LOST;
        }
        let noted = records::take_exit(&self.config.run.join(EXITS).join(state.pid.to_string()));
        let oom = self.hierarchies.group(&state.slot).memory_kills() > 0;
        noted.map_or(records::LOST, |code| ExitRecord { code, oom, disk: false })
    }

    fn slot_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.config.run.join("slots")).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.extend(self.hierarchies.names());
        names.sort_unstable();
        names.dedup();
        names
    }

    fn slot_is_free(&self, name: &str) -> bool {
        let path = self.config.run.join("slots").join(name);
        let Ok(file) = fs::File::open(path) else { return true };
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    pub(crate) fn slots_are_free(&self) -> bool {
        self.slot_names().iter().all(|name| self.slot_is_free(name))
    }

    /// Control groups of supervisors that are gone. A workload that outlived its supervisor keeps its own.
    pub(crate) fn tidy_slots(&self) {
        let free: Vec<String> =
            self.slot_names().into_iter().filter(|name| self.slot_is_free(name)).collect();
        if free.is_empty() {
            return;
        }
        let states = self
            .folders()
            .into_iter()
            .filter_map(|id| records::read::<StateRecord>(&self.folder(id), records::STATE).ok().flatten());
        let alive: HashSet<String> = states.filter(StateRecord::is_alive).map(|state| state.slot).collect();
        for name in free.iter().filter(|name| !alive.contains(*name)) {
            let group = self.hierarchies.group(name);
            group.kill();
            if group.remove() {
                let _ = fs::remove_file(self.config.run.join("slots").join(name));
            }
        }
    }

    /// The name under which a workload holds its image.
    pub(crate) fn holder_name(&self, id: WorkloadId) -> String {
        format!("{}.{id}", crate::config::short(&self.config.installation))
    }

    fn holder(&self, name: &str) -> Option<WorkloadId> {
        let own = crate::config::short(&self.config.installation);
        name.strip_prefix(&own)?.strip_prefix('.')?.parse().ok()
    }
}

/// Replaces supervisors whenever one was lost, for as long as there is an engine.
pub async fn replace_lost(engine: Weak<OciEngine>, lost: Arc<Notify>) {
    loop {
        lost.notified().await;
        let Some(engine) = engine.upgrade() else { return };
        engine.look_after_orphans().await;
    }
}

/// Made long ago: nobody is still at it.
fn is_old(path: &std::path::Path) -> bool {
    let made = fs::metadata(path).and_then(|found| found.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age.as_secs() > 60))
}
