//! A bounded queue between processes.
//!
//! The process that makes the queue owns it: the messages wait in its memory, under its own
//! mutex. An end that travels to another process is served there by threads over a private
//! connection, so a process that dies takes nobody's lock along.
//!
//! Nothing goes back and forth for each message. A sender in another process is granted places
//! in advance, which the owner takes back when another sender needs them; the last receiver is
//! sent what comes, and a message keeps its place in the queue until that one takes it. Of
//! several receivers each asks for one message after the other, so none waits at a busy one.

mod lend;
mod remote;
mod state;
mod words;

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::lend::Lend;
use self::remote::Remote;
use self::state::{LocalReceiver, LocalSender, Queue};
use crate::os::Handle;
use crate::packet::{attach, detach, refused};
use crate::{Error, Packet};

/// A queue of at most `capacity` messages, 1 or more.
///
/// Both ends can be cloned, and sent to other processes; every message goes to exactly one
/// receiver. When all senders are gone, the receivers get what is left and then
/// [`Error::Disconnected`]; when all receivers are gone, so do the senders. A process that dies
/// is gone. What holds whoever dies, and when:
///
/// - At most `capacity` messages have been sent and are not received.
/// - A receiver gets the messages of one sender in the order in which that sent them; one that
///   comes back from a dead receiver comes late.
/// - What was sent arrives although its sender is killed. What it was sending arrives whole or
///   not at all.
/// - A receiver that is killed takes along what its program had taken. A message on its way to it
///   goes back to the front of the queue, except to the last receiver: nobody is left for it.
/// - The queue ends with its owner, the process that made it.
///
/// A message from another process lies in the queue a moment after `send` has returned there, and
/// a receiver that looks without waiting might not see it yet. So there is no `empty()`: count the
/// messages, or close the queue.
///
/// Threads that share one end in another process wait one after the other, and a time-out begins
/// when it is their turn.
///
/// # Errors
/// [`Error::NoCapacity`] for 0.
pub fn bounded<T>(capacity: usize) -> Result<(Sender<T>, Receiver<T>), Error> {
    if capacity == 0 {
        return Err(Error::NoCapacity);
    }
    let queue = Arc::new(Queue::new(capacity));
    Ok((
        Sender { end: End::Local(LocalSender(queue.clone())), message: PhantomData },
        Receiver { end: End::Local(LocalReceiver(queue)), message: PhantomData },
    ))
}

/// The end of a [`bounded`] queue that messages go into.
#[derive(Debug)]
pub struct Sender<T> {
    end: End<LocalSender>,
    message: PhantomData<fn(T)>,
}

/// The end of a [`bounded`] queue that messages come out of.
#[derive(Debug)]
pub struct Receiver<T> {
    end: End<LocalReceiver>,
    message: PhantomData<fn() -> T>,
}

impl<T: Serialize> Sender<T> {
    /// Puts a message into the queue; waits while it is full. When this returns, the message
    /// is in memory that the owner holds: the death of this process does not take it back.
    ///
    /// # Errors
    /// [`Error::Disconnected`] when all receivers, or the owner, are gone; [`Error::Encode`].
    pub fn send(&self, message: &T) -> Result<(), Error> {
        self.put(message, None)
    }

    /// The same, waiting at most `time_out`; then [`Error::TimedOut`], and the message is not
    /// in the queue.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_timeout(&self, message: &T, time_out: Duration) -> Result<(), Error> {
        self.put(message, Instant::now().checked_add(time_out))
    }

    fn put(&self, message: &T, deadline: Option<Instant>) -> Result<(), Error> {
        let message = Packet::encode(message)?;
        match &self.end {
            End::Local(sender) => sender.0.push(message, deadline),
            End::Remote(remote) => remote.push(message, deadline),
        }
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// Waits for the next message.
    ///
    /// # Errors
    /// [`Error::Disconnected`] when the queue is empty and all senders, or the owner, are gone;
    /// [`Error::Decode`] for a message of another type, which is lost; the queue goes on.
    pub fn recv(&self) -> Result<T, Error> {
        self.take(None)
    }

    /// The same, for at most `time_out`; then [`Error::TimedOut`].
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, time_out: Duration) -> Result<T, Error> {
        self.take(Instant::now().checked_add(time_out))
    }

    /// The messages until all senders are gone. A message of another type is an error between
    /// them; any other error is the last item. So is the end of the owner: nobody knows what it had
    /// still to give.
    pub fn iter(&self) -> impl Iterator<Item = Result<T, Error>> {
        let mut over = false;
        std::iter::from_fn(move || {
            let message = (!over).then(|| self.recv())?;
            over = matches!(&message, Err(error) if !error.concerns_one_message());
            let is_end = matches!(message, Err(Error::Disconnected)) && self.has_ended();
            (!is_end).then_some(message)
        })
    }

    /// Whether the owner has said that nothing comes any more, and is not merely gone.
    fn has_ended(&self) -> bool {
        match &self.end {
            End::Local(_) => true,
            End::Remote(remote) => remote.has_ended(),
        }
    }

    fn take(&self, deadline: Option<Instant>) -> Result<T, Error> {
        match &self.end {
            End::Local(receiver) => receiver.0.pop(deadline)?,
            End::Remote(remote) => remote.pop(deadline)?,
        }
        .decode()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { end: self.end.clone(), message: PhantomData }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { end: self.end.clone(), message: PhantomData }
    }
}

/// An end in the owner's process, or a connection to it.
#[derive(Clone, Debug)]
enum End<Local> {
    Local(Local),
    Remote(Arc<Remote>),
}

/// What the sides of a lent end say, in the last byte of a packet. A sender sends messages, and
/// asks the owner to look at its wish; the owner answers that it may look at its places. A
/// receiver asks the owner to look; the owner sends messages, and the end of them. To both the
/// owner says why messages are lost, if they are.
const MESSAGE: u8 = 0;
const LOOK: u8 = 1;
const END: u8 = 2;
const LOST: u8 = 3;

fn lent<L: Lend, S: Serializer>(end: &End<L>, serializer: S) -> Result<S::Ok, S::Error> {
    attach(serializer, || match end {
        End::Local(local) => local.lend().map_err(io::Error::from),
        End::Remote(_) => {
            Err(io::Error::other("only the process that made a queue hands out its ends"))
        }
    })
}

fn connected<'de, L, D: Deserializer<'de>>(
    deserializer: D,
    over: impl FnOnce(Handle) -> Result<Remote, Error>,
) -> Result<End<L>, D::Error> {
    let remote = over(detach(deserializer)?).map_err(refused)?;
    Ok(End::Remote(Arc::new(remote)))
}

impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        lent(&self.end, serializer)
    }
}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        lent(&self.end, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { end: connected(deserializer, Remote::sender)?, message: PhantomData })
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { end: connected(deserializer, Remote::receiver)?, message: PhantomData })
    }
}
