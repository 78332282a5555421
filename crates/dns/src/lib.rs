//! A small authoritative name server for one zone: `<id>.<domain>` leads to the host of a deployment that is ready.
//!
//! What it is for: the `fqdn` of answers, without a name server of others that would have to be told of every start and
//! end; and texts by which the domain is proven to be ours. It answers for its zone and refuses everything else; it never asks anybody.
//!
//! What it must not know: deployments, hosts, the store. Who is where is asked of [`Names`].
//!
//! Entry points: [`Zone`] says what is answered, [`serve()`] answers over UDP and TCP.
//!
//! How it keeps from being misused: an answer is the question and at most [`zone::ANSWER_BYTES_MAX`] bytes, so it makes no weapon
//! against a forged sender; each network of senders has a rate ([`rate`]) above which every other question is answered
//! with "ask over TCP" and the rest with nothing; the work under way, the connections and what one connection may ask
//! are bounded.

pub mod rate;
mod serve;
pub mod zone;

use std::net::IpAddr;

use async_trait::async_trait;

pub use serve::{Limits, serve};
pub use zone::{NotAName, Zone, ZoneConfig};

/// What is known of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    /// It leads there.
    At(IpAddr),
    /// It says this, in TXT records, and may say something else at any time.
    Says(Vec<String>),
    /// There is no such name now.
    Nothing,
    /// It cannot be told now; the one who asks should ask again.
    Unknown,
}

/// Who is where.
#[async_trait]
pub trait Names: Send + Sync + 'static {
    /// What is known of `<label>.<domain>`. The label comes in lower case and may be anything.
    async fn find(&self, label: &str) -> Known;
}
