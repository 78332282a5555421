//! Look up: what is known of an address.

use std::net::IpAddr;

use spawnpoint_model::token::{Actor, Scope};

use crate::positions::Whereabouts;
use crate::{Engine, Error};

/// An address and what is known of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Located {
    /// The address; a mapped IPv4 address is taken for what it is.
    pub address: IpAddr,
    /// `None`: it is private, or nobody knows it.
    pub whereabouts: Option<Whereabouts>,
}

impl Engine {
    /// Says what is known of an address.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn look_up(&self, actor: &Actor, address: IpAddr) -> Result<Located, Error> {
        self.need(actor, Scope::Read)?;
        let address = address.to_canonical();
        Ok(Located { address, whereabouts: self.inner.positions.whereabouts(address) })
    }
}
