//! A bounded queue between processes.
//!
//! The process that makes the queue owns it: the messages wait in its memory, under its own
//! mutex. An end that travels to another process is served there by a thread over a private
//! connection, so a process that dies takes nobody's lock along. The price is a round trip
//! through the owner for each message of a remote end.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};
use std::{io, thread};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::os::{Handle, Socket};
use crate::packet::{attach, detach};
use crate::{Channel, Error, Packet};

/// A queue of at most `capacity` messages, 1 or more.
///
/// Both ends can be cloned, and sent to other processes; every message goes to exactly one
/// receiver. When all senders are gone, the receivers get what is left and then
/// [`Error::Disconnected`]; when all receivers are gone, so do the senders. A process that dies
/// is gone; what it was about to put into a full queue still arrives. A message that was handed
/// to a process which then dies is lost with it, and a queue ends with its owner. (There is no
/// `empty()`: its answer is old when it arrives.)
///
/// # Errors
/// [`Error::NoCapacity`] for 0.
pub fn bounded<T>(capacity: usize) -> Result<(Sender<T>, Receiver<T>), Error> {
    if capacity == 0 {
        return Err(Error::NoCapacity);
    }
    let state = State { messages: VecDeque::new(), senders: 1, receivers: 1 };
    let queue = Arc::new(Queue {
        capacity,
        state: Mutex::new(state),
        not_full: Condvar::new(),
        not_empty: Condvar::new(),
    });
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
    /// is in the owner's memory: the death of this process does not take it back.
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
        self.put(message, Some(time_out))
    }

    fn put(&self, message: &T, time_out: Option<Duration>) -> Result<(), Error> {
        let message = Packet::encode(message)?;
        match &self.end {
            End::Local(sender) => sender.0.push(message, time_out)?,
            End::Remote(channel) => ask(channel, message.prepend(&time_out)?).map(drop)?,
        }
        Ok(())
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
        self.take(Some(time_out))
    }

    /// The messages until all senders are gone. A message of another type is an error between
    /// them; any other error is the last item.
    pub fn iter(&self) -> impl Iterator<Item = Result<T, Error>> {
        let mut over = false;
        std::iter::from_fn(move || {
            let message = (!over).then(|| self.recv())?;
            over = matches!(&message, Err(error) if !error.concerns_one_message());
            (!matches!(message, Err(Error::Disconnected))).then_some(message)
        })
    }

    fn take(&self, time_out: Option<Duration>) -> Result<T, Error> {
        match &self.end {
            End::Local(receiver) => receiver.0.pop(time_out, || false)?,
            End::Remote(channel) => ask(channel, Packet::encode(&time_out)?)?,
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

/// An end in the owner's process, or a connection to one.
#[derive(Clone, Debug)]
enum End<Local> {
    Local(Local),
    /// Threads of one process share a connection: one question at a time. A time-out begins
    /// when the question is asked, and it is the owner that keeps it.
    Remote(Arc<Mutex<Channel>>),
}

/// Sends a request to the owner and waits for what it says.
fn ask(channel: &Mutex<Channel>, request: Packet) -> Result<Packet, Error> {
    let mut channel = channel.lock().expect("no panic while asking");
    channel.send(&request)?;
    let answer = channel.recv().map_err(|error| match error {
        // The owner died while it answered.
        Error::Truncated { .. } => Error::Disconnected,
        error => error,
    });
    let (answer, rest) = answer?.split_first::<Result<(), Refusal>>()?;
    answer?;
    Ok(rest)
}

/// Why the queue does not take, or give, a message.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    TimedOut,
    Disconnected,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TimedOut => Self::TimedOut,
            Refusal::Disconnected => Self::Disconnected,
        }
    }
}

#[derive(Debug)]
struct Queue {
    capacity: usize,
    state: Mutex<State>,
    not_full: Condvar,
    not_empty: Condvar,
}

#[derive(Debug)]
struct State {
    messages: VecDeque<Packet>,
    /// Ends alive, in this process and, one for each connection, in others.
    senders: usize,
    receivers: usize,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the queue is locked")
    }

    fn push(&self, message: Packet, time_out: Option<Duration>) -> Result<(), Refusal> {
        let deadline = time_out.and_then(|time_out| Instant::now().checked_add(time_out));
        let mut state = self.state();
        loop {
            if state.receivers == 0 {
                return Err(Refusal::Disconnected);
            }
            if state.messages.len() < self.capacity {
                state.messages.push_back(message);
                // All, not one: the one that wakes might be about to leave by its time-out.
                self.not_empty.notify_all();
                return Ok(());
            }
            state = wait(&self.not_full, state, deadline)?;
        }
    }

    /// `given_up` is looked at whenever `not_empty` is notified.
    fn pop(
        &self,
        time_out: Option<Duration>,
        given_up: impl Fn() -> bool,
    ) -> Result<Packet, Refusal> {
        let deadline = time_out.and_then(|time_out| Instant::now().checked_add(time_out));
        let mut state = self.state();
        loop {
            if given_up() {
                return Err(Refusal::Disconnected);
            }
            if let Some(message) = state.messages.pop_front() {
                self.not_full.notify_all();
                return Ok(message);
            }
            if state.senders == 0 {
                return Err(Refusal::Disconnected);
            }
            state = wait(&self.not_empty, state, deadline)?;
        }
    }

    /// Puts a message that could not be delivered back where it was.
    fn put_back(&self, message: Packet) {
        self.state().messages.push_front(message);
        self.not_empty.notify_all();
    }
}

fn wait<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, State>,
    deadline: Option<Instant>,
) -> Result<MutexGuard<'a, State>, Refusal> {
    let Some(deadline) = deadline else {
        return Ok(condition.wait(state).expect("no panic while the queue is locked"));
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Refusal::TimedOut);
    }
    let woken = condition.wait_timeout(state, left);
    Ok(woken.expect("no panic while the queue is locked").0)
}

/// Counts as one sender of the queue.
#[derive(Debug)]
struct LocalSender(Arc<Queue>);

/// Counts as one receiver of the queue.
#[derive(Debug)]
struct LocalReceiver(Arc<Queue>);

impl Clone for LocalSender {
    fn clone(&self) -> Self {
        self.0.state().senders += 1;
        Self(self.0.clone())
    }
}

impl Clone for LocalReceiver {
    fn clone(&self) -> Self {
        self.0.state().receivers += 1;
        Self(self.0.clone())
    }
}

impl Drop for LocalSender {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.senders -= 1;
        if state.senders == 0 {
            self.0.not_empty.notify_all();
        }
    }
}

impl Drop for LocalReceiver {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.receivers -= 1;
        if state.receivers == 0 {
            // Nobody can take them any more; ends that travel inside a message close with it.
            let unread = std::mem::take(&mut state.messages);
            self.0.not_full.notify_all();
            drop(state);
            drop(unread);
        }
    }
}

impl LocalSender {
    /// Serves a sender in another process, until that end is closed.
    fn serve(self, mut channel: Channel) -> Result<(), Error> {
        loop {
            let (time_out, message) = channel.recv()?.split_first()?;
            channel.send(&Packet::encode(&self.0.push(message, time_out))?)?;
        }
    }
}

impl LocalReceiver {
    /// Serves a receiver in another process, until that end is closed.
    ///
    /// A second thread listens on the connection: a consumer that dies while the queue is empty
    /// is noticed at once, not when the next message comes.
    fn serve(self, channel: Channel) -> Result<(), Error> {
        let (requests, requested) = mpsc::channel::<Option<Duration>>();
        let closed = Arc::new(AtomicBool::new(false));
        let mut listener = Channel::from(channel.socket().try_clone()?);
        thread::Builder::new().name("queue-listener".into()).spawn({
            let (closed, queue) = (closed.clone(), self.0.clone());
            move || {
                while let Ok(time_out) = listener.recv().and_then(Packet::decode) {
                    if requests.send(time_out).is_err() {
                        break;
                    }
                }
                closed.store(true, SeqCst);
                // Under the lock, so that it cannot fall between a look at `closed` and a wait.
                let _state = queue.state();
                queue.not_empty.notify_all();
            }
        })?;
        while let Ok(time_out) = requested.recv() {
            let given_up = || closed.load(SeqCst);
            let (answer, message) = match self.0.pop(time_out, given_up) {
                Ok(message) => (Ok(()), message),
                Err(refusal) => (Err(refusal), Packet::empty()),
            };
            let mut reply = message.prepend::<Result<(), Refusal>>(&answer)?;
            if let Err(error) = channel.send(&reply) {
                if answer.is_ok() {
                    reply = reply.split_first::<Result<(), Refusal>>()?.1;
                    self.0.put_back(reply);
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Makes an end for another process: a connection with a thread of this process at its side.
///
/// The thread counts as that end until the connection closes: when the other process drops the
/// end or dies, or when the message that carries it is never sent.
fn lend<Local: Clone + Send + 'static>(
    end: &End<Local>,
    serve: fn(Local, Channel) -> Result<(), Error>,
) -> io::Result<Handle> {
    let End::Local(local) = end else {
        return Err(io::Error::other("only the process that made a queue hands out its ends"));
    };
    let (ours, theirs) = Socket::pair()?;
    let local = local.clone();
    let connection = ours.try_clone()?;
    thread::Builder::new().name("queue-end".into()).spawn(move || {
        // An error is the end of this connection, and the other side is told so.
        let _ = serve(local, Channel::from(ours));
        connection.shut_down();
    })?;
    Ok(theirs.into())
}

fn connected<'de, L, D: Deserializer<'de>>(deserializer: D) -> Result<End<L>, D::Error> {
    let channel = Channel::from(Socket::from(detach(deserializer)?));
    Ok(End::Remote(Arc::new(Mutex::new(channel))))
}

impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        attach(serializer, || lend(&self.end, LocalSender::serve))
    }
}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        attach(serializer, || lend(&self.end, LocalReceiver::serve))
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { end: connected(deserializer)?, message: PhantomData })
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { end: connected(deserializer)?, message: PhantomData })
    }
}
