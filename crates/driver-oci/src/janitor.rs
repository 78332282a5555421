//! Clears what was interrupted: by a crash of the control plane, of a supervisor, of the machine.
//!
//! Every workload has its folder before it has anything else, and loses it last. So whatever has no folder is nobody's.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use spawnpoint_model::WorkloadId;

use crate::engine::OciEngine;
use crate::records::{self, StateRecord};

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
                && records::write(&dir, records::EXIT, &records::LOST).is_ok()
            {
                tracing::warn!(workload.id = %id, "a workload ended while nobody looked after it: how is not known");
                self.hint(id);
            }
        }
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
        format!("{}.{id}", crate::engine::short(&self.config.installation))
    }

    fn holder(&self, name: &str) -> Option<WorkloadId> {
        let own = crate::engine::short(&self.config.installation);
        name.strip_prefix(&own)?.strip_prefix('.')?.parse().ok()
    }
}

/// Made long ago: nobody is still at it.
fn is_old(path: &std::path::Path) -> bool {
    let made = fs::metadata(path).and_then(|found| found.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age.as_secs() > 60))
}
