//! What goes through the socket of a channel: bells, and frames.
//!
//! A bell is one byte. A frame is a header, the message, and a last byte that says whether the
//! message counts: a sender whose time ran out in the middle of one takes it back.

use crate::Error;
use crate::channel::MAX_MESSAGE;

/// Wakes a reader that has said it sleeps. Nothing follows.
pub(crate) const BELL: u8 = 0;
/// The last byte of a frame whose message counts.
pub(crate) const SENT: u8 = 1;
/// The last byte of a frame that was taken back.
pub(crate) const WITHDRAWN: u8 = 0;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Message = 1,
    /// The memory of the ring that later messages come through.
    Ring = 2,
}

/// Bytes of a [`Header`]: the kind, the length of the message (u32), the number of handles
/// that came with it (u8), and the position in the ring up to which other messages come first
/// (u64); little endian.
pub(crate) const HEADER: usize = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) length: u32,
    pub(crate) handles: u8,
    pub(crate) after: u64,
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind as u8;
        bytes[1..5].copy_from_slice(&self.length.to_le_bytes());
        bytes[5] = self.handles;
        bytes[6..].copy_from_slice(&self.after.to_le_bytes());
        bytes
    }

    /// # Errors
    /// [`Error::Corrupt`], [`Error::TooLarge`].
    pub(crate) fn from_bytes(bytes: &[u8; HEADER]) -> Result<Self, Error> {
        let [kind, l0, l1, l2, l3, handles, after @ ..] = *bytes;
        let kind = match kind {
            1 => Kind::Message,
            2 => Kind::Ring,
            _ => return Err(Error::Corrupt("bytes that begin no frame")),
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let size = length as usize;
        if size > MAX_MESSAGE {
            return Err(Error::TooLarge { size });
        }
        Ok(Self { kind, length, handles, after: u64::from_le_bytes(after) })
    }
}
