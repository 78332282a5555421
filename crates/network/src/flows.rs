//! Connection tracking: the kernel is made to forget flows by their mark.

use std::io;

use crate::wire::{ACK, Packet, Socket};

const DELETE: u16 = 1 << 8 | 2;
const MARK: u16 = 8;
const MARK_MASK: u16 = 21;

/// Forgets all flows with these marks. What comes next of them is looked at as if it were the first.
pub fn forget(socket: &Socket, marks: &[u32]) -> io::Result<()> {
    for mark in marks {
        let mut packet = Packet::default();
        packet.message(DELETE, ACK, &[0; 4]).be32(MARK, *mark).be32(MARK_MASK, u32::MAX);
        socket.run(&mut packet)?;
    }
    Ok(())
}
