//! Images from registries that are real, that lie and that break off; from archives; and what a store keeps of them.

mod archives;
mod docker;
mod fake;
mod keeping;
mod lies;
mod pulls;
#[path = "../support/tarball.rs"]
mod tarball;
mod tree;
