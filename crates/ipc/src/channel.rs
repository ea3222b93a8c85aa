//! Frames: how messages keep their borders in a stream of bytes.
//!
//! A frame is the length of the message in bytes (u32, little endian), the number of handles
//! that came with it (u8), and the message.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::os::{Handle, Socket};
use crate::{Error, Packet};

/// The largest message, in bytes. A corrupt length must not make the reader wait for the rest
/// of four gigabytes.
pub const MAX_MESSAGE: usize = 1 << 30;

const HEADER: usize = 5;
/// The most handles in one message: what Linux carries at once (SCM_MAX_FD) fits.
const MAX_HANDLES: u8 = 250;
/// The most memory that is asked for ahead of the bytes themselves.
const READ_AHEAD: usize = 1 << 20;
const READ_AT_LEAST: usize = 4 << 10;

/// A framed, two-way connection between two processes.
#[derive(Debug)]
pub struct Channel {
    socket: Socket,
    /// What was received and not yet handed out: less than one frame after each call that
    /// timed out, so a time-out loses nothing.
    received: Vec<u8>,
    handles: VecDeque<Handle>,
}

impl Packet {
    /// Length and number of handles as the header has them.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::TooManyEnds`] for a packet that no channel takes.
    pub(crate) fn measure(&self) -> Result<(u32, u8), Error> {
        let (size, ends) = (self.bytes.len(), self.handles.len());
        let length = u32::try_from(size).ok().filter(|_| size <= MAX_MESSAGE);
        let handles = u8::try_from(ends).ok().filter(|&handles| handles <= MAX_HANDLES);
        let length = length.ok_or(Error::TooLarge { size })?;
        Ok((length, handles.ok_or(Error::TooManyEnds { ends })?))
    }
}

impl From<Socket> for Channel {
    fn from(socket: Socket) -> Self {
        Self { socket, received: Vec::new(), handles: VecDeque::new() }
    }
}

impl Channel {
    /// Two connected ends.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system has no more descriptors, or no such sockets.
    pub fn pair() -> Result<(Self, Self), Error> {
        let (a, b) = Socket::pair()?;
        Ok((a.into(), b.into()))
    }

    /// The connection under the frames.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether bytes were received that no call has handed out yet.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.received.is_empty()
    }

    /// Sends one message; waits while the other side is behind with reading.
    ///
    /// # Errors
    /// [`Error::Disconnected`] when the other end is gone, [`Error::TooLarge`].
    pub fn send(&self, packet: &Packet) -> Result<(), Error> {
        let (length, handles) = packet.measure()?;
        let mut frame = Vec::with_capacity(HEADER + packet.bytes.len());
        frame.extend(length.to_le_bytes());
        frame.push(handles);
        frame.extend(&packet.bytes);
        Ok(self.socket.send(&frame, &packet.handles)?)
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// [`Error::Disconnected`] at the end, [`Error::Truncated`] when that comes inside a frame,
    /// [`Error::TooLarge`] when the frame says so.
    pub fn recv(&mut self) -> Result<Packet, Error> {
        self.recv_until(None)
    }

    /// The same, for at most `time_out`: then [`Error::TimedOut`], and the next call goes on
    /// where this one stopped.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, time_out: Duration) -> Result<Packet, Error> {
        self.recv_until(Instant::now().checked_add(time_out))
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<Packet, Error> {
        loop {
            let missing = match self.next_frame()? {
                Ok(packet) => return Ok(packet),
                Err(missing) => missing,
            };
            if let Some(deadline) = deadline
                && !self.socket.wait_readable(deadline)?
            {
                return Err(Error::TimedOut);
            }
            let got = self.received.len();
            self.received.resize(got + missing.clamp(READ_AT_LEAST, READ_AHEAD), 0);
            let received = self.socket.receive(&mut self.received[got..], &mut self.handles);
            self.received.truncate(got + *received.as_ref().unwrap_or(&0));
            match received.map_err(Error::from) {
                Ok(0) | Err(Error::Disconnected) if got > 0 => {
                    return Err(Error::Truncated { got });
                }
                Ok(0) => return Err(Error::Disconnected),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next whole frame, or how many bytes it lacks.
    fn next_frame(&mut self) -> Result<Result<Packet, usize>, Error> {
        let Some((header, rest)) = self.received.split_first_chunk::<HEADER>() else {
            return Ok(Err(HEADER - self.received.len()));
        };
        let [length @ .., handles] = *header;
        let size = u32::from_le_bytes(length) as usize;
        if size > MAX_MESSAGE {
            return Err(Error::TooLarge { size });
        }
        let Some(bytes) = rest.get(..size) else {
            return Ok(Err(size - rest.len()));
        };
        let bytes = bytes.to_vec();
        self.received.drain(..HEADER + size);
        // Fewer than promised is found out when the message is decoded and mentions them.
        let arrived = self.handles.len().min(handles.into());
        let handles = self.handles.drain(..arrived).collect();
        Ok(Ok(Packet { bytes, handles }))
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A channel that receives `bytes` and then the end.
    fn receiving(bytes: &[u8]) -> Channel {
        let (writer, reader) = Socket::pair().unwrap();
        writer.send(bytes, &[]).unwrap();
        reader.into()
    }

    fn frame(message: &str) -> Vec<u8> {
        let (sender, receiver) = Channel::pair().unwrap();
        sender.send(&Packet::encode(message).unwrap()).unwrap();
        let mut bytes = vec![0; 1000];
        let got = receiver.socket.receive(&mut bytes, &mut VecDeque::new()).unwrap();
        bytes.truncate(got);
        bytes
    }

    #[test]
    fn a_frame_cut_short_anywhere_is_truncated() {
        let whole = frame("a message");
        for cut in 1..whole.len() {
            let error = receiving(&whole[..cut]).recv().unwrap_err();
            assert!(matches!(error, Error::Truncated { got } if got == cut), "{cut}: {error}");
        }
        assert!(matches!(receiving(&[]).recv(), Err(Error::Disconnected)));
    }

    #[test]
    fn frames_that_arrive_together_come_out_one_by_one() {
        let mut channel = receiving(&[frame("one"), frame("two")].concat());
        for expected in ["one", "two"] {
            assert_eq!(channel.recv().unwrap().decode::<String>().unwrap(), expected);
        }
        assert!(matches!(channel.recv(), Err(Error::Disconnected)));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_it_is_waited_for() {
        let error = receiving(&[0xff; HEADER]).recv().unwrap_err();
        assert!(matches!(error, Error::TooLarge { size: 0xffff_ffff }), "{error}");
    }

    #[test]
    fn a_time_out_inside_a_frame_loses_nothing() {
        let (writer, reader) = Socket::pair().unwrap();
        let (first, second) = (frame("a message"), frame("another"));
        let mut channel = Channel::from(reader);
        writer.send(&first[..7], &[]).unwrap();
        let soon = Duration::from_millis(1);
        assert!(matches!(channel.recv_timeout(soon), Err(Error::TimedOut)));
        writer.send(&[&first[7..], &second].concat(), &[]).unwrap();
        for expected in ["a message", "another"] {
            assert_eq!(channel.recv().unwrap().decode::<String>().unwrap(), expected);
        }
    }

    proptest! {
        /// No panic, no wait for bytes that never come, no memory for lengths that lie.
        #[test]
        fn any_bytes_end_in_messages_and_one_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut channel = receiving(&bytes);
            while let Ok(packet) = channel.recv() {
                let _ = packet.decode::<(String, Vec<u64>, Option<bool>)>();
            }
            prop_assert!(channel.received.capacity() <= 2 * READ_AHEAD);
        }
    }
}
