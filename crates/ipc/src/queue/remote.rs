//! An end of a queue in a process that does not own it.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::words::Words;
use super::{END, LOOK, LOST, MESSAGE};
use crate::os::Handle;
use crate::os::Socket;
use crate::{Channel, Error, Packet, RecvHalf, SendHalf};

/// How long an answer that was promised in time may take: longer only when the owner is stopped.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// The connection to the owner. Threads of this process share it: one waits at a time.
#[derive(Debug)]
pub(super) struct Remote {
    words: Words,
    sending: SendHalf,
    incoming: Mutex<Incoming>,
}

#[derive(Debug)]
struct Incoming {
    receiving: RecvHalf,
    /// The queue has ended.
    over: bool,
}

impl Remote {
    /// An end that messages go into.
    ///
    /// # Errors
    /// When this is no connection to the owner of a queue.
    pub(super) fn sender(handle: Handle) -> Result<Self, Error> {
        Self::over(handle)
    }

    /// An end that messages come out of. It only asks, and makes no ring for that: its owner would
    /// have to take it over, and might have no room for one more open file.
    ///
    /// # Errors
    /// As [`sender`](Self::sender).
    pub(super) fn receiver(handle: Handle) -> Result<Self, Error> {
        let mut remote = Self::over(handle)?;
        remote.sending.room = 0;
        Ok(remote)
    }

    fn over(handle: Handle) -> Result<Self, Error> {
        let mut channel = Channel::from(Socket::from(handle));
        // Sent before the end was.
        let words: Words = channel.recv_timeout(Duration::ZERO)?.decode()?;
        if !words.are_whole() {
            return Err(Error::Corrupt("an end of a queue without its words"));
        }
        let (sending, receiving) = channel.split();
        Ok(Self { words, sending, incoming: Mutex::new(Incoming { receiving, over: false }) })
    }

    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().expect("no panic while receiving")
    }

    fn look(&self, deadline: Option<Instant>) -> Result<(), Error> {
        self.sending.send_until(&Packet::from(vec![LOOK]), deadline)
    }

    /// Puts a message into the queue, as its sender.
    pub(super) fn push(
        &self,
        mut message: Packet,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        while !self.words.take_place() {
            let mut incoming = self.incoming();
            // Another thread might have waited for places, and got some more.
            if self.words.take_place() {
                break;
            }
            self.words.wish();
            let answer = self
                .look(deadline)
                .and_then(|()| self.wait(&mut incoming.receiving, deadline))
                .and_then(|packet| lost(&packet).map_or(Ok(()), Err));
            if let Err(error) = answer {
                self.words.end_wish();
                return Err(explained(error, &mut incoming.receiving));
            }
        }
        message.bytes.push(MESSAGE);
        let sent = self.sending.send_until(&message, deadline);
        if matches!(sent, Err(Error::TimedOut)) {
            self.words.grant(1);
        }
        sent.map_err(|error| explained(error, &mut self.incoming().receiving))
    }

    /// Takes a message out of the queue, as its receiver.
    pub(super) fn pop(&self, deadline: Option<Instant>) -> Result<Packet, Error> {
        let mut incoming = self.incoming();
        let Incoming { receiving, over } = &mut *incoming;
        if *over {
            return Err(Error::Disconnected);
        }
        let message = match receiving.try_recv()? {
            Some(message) => message,
            None if self.words.is_last() => receiving.recv_until(deadline)?,
            None => {
                self.words.wish();
                self.look(deadline)?;
                let message = self.wait(receiving, deadline);
                self.words.end_wish();
                message?
            }
        };
        let mut message = message;
        match message.bytes.pop() {
            Some(MESSAGE) => {}
            Some(END) => {
                *over = true;
                return Err(Error::Disconnected);
            }
            Some(LOST) => {
                *over = true;
                return Err(Error::Lost(String::from_utf8_lossy(&message.bytes).into()));
            }
            _ => return Err(Error::Corrupt("what no owner of a queue says")),
        }
        if self.words.count_taken() {
            // Whether the owner is still there is the next call's affair: this message is.
            let _ = self.look(None);
        }
        Ok(message)
    }

    /// Whether the owner has said that nothing comes any more.
    pub(super) fn has_ended(&self) -> bool {
        self.incoming().over
    }

    /// Waits for what was wished for. A wish that could not be withdrawn in time is granted: the
    /// answer is on its way.
    fn wait(
        &self,
        receiving: &mut RecvHalf,
        deadline: Option<Instant>,
    ) -> Result<Packet, Error> {
        match receiving.recv_until(deadline) {
            Err(Error::TimedOut) if !self.words.end_wish() => {
                receiving.recv_timeout(ON_ITS_WAY)
            }
            answer => answer,
        }
    }
}

/// What an owner says that cannot receive.
fn lost(packet: &Packet) -> Option<Error> {
    let (&LOST, why) = packet.bytes.split_last()? else { return None };
    Some(Error::Lost(String::from_utf8_lossy(why).into()))
}

/// An owner that is gone may have said why.
fn explained(error: Error, receiving: &mut RecvHalf) -> Error {
    if !matches!(error, Error::Disconnected) {
        return error;
    }
    let said = std::iter::from_fn(|| receiving.try_recv().ok().flatten());
    said.filter_map(|packet| lost(&packet)).next().unwrap_or(error)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::bounded;
    use crate::queue::End;

    /// What a consumer that dies at the worst moment takes along: nothing.
    #[test]
    fn a_message_that_was_handed_out_and_not_taken_goes_back() {
        let (sender, receiver) = bounded::<u64>(4).unwrap();
        let lent: crate::Receiver<u64> = Packet::encode(&receiver).unwrap().decode().unwrap();
        let End::Remote(remote) = &lent.end else { panic!("it has travelled") };
        remote.words.wish();
        remote.look(None).unwrap();
        sender.send(&1).unwrap();
        // Here, and the program does not know it yet.
        let message = remote.incoming().receiving.recv().unwrap();
        sender.send(&2).unwrap();
        drop((message, lent));
        let both = [receiver.recv().unwrap(), receiver.recv().unwrap()];
        assert!(both.contains(&1) && both.contains(&2));
    }

    /// A sender that says it has places that it was not granted.
    #[test]
    fn more_messages_than_places_end_the_connection() {
        let (sender, receiver) = bounded::<u64>(2).unwrap();
        let liar: crate::Sender<u64> = Packet::encode(&sender).unwrap().decode().unwrap();
        let End::Remote(remote) = &liar.end else { panic!("it has travelled") };
        remote.words.grant(1_000_000);
        let error = (0..).find_map(|number| liar.send(&number).err()).unwrap();
        assert!(matches!(error, Error::Disconnected));
        drop((sender, liar));
        assert!(receiver.iter().count() <= 2);
    }

    #[test]
    fn an_idle_sender_keeps_no_place_from_another_one() {
        let (sender, receiver) = bounded::<u64>(3).unwrap();
        let idle: crate::Sender<u64> = Packet::encode(&sender).unwrap().decode().unwrap();
        idle.send(&0).unwrap();
        assert_eq!(receiver.recv().unwrap(), 0);
        // All three places are free, whoever was granted some of them.
        (1..=3).for_each(|number| sender.send_timeout(&number, ON_ITS_WAY).unwrap());
        let refused = idle.send_timeout(&4, Duration::from_millis(1));
        assert!(matches!(refused, Err(Error::TimedOut)));
        assert!((1..=3).all(|number| receiver.recv().unwrap() == number));
    }
}
