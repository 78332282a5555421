//! Ports for one server: a block that no other test process has. The block's first port is held for as long as the block
//! is, and that is what others see; nothing is left to tidy up if the process is killed.

use std::net::TcpListener;

use crate::{PATIENCE, eventually};

/// Where the blocks lie: below what kernels use for outgoing connections.
const FIRST: u16 = 20_000;
/// Ports of a block.
const SIZE: u16 = 400;
/// So many blocks.
const BLOCKS: u16 = 22;

/// A block.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    _held: TcpListener,
}

impl Ports {
    /// Takes a block, as soon as one is free.
    #[must_use]
    pub fn take() -> Self {
        let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or_default();
        eventually("a block of ports is free", PATIENCE, || {
            (0..BLOCKS).find_map(|number| {
                let first = FIRST + (start + number) % BLOCKS * SIZE;
                TcpListener::bind(("127.0.0.1", first)).ok().map(|held| Self { first, _held: held })
            })
        })
    }

    /// For the API.
    #[must_use]
    pub const fn api(&self) -> u16 {
        self.first + 1
    }

    /// For containers that call back.
    #[must_use]
    pub const fn callback(&self) -> u16 {
        self.first + 2
    }

    /// For the server's own beacon, UDP and TCP.
    #[must_use]
    pub const fn beacon(&self) -> u16 {
        self.first + 5
    }

    /// For a beacon on what stands for another machine.
    #[must_use]
    pub const fn far_beacon(&self) -> u16 {
        self.first + 6
    }

    /// For the name server.
    #[must_use]
    pub const fn names(&self) -> u16 {
        self.first + 7
    }

    /// For the games of host `index` of `of`, as a configuration says it.
    #[must_use]
    pub fn games(&self, index: u16, of: u16) -> String {
        let each = (SIZE - 10) / of;
        let first = self.first + 10 + index * each;
        format!("{first}-{}", first + each - 1)
    }

    /// All that are for games.
    #[must_use]
    pub const fn all_games(&self) -> std::ops::Range<u16> {
        self.first + 10..self.first + SIZE
    }

    /// Whether a port is one for games.
    #[must_use]
    pub const fn has_game(&self, port: u16) -> bool {
        port >= self.first + 10 && port < self.first + SIZE
    }
}
