//! Three ways for processes to talk: a framed [`pipe()`], a [`bounded`] queue, and
//! [`SharedSlice`], memory that several processes see.
//!
//! An end of any of them is a value. Put it into a message to another process (a task of a
//! process pool, or a message through another pipe or queue), and it arrives there connected:
//! the operating system carries the open descriptor along. Nothing has a name, so nothing is
//! left behind when a process is killed, and no stranger can connect.
//!
//! Nothing that processes share holds a lock: every connection belongs to two processes, and
//! its end-of-file means that the other one is gone, and what it has forked. (`multiprocessing.Queue` shares one pipe
//! and two locks among all; a process that dies while it holds one stops the others for ever.)
//!
//! Under pipe and queue lies a [`Channel`]: a socket, and a ring of shared memory in each direction,
//! through which a short message reaches a process that is awake without a system call. Both sides
//! check what the other has written there; nothing that a dying process leaves behind makes
//! another one wait.
//!
//! Messages are serde types in the postcard format, in frames of a known length of at most
//! [`MAX_MESSAGE`] bytes.

mod buffer;
mod channel;
mod error;
mod frame;
mod os;
mod packet;
mod pipe;
mod queue;
mod receiving;
mod ring;
mod sending;
mod shared;
mod told;

pub use channel::{Channel, MAX_MESSAGE};
pub use error::{Error, explained};
pub use os::Socket;
pub use packet::{Packet, decode};
pub use pipe::{Pipe, pipe};
pub use queue::{Receiver, Sender, bounded};
pub use receiving::{RecvHalf, Waitable, wait};
pub use sending::SendHalf;
pub use shared::{Plain, SharedSlice};
