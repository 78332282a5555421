//! Pulls, imports and keeps OCI images: each layer is fetched once, checked, and unpacked into a directory that overlayfs can
//! take as it is (whiteouts are character devices 0/0, opaque directories carry `trusted.overlay.opaque`).
//!
//! What it must not know: containers, hosts, deployments. Who may call which address is told by an [`AddressPolicy`].
//!
//! Entry points: [`Store::open`], [`Store::pull`], [`Store::import`], [`Store::find`], [`Store::hold`], [`Store::prune`].
//!
//! ```text
//! registry ──▶ partial/<digest>  ──▶ tmp/<n>/  ──▶ layers/<key>/fs  ◀── images/<manifest digest>.json ◀── names/…
//!   ranges,     grows; outlives      unpacked      lower directory        config, layers, digests   ◀── leases/<digest>/<holder>
//!   retries     a crash              and checked   of overlay mounts
//! ```
//!
//! **What is kept.** Blobs are not kept once they are unpacked. A layer that does not depend on those below it is kept under its
//! diff id, so images share it whatever they are built on; one that does (whiteouts, directories that it does not describe itself,
//! hard links to files below) under its chain id. Layer directories are read-only by agreement; nobody may change them.
//!
//! **Crashes.** Everything is made under another name, then renamed. What has no record is junk: [`Store::open`] and
//! [`Store::prune`] clear it unless some living process holds its lock. Layers are flushed to the disk before the image's record is
//! written; what was not flushed before the machine restarted is not believed.
//!
//! **Who may remove what.** An image is taken away only when nobody [holds](Store::hold) it. Leases are files: they outlive crashes,
//! and whoever starts again lists them with [`Store::leases`] and gives back those of holders that are gone. Several processes may
//! use one store (`spawnpoint image prune` beside a running server); `lock` keeps a hold and a removal apart.
//!
//! **Trust.** A registry, a manifest and a layer are hostile until proved otherwise: every size, count and redirect is bounded by
//! [`Limits`], every blob is checked against its digest and size, every layer against its diff id, and no name in an archive leads
//! out of the layer's own directory. The store's directory is closed to other users of the machine (0700): set-user-id files and
//! device nodes of images are of no use to them.
//!
//! **For who mounts them.** The upper directory must get [`Image::root`]'s mode and owner. Device nodes of images are made as Docker makes
//! them: mount with `nodev`, or let the device cgroup deny them. Set-user-id bits and `security.capability` are kept; attributes that
//! steer overlayfs or security modules are not taken.
//!
//! **Where this is not Docker 20.10.** A directory that a layer does not describe looks as below (as containerd has it; Docker makes it
//! root's, 0755). A hard link to a file of a lower layer works (Docker fails). A whiteout beside a directory of the same name hides what is
//! below, whatever their order (as the specification says; Docker forgets the whiteout). An image for another architecture is refused.
//!
//! Unpacking needs root (owners, device nodes, `trusted.*` attributes).
#![cfg(target_os = "linux")]

mod archive;
mod digest;
mod disk;
mod error;
mod feed;
mod fetch;
mod image;
mod import;
mod layer;
mod manifest;
mod options;
mod pull;
mod reference;
mod registry;
mod settle;
mod store;
mod tree;
mod unpack;

#[cfg(test)]
#[path = "../tests/support/tarball.rs"]
mod tarball;

use digest::Hasher;
pub use digest::{Digest, DigestError};
pub use error::{PullError, StoreError};
pub use image::{Image, ImageConfig, RootAttributes};
pub use options::{
    AddressPolicy, Credentials, Everywhere, Limits, Platform, Progress, ProgressFn, PruneWhat, Pruned,
    PullOptions, Removed, StoreOptions,
};
pub use reference::{Reference, ReferenceError};
pub use store::{Lease, Named, Store};
