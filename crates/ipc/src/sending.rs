//! The half of a channel that messages go into.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::frame::{BELL, Header, Kind, SENT, WITHDRAWN};
use crate::os::{Handle, Socket};
use crate::{Error, Packet, ring};

/// So many messages go through the socket before a ring is made: whoever says a few words does
/// not pay for the memory.
const SOON: u32 = 16;
/// Room in the ring, in bytes: many messages of a kilobyte, for a reader that is woken now and then.
/// The memory is there as far as it has been used.
const RING: usize = 1 << 20;

/// The half of a [`Channel`](crate::Channel) that messages go into. Threads may share it.
#[derive(Debug)]
pub struct SendHalf {
    socket: Arc<Socket>,
    state: Mutex<State>,
    /// Room in the ring, in bytes. Messages of more than a sixteenth of it go through the socket:
    /// the system call costs them little.
    pub(crate) room: usize,
}

#[derive(Debug, Default)]
struct State {
    ring: Option<ring::Writer>,
    /// Frames that went through the socket since there is a ring, modulo 2^32: a frame in the ring
    /// says how many come before it. Until then, frames that went at all.
    frames: u32,
    /// The rest of a frame that was taken back in the middle.
    rest: Vec<u8>,
    /// A bell found nobody.
    gone: bool,
}

impl SendHalf {
    pub(crate) fn over(socket: Arc<Socket>) -> Self {
        Self { socket, state: Mutex::default(), room: RING }
    }

    /// The connection under the messages.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Sends one message; waits while the other side is behind with reading. A short message to
    /// a process that is awake costs no system call.
    ///
    /// When this returns, the message is in memory that outlives this process: its death does
    /// not take the message back. It says nothing of the other side: a process that is killed
    /// while it is awake is noticed when its ring is full, or by receiving.
    ///
    /// # Errors
    /// [`Error::Disconnected`] when the other end is gone, [`Error::TooLarge`].
    pub fn send(&self, packet: &Packet) -> Result<(), Error> {
        self.send_until(packet, None)
    }

    /// The same, for at most `time_out`: then [`Error::TimedOut`], and the message never arrives.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_timeout(&self, packet: &Packet, time_out: Duration) -> Result<(), Error> {
        self.send_until(packet, Instant::now().checked_add(time_out))
    }

    /// Sends a message if that takes no waiting: if there is room for it in the ring.
    pub(crate) fn try_send(&self, packet: &Packet) -> Result<bool, Error> {
        let mut state = self.state();
        let fits = self.fits(packet) && state.rest.is_empty();
        Ok(fits && self.push(&mut state, &packet.bytes)?)
    }

    fn fits(&self, packet: &Packet) -> bool {
        packet.handles.is_empty() && packet.bytes.len() <= self.room / 16
    }

    /// Whether another holder of the socket could go on where this one stopped.
    pub(crate) fn is_fresh(&self) -> bool {
        let state = self.state();
        state.ring.is_none() && state.rest.is_empty()
    }

    pub(crate) fn send_until(
        &self,
        packet: &Packet,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let mut state = self.state();
        self.send_rest(&mut state, deadline)?;
        if self.fits(packet) {
            if state.ring.is_none() && state.frames >= SOON {
                self.send_ring(&mut state, deadline)?;
            }
            if self.push(&mut state, &packet.bytes)? {
                return Ok(());
            }
        }
        self.send_frame(&mut state, Kind::Message, packet, deadline)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while sending")
    }

    /// Puts a message into the ring, if there is one with room for it.
    fn push(&self, state: &mut State, bytes: &[u8]) -> Result<bool, Error> {
        let Some(ring) = &mut state.ring else { return Ok(false) };
        if state.gone {
            return Err(Error::Disconnected);
        }
        let pushed = ring.push(state.frames, bytes)?;
        if pushed && ring.reader_sleeps() {
            match self.socket.send(&[&[BELL]], &[], false) {
                // A socket full of frames wakes the reader as well.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    state.gone = true;
                    return Err(error.into());
                }
                Ok(_) => {}
            }
        }
        Ok(pushed)
    }

    /// Makes a ring and tells the reader. Without memory for one the socket does it all.
    fn send_ring(&self, state: &mut State, deadline: Option<Instant>) -> Result<(), Error> {
        let Ok(memory) = ring::memory(self.room) else { return Ok(()) };
        let Ok(packet) = Packet::encode(&memory) else { return Ok(()) };
        self.send_frame(state, Kind::Ring, &packet, deadline)?;
        state.ring = Some(ring::Writer::over(memory)?);
        state.frames = 0;
        Ok(())
    }

    fn send_frame(
        &self,
        state: &mut State,
        kind: Kind,
        packet: &Packet,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let (length, handles) = packet.measure()?;
        let after = state.ring.as_ref().map_or(0, ring::Writer::position);
        let header = Header { kind, length, handles, after }.to_bytes();
        let parts = [&header[..], &packet.bytes, &[SENT]];
        let whole = parts.iter().map(|part| part.len()).sum();
        let mut sent = 0;
        while sent < whole {
            let handles = if sent == 0 { &packet.handles[..] } else { &[] };
            match self.send_some(&behind(parts, sent), handles, deadline) {
                Ok(more) => sent += more,
                Err(Error::TimedOut) if sent > 0 => {
                    state.rest = behind(parts, sent).concat();
                    *state.rest.last_mut().expect("not all was sent") = WITHDRAWN;
                    state.frames = state.frames.wrapping_add(1);
                    return Err(Error::TimedOut);
                }
                Err(error) => return Err(error),
            }
        }
        state.frames = state.frames.wrapping_add(1);
        Ok(())
    }

    /// Sends what is left of a frame that was taken back, so that the next one can begin.
    fn send_rest(&self, state: &mut State, deadline: Option<Instant>) -> Result<(), Error> {
        while !state.rest.is_empty() {
            let sent = self.send_some(&[&state.rest], &[], deadline)?;
            state.rest.drain(..sent);
        }
        Ok(())
    }

    fn send_some(
        &self,
        parts: &[&[u8]],
        handles: &[Handle],
        deadline: Option<Instant>,
    ) -> Result<usize, Error> {
        loop {
            match self.socket.send(parts, handles, deadline.is_none()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Ok(sent?),
            }
            if !self.socket.wait_writable(deadline)? {
                return Err(Error::TimedOut);
            }
        }
    }
}

/// What remains of `parts` behind so many bytes.
fn behind(parts: [&[u8]; 3], mut skipped: usize) -> [&[u8]; 3] {
    parts.map(|part| {
        let (skip, rest) = part.split_at(skipped.min(part.len()));
        skipped -= skip.len();
        rest
    })
}
