use std::io;

use crate::os;

/// What can go wrong between two processes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody holds the other end any more: it was dropped, or its process is gone.
    #[error("the other end is gone")]
    Disconnected,
    /// The time-out passed. Nothing was sent, and nothing received is lost.
    #[error("timed out")]
    TimedOut,
    /// The other end went away in the middle of a frame.
    #[error("the other end is gone in the middle of a message, after {got} bytes of it")]
    Truncated {
        /// Bytes of the frame that had arrived, its header included.
        got: usize,
    },
    /// The other side has written what no channel writes.
    #[error("the other side has written nonsense: {0}")]
    Corrupt(&'static str),
    /// The message, or what a frame's header says of it, exceeds [`MAX_MESSAGE`](crate::MAX_MESSAGE).
    #[error("a message of {size} bytes; {} are allowed", crate::MAX_MESSAGE)]
    TooLarge {
        /// Bytes of the message, without its header.
        size: usize,
    },
    /// More ends of pipes and queues in one message than the system carries.
    #[error("{ends} ends in one message; 250 are allowed")]
    TooManyEnds {
        /// Ends in the message.
        ends: usize,
    },
    /// The message could not be turned into bytes: what its type says, or else the format.
    #[error("the message cannot be encoded")]
    Encode(#[source] Cause),
    /// The bytes are not a message of the expected type: what that says, or else the format.
    #[error("the bytes are no message of the expected type")]
    Decode(#[source] Cause),
    /// An end of a pipe or queue, or shared memory, came with the message, and the operating system
    /// has no room for it here.
    #[error("an end or memory in the message cannot be taken over")]
    Ends(#[source] io::Error),
    /// Bytes were left over behind the message.
    #[error("{0} bytes too many behind a message")]
    LeftOver(usize),
    /// The process that owns a queue could not receive what a sender had sent. What arrived is
    /// received first.
    #[error("messages of the queue are lost: {0}")]
    Lost(String),
    /// A queue for no messages at all could pass none on.
    #[error("a queue of capacity 0; 1 or more is allowed")]
    NoCapacity,
    /// The operating system refused.
    #[error(transparent)]
    Io(io::Error),
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The same error, with what can be done about it, where that is known: limits of this process on
/// files, processes and memory are the caller's to raise.
pub fn explained(error: io::Error) -> io::Error {
    match os::advice(&error) {
        Some(advice) => io::Error::new(error.kind(), format!("{error}: {advice}")),
        None => error,
    }
}

impl Error {
    /// Whether only this message is lost: it came whole, and was not what was expected. After
    /// any other error of receiving, a connection has no place to go on from.
    pub fn concerns_one_message(&self) -> bool {
        matches!(self, Self::Decode(_) | Self::Ends(_) | Self::LeftOver(_))
    }
}

impl From<io::Error> for Error {
    /// A peer that is gone shows as one of three errors, depending on what it left unread.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected => Self::Disconnected,
            _ => Self::Io(explained(error)),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) | Error::Ends(error) => error,
            error => Self::other(error),
        }
    }
}
