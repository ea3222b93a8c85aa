//! The owner's side of an end in another process: a thread, or two, at a private connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::{io, thread};

use super::state::{LocalReceiver, LocalSender};
use super::words::Words;
use super::{END, LOOK, LOST, MESSAGE};
use crate::error::explained;
use crate::os::{Handle, Socket};
use crate::{Channel, Error, Packet, RecvHalf, SendHalf};

/// The most messages that are moved while the queue is locked.
const AT_ONCE: usize = 64;

/// An end that can be lent to another process. It counts as that end until the connection closes:
/// when the other process drops the end or dies, or when the message that carries it is never
/// sent.
pub(super) trait Lend: Clone {
    /// Serves the other process on threads of this one.
    fn serve(self, words: Words, channel: Channel) -> io::Result<()>;

    fn lend(&self) -> Result<Handle, Error> {
        let (ours, theirs) = Socket::pair()?;
        let (ours, words) = (Channel::from(ours), Words::new()?);
        // The first message on the connection: it is there before the end arrives.
        ours.send(&Packet::encode(&words)?)?;
        self.clone().serve(words, ours).map_err(no_thread)?;
        Ok(theirs.into())
    }
}

/// Threads are what the limits of a process or a user run out of there; a second handle to a
/// socket may be refused as well, which says so itself.
fn no_thread(error: io::Error) -> io::Error {
    let error = explained(error);
    io::Error::new(error.kind(), format!("no thread serves an end of a queue: {error}"))
}

impl Lend for LocalSender {
    fn serve(self, words: Words, channel: Channel) -> io::Result<()> {
        let connection = channel.socket().try_clone()?;
        let id = self.0.state().lend_sender(words.clone(), channel.socket().try_clone()?);
        let (sending, receiving) = channel.split();
        let queue = self.0.clone();
        let thread = thread::Builder::new().name("queue-sender".into()).spawn(move || {
            // An error is the end of this connection, and the other side is told so.
            let ended = collect(&self, id, &words, &sending, receiving);
            let lost = ended.err().and_then(|error| why_lost(&error));
            if let Some(why) = &lost {
                let _ = sending.send(&lost_messages(why));
            }
            connection.shut_down();
            let mut state = self.0.state();
            state.drop_sender(id);
            state.lost = state.lost.take().or(lost);
            self.0.notify_messages(&state);
            self.0.notify_room(&state);
        });
        if thread.is_err() {
            queue.state().drop_sender(id);
        }
        thread.map(drop)
    }
}

/// Why this process cannot receive any more, if that is no fault of the other one's: what that one
/// has sent is lost then, though it was told that it had arrived.
fn why_lost(error: &Error) -> Option<String> {
    match error {
        Error::Io(cause) => Some(cause.to_string()),
        Error::Ends(cause) => Some(format!("{error}: {cause}")),
        _ => None,
    }
}

fn lost_messages(why: &str) -> Packet {
    Packet::from([why.as_bytes(), &[LOST]].concat())
}

/// Puts what a sender in another process sends into the queue, and grants it the places for it.
fn collect(
    LocalSender(queue): &LocalSender,
    id: usize,
    words: &Words,
    sending: &SendHalf,
    mut receiving: RecvHalf,
) -> Result<(), Error> {
    loop {
        let mut messages = Vec::new();
        let mut asked = false;
        // The first is waited for; an error behind it comes again when it is.
        let mut next = Some(receiving.recv()?);
        while let Some(mut packet) = next {
            match packet.bytes.pop() {
                Some(MESSAGE) => messages.push(packet),
                Some(LOOK) => asked = true,
                _ => return Err(Error::Corrupt("what no sender of a queue says")),
            }
            next = if messages.len() < AT_ONCE {
                receiving.try_recv().unwrap_or(None)
            } else {
                None
            };
        }
        {
            let mut state = queue.state();
            state.fill(id, messages.into_iter())?;
            state.grant(id, queue.capacity, 0);
            if !state.messages.is_empty() {
                queue.notify_messages(&state);
            }
        }
        if asked && words.has_wish() {
            let mut state = queue.room(None)?;
            // It waits for the place, or has given up meanwhile: then others may have it.
            if words.end_wish() {
                state.grant(id, queue.capacity, 1);
                drop(state);
                sending.send(&Packet::from(vec![LOOK]))?;
            }
        }
    }
}

impl Lend for LocalReceiver {
    /// A second thread listens on the connection: a consumer that dies while the queue is empty
    /// is noticed at once, not when the next message comes.
    fn serve(self, words: Words, channel: Channel) -> io::Result<()> {
        let connection = channel.socket().try_clone()?;
        let (sending, mut receiving) = channel.split();
        let closed = Arc::new(AtomicBool::new(false));
        let listener = thread::Builder::new().name("queue-listener".into());
        listener.spawn({
            let (queue, closed) = (self.0.clone(), closed.clone());
            move || {
                while receiving.recv().is_ok() {
                    let mut state = queue.state();
                    state.settle();
                    queue.notify_room(&state);
                    queue.notify_messages(&state);
                }
                // The other thread might be about to send, or to wait.
                connection.shut_down();
                let state = queue.state();
                closed.store(true, SeqCst);
                queue.notify_messages(&state);
            }
        })?;
        thread::Builder::new().name("queue-receiver".into()).spawn(move || {
            let sending = Arc::new(sending);
            let id = self.0.state().lend_receiver(words.clone(), sending.clone());
            let mut given = VecDeque::new();
            let sent = hand_out(&self, id, &words, &sending, &mut given, &closed);
            sending.socket().shut_down();
            let mut state = self.0.state();
            state.drop_receiver(id, given);
            self.0.notify_room(&state);
            self.0.notify_messages(&state);
            sent
        })?;
        Ok(())
    }
}

/// Sends the messages of the queue to a receiver in another process until that is gone: one when
/// it asks, or, when no other receiver is left, all as they come. What it was `given` and has
/// not taken is left there.
fn hand_out(
    LocalReceiver(queue): &LocalReceiver,
    id: usize,
    words: &Words,
    sending: &SendHalf,
    given: &mut VecDeque<Packet>,
    closed: &AtomicBool,
) -> Result<(), Error> {
    let (mut first_given, mut told) = (0, false);
    loop {
        let mut state = queue.state();
        let (messages, is_last) = loop {
            if closed.load(SeqCst) {
                return Ok(());
            }
            let taken = state.sent(id);
            while first_given < taken && given.pop_front().is_some() {
                first_given += 1;
            }
            let is_last = state.receivers == 1;
            if is_last {
                words.set_last();
            }
            let waiting = state.messages.len();
            if waiting > 0 && (is_last || words.end_wish()) {
                let count = if is_last { waiting.min(AT_ONCE) } else { 1 };
                break (state.give(id, count), is_last);
            }
            if !told && waiting == 0 && (state.lost.is_some() || state.is_over(Some(id))) {
                told = true;
                break (Vec::new(), is_last);
            }
            state = queue.wait_for_messages(state, None).0;
        };
        let end = messages.is_empty().then(|| match &state.lost {
            Some(why) => lost_messages(why),
            None => Packet::from(vec![END]),
        });
        drop(state);
        if let Some(end) = end {
            sending.send(&end)?;
        }
        for mut message in messages {
            if !message.handles.is_empty() {
                // Its ends stay open here until it is taken: that must be known at once.
                words.tell();
            }
            message.bytes.push(MESSAGE);
            let sent = sending.send(&message);
            message.bytes.pop();
            // The last receiver has nobody to leave a message to.
            if !is_last {
                given.push_back(message);
            }
            sent?;
        }
    }
}
