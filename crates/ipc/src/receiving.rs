//! The half of a channel that messages come out of.

use std::collections::VecDeque;
use std::hint;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::frame::{BELL, HEADER, Header, Kind, SENT, WITHDRAWN};
use crate::os::{self, Handle, Socket};
use crate::{Error, Packet, buffer, ring};

/// What one system call receives ahead of the frames it belongs to.
const BUFFER: usize = 32 << 10;
/// The most memory that is asked for ahead of the bytes themselves.
const READ_AHEAD: usize = 4 << 20;
/// The most that one system call receives.
const AT_ONCE: usize = 256 << 10;
/// How long a receiver that has found several messages at once looks for another one before it
/// sleeps: about what falling asleep and being woken cost. One that gets them one by one sleeps
/// at once: the other side might wait for this very core.
pub(crate) const WATCH: Duration = Duration::from_micros(5);

/// The half of a [`Channel`](crate::Channel) that messages come out of.
#[derive(Debug)]
pub struct RecvHalf {
    socket: Arc<Socket>,
    pub(crate) ring: Option<ring::Reader>,
    /// Messages that came through the ring since this side slept.
    since_sleep: u32,
    /// Frames that came through the socket, modulo 2^32.
    frames: u32,
    /// The frame that is coming through the socket, or waits for messages in the ring.
    frame: Option<Frame>,
    /// What came through the socket and lies in no frame yet.
    buffer: Box<[u8]>,
    filled: Range<usize>,
    handles: VecDeque<Handle>,
    /// What [`wait`] found, for the call that receives it.
    found: Option<Result<Packet, Error>>,
    /// The other end is gone, and nothing comes through the socket any more.
    ended: bool,
    /// It did not receive all that was sent to it.
    unread: bool,
}

#[derive(Debug)]
struct Frame {
    header: Header,
    /// As much as has come of the message and its last byte.
    bytes: Vec<u8>,
}

impl Frame {
    fn missing(&self) -> usize {
        self.header.length as usize + 1 - self.bytes.len()
    }
}

impl RecvHalf {
    pub(crate) fn over(socket: Arc<Socket>) -> Self {
        Self {
            socket,
            ring: None,
            since_sleep: 0,
            frames: 0,
            frame: None,
            buffer: Box::default(),
            filled: 0..0,
            handles: VecDeque::new(),
            found: None,
            ended: false,
            unread: false,
        }
    }

    /// The connection under the messages.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether the other end, which is gone, left unread some of what came to it through the socket.
    /// Where the system does not tell (Linux does), never.
    pub fn left_unread(&self) -> bool {
        self.unread
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// [`Error::Disconnected`] at the end, when all that was sent before has been received;
    /// [`Error::Truncated`] when the end comes inside a frame; [`Error::TooLarge`] and
    /// [`Error::Corrupt`] when the other side does not send what a channel sends.
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

    /// The next message, if it can be had without asking the operating system: one after another
    /// until `None`, then [`recv`](Self::recv), which sleeps.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), but never [`Error::Disconnected`].
    pub fn try_recv(&mut self) -> Result<Option<Packet>, Error> {
        if let Some(found) = self.found.take() {
            return found.map(Some);
        }
        loop {
            self.gather()?;
            if self.frame_is_next()? {
                let frame = self.frame.take().expect("a frame is next");
                match self.accept(frame)? {
                    Some(packet) => return Ok(Some(packet)),
                    None => continue,
                }
            }
            let Some(ring) = &mut self.ring else { return Ok(None) };
            let bytes = ring.pop(self.frames)?;
            self.since_sleep += u32::from(bytes.is_some());
            return Ok(bytes.map(|bytes| Packet { bytes, handles: Vec::new() }));
        }
    }

    /// Whether another holder of the socket could go on where this one stopped.
    pub(crate) fn is_fresh(&self) -> bool {
        self.ring.is_none()
            && self.frame.is_none()
            && self.filled.is_empty()
            && self.found.is_none()
    }

    pub(crate) fn recv_until(&mut self, deadline: Option<Instant>) -> Result<Packet, Error> {
        loop {
            if let Some(packet) = self.try_recv()? {
                return Ok(packet);
            }
            if let Some(ring) = &mut self.ring
                && self.frame.is_none()
                && !self.ended
            {
                if self.since_sleep > 1 {
                    watch(ring)?;
                }
                self.since_sleep = 0;
                ring.fall_asleep();
                // What came before it could see that is not rung for.
                if let Some(packet) = self.try_recv()? {
                    self.wake();
                    return Ok(packet);
                }
            }
            if self.ended {
                return Err(self.end());
            }
            let read = self.read(deadline);
            self.wake();
            read?;
        }
    }

    /// Whether receiving would not wait, without asking the operating system.
    fn find(&mut self) -> bool {
        if self.found.is_none() {
            self.found = match self.try_recv().transpose() {
                None if self.ended => Some(Err(self.end())),
                found => found,
            };
        }
        self.found.is_some()
    }

    fn wake(&self) {
        if let Some(ring) = &self.ring {
            ring.wake();
        }
    }

    /// Puts what came through the socket into its frame, up to the end of one.
    fn gather(&mut self) -> Result<(), Error> {
        while !self.filled.is_empty() {
            let bytes = &self.buffer[self.filled.clone()];
            let used = if let Some(frame) = &mut self.frame {
                let part = &bytes[..frame.missing().min(bytes.len())];
                frame.bytes.extend_from_slice(part);
                part.len()
            } else if bytes[0] == BELL {
                1
            } else if let Some(header) = bytes.first_chunk() {
                let header = Header::from_bytes(header)?;
                let room = (header.length as usize + 1).min(READ_AHEAD);
                self.frame = Some(Frame { header, bytes: buffer::with_capacity(room) });
                HEADER
            } else {
                0
            };
            if used == 0 {
                break;
            }
            self.filled.start += used;
        }
        Ok(())
    }

    /// Whether a frame came whole through the socket, and what was sent before it through the
    /// ring has been received.
    fn frame_is_next(&mut self) -> Result<bool, Error> {
        let Some(frame) = self.frame.as_ref().filter(|frame| frame.missing() == 0) else {
            return Ok(false);
        };
        let (position, waiting) = match &mut self.ring {
            Some(ring) => (ring.position(), ring.waiting()?),
            None => (0, 0),
        };
        match frame.header.after.wrapping_sub(position) {
            0 => Ok(true),
            before if before <= waiting => Ok(false),
            _ => Err(Error::Corrupt("a message that comes after none that was sent")),
        }
    }

    /// The message of a frame, unless it was taken back or is the memory of the ring.
    fn accept(&mut self, frame: Frame) -> Result<Option<Packet>, Error> {
        let Frame { header, mut bytes } = frame;
        self.frames = self.frames.wrapping_add(1);
        // Fewer than promised is found out when the message is decoded and mentions them.
        let arrived = self.handles.len().min(header.handles.into());
        let handles = self.handles.drain(..arrived).collect();
        match (header.kind, bytes.pop(), &self.ring) {
            (_, Some(WITHDRAWN), _) => Ok(None),
            (Kind::Message, Some(SENT), _) => Ok(Some(Packet { bytes, handles })),
            (Kind::Ring, Some(SENT), None) => {
                let memory = Packet { bytes, handles }.decode()?;
                self.ring = Some(ring::Reader::over(memory)?);
                self.frames = 0;
                Ok(None)
            }
            _ => Err(Error::Corrupt("a frame that ends as none does")),
        }
    }

    /// Receives what is there, or waits for something.
    fn read(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        if let Some(deadline) = deadline
            && !self.socket.wait_readable(deadline)?
        {
            return Err(Error::TimedOut);
        }
        let received = match &mut self.frame {
            // Into its place: a long message is not copied once more.
            Some(Frame { header, bytes }) if bytes.len() + BUFFER < header.length as usize => {
                let (got, whole) = (bytes.len(), header.length as usize + 1);
                let more = (whole - got).min(AT_ONCE);
                if bytes.capacity() - got < more {
                    bytes.reserve_exact((whole - got).min(READ_AHEAD.max(got)));
                }
                bytes.resize(got + more, 0);
                let received = self.socket.receive(&mut bytes[got..], &mut self.handles);
                bytes.truncate(got + *received.as_ref().unwrap_or(&0));
                received
            }
            _ => {
                if self.buffer.is_empty() {
                    self.buffer = vec![0; BUFFER].into();
                }
                self.buffer.copy_within(self.filled.clone(), 0);
                self.filled = 0..self.filled.len();
                let room = &mut self.buffer[self.filled.end..];
                let received = self.socket.receive(room, &mut self.handles);
                self.filled.end += received.as_ref().unwrap_or(&0);
                received
            }
        };
        self.unread |=
            matches!(&received, Err(error) if error.kind() == ErrorKind::ConnectionReset);
        match received.map_err(Error::from) {
            Ok(0) | Err(Error::Disconnected) => self.ended = true,
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Why nothing comes any more.
    fn end(&mut self) -> Error {
        let frame = self.frame.as_ref().map_or(0, |frame| HEADER + frame.bytes.len());
        match (self.filled.len() + frame, self.ring.as_mut().map(ring::Reader::waiting)) {
            (0, None | Some(Ok(0))) => Error::Disconnected,
            (0, Some(Ok(_))) => {
                Error::Corrupt("messages that come after others that never came")
            }
            (_, Some(Err(error))) => error,
            (got, _) => Error::Truncated { got },
        }
    }
}

/// Something that messages come out of.
pub trait Waitable {
    /// The half that receives.
    fn receiving(&mut self) -> &mut RecvHalf;
}

impl Waitable for RecvHalf {
    fn receiving(&mut self) -> &mut RecvHalf {
        self
    }
}

/// Waits until one or more can be received from without waiting: a message has come whole, or
/// nothing comes any more, which receiving then says. Which they are, by their places; none when
/// `time_out` passes first (`multiprocessing.connection.wait`).
///
/// # Errors
/// [`Error::Io`] when the operating system refuses.
pub fn wait(
    ends: &mut [&mut dyn Waitable],
    time_out: Option<Duration>,
) -> Result<Vec<usize>, Error> {
    let deadline = time_out.and_then(|time_out| Instant::now().checked_add(time_out));
    let mut halves: Vec<_> = ends.iter_mut().map(|end| end.receiving()).collect();
    loop {
        for half in &halves {
            if let Some(ring) = &half.ring {
                ring.fall_asleep();
            }
        }
        // What comes from here on rings.
        let ready: Vec<_> =
            (0..).zip(&mut halves).filter_map(|(n, half)| half.find().then_some(n)).collect();
        let readable = match &*ready {
            [] => {
                let sockets: Vec<_> = halves.iter().map(|half| &*half.socket).collect();
                os::wait_readable(&sockets, deadline)
            }
            _ => Ok(Vec::new()),
        };
        halves.iter().for_each(|half| half.wake());
        let readable = readable?;
        if !readable.contains(&true) {
            return Ok(ready);
        }
        for (half, _) in halves.iter_mut().zip(readable).filter(|(_, readable)| *readable) {
            if let Err(error) = half.read(None) {
                half.found = Some(Err(error));
            }
        }
    }
}

fn watch(ring: &mut ring::Reader) -> Result<(), Error> {
    let begun = Instant::now();
    while ring.waiting()? == 0 && begun.elapsed() < WATCH {
        hint::spin_loop();
    }
    Ok(())
}
