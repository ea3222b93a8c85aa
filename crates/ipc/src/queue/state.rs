//! The queue in its owner's memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use super::MESSAGE;
use super::words::Words;
use crate::os::Socket;
use crate::receiving::WATCH;
use crate::{Error, Packet, SendHalf};

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) capacity: usize,
    pub(super) state: Mutex<State>,
    pub(super) not_full: Condvar,
    pub(super) not_empty: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) messages: VecDeque<Packet>,
    /// Places taken by no message that lies here: granted to senders in other processes, and
    /// filled by messages that receivers in other processes were given and have not taken.
    reserved: usize,
    /// Ends alive, in this process and, one for each connection, in others.
    pub(super) senders: usize,
    pub(super) receivers: usize,
    lent_senders: BTreeMap<usize, LentSender>,
    lent_receivers: BTreeMap<usize, LentReceiver>,
    lent: usize,
    wait_for_room: usize,
    wait_for_messages: usize,
    /// Why messages are lost that a sender in another process had sent.
    pub(super) lost: Option<String>,
}

/// What the queue knows of a sender in another process.
#[derive(Debug)]
struct LentSender {
    words: Words,
    /// Places granted and not filled, as counted here: the other side's count is not believed.
    granted: usize,
    connection: Socket,
}

/// What the queue knows of a receiver in another process.
#[derive(Debug)]
struct LentReceiver {
    words: Words,
    given: u64,
    taken: u64,
    sending: Arc<SendHalf>,
    /// Its thread sends what it was given; what comes next must come behind that.
    busy: bool,
}

impl LentReceiver {
    /// Places that have become free since the last look.
    fn settle(&mut self) -> usize {
        let taken = self.words.taken().clamp(self.taken, self.given);
        let places = taken - self.taken;
        self.taken = taken;
        usize::try_from(places).expect("never more than were given at once")
    }

    fn untaken(&self) -> usize {
        usize::try_from(self.given - self.taken).expect("never more than the capacity")
    }
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        let state = State { senders: 1, receivers: 1, ..State::default() };
        let (not_full, not_empty) = (Condvar::new(), Condvar::new());
        Self { capacity, state: Mutex::new(state), not_full, not_empty }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the queue is locked")
    }

    /// Wakes whoever waits for a place. After each change that frees some.
    pub(super) fn notify_room(&self, state: &State) {
        if state.wait_for_room > 0 {
            self.not_full.notify_all();
        }
    }

    /// Wakes whoever waits for a message, or for the end of them.
    ///
    /// All, not one: the one that wakes might be about to leave by its time-out.
    pub(super) fn notify_messages(&self, state: &State) {
        if state.wait_for_messages > 0 {
            self.not_empty.notify_all();
        }
    }

    pub(super) fn push(&self, message: Packet, deadline: Option<Instant>) -> Result<(), Error> {
        let mut state = self.room(deadline)?;
        state.put(message);
        if !state.messages.is_empty() {
            self.notify_messages(&state);
        }
        Ok(())
    }

    /// Waits until there is a free place.
    pub(super) fn room(
        &self,
        deadline: Option<Instant>,
    ) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.state();
        loop {
            if state.receivers == 0 {
                return Err(Error::Disconnected);
            }
            if state.find_room(self.capacity) > 0 {
                return Ok(state);
            }
            state.wait_for_room += 1;
            let (woken, in_time) = wait(&self.not_full, state, deadline);
            state = woken;
            state.wait_for_room -= 1;
            if !in_time {
                return Err(Error::TimedOut);
            }
        }
    }

    pub(super) fn pop(&self, deadline: Option<Instant>) -> Result<Packet, Error> {
        let mut state = self.state();
        loop {
            if let Some(message) = state.messages.pop_front() {
                self.notify_room(&state);
                return Ok(message);
            }
            if let Some(why) = &state.lost {
                return Err(Error::Lost(why.clone()));
            }
            if state.is_over(None) {
                return Err(Error::Disconnected);
            }
            let (woken, in_time) = self.wait_for_messages(state, deadline);
            state = woken;
            if !in_time {
                return Err(Error::TimedOut);
            }
        }
    }

    /// Waits for a change; false when the deadline has passed.
    pub(super) fn wait_for_messages<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, State>, bool) {
        state.wait_for_messages += 1;
        let (mut state, in_time) = wait(&self.not_empty, state, deadline);
        state.wait_for_messages -= 1;
        (state, in_time)
    }
}

fn wait<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, State>,
    deadline: Option<Instant>,
) -> (MutexGuard<'a, State>, bool) {
    const WHY: &str = "no panic while the queue is locked";
    let Some(deadline) = deadline else { return (condition.wait(state).expect(WHY), true) };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return (state, false);
    }
    (condition.wait_timeout(state, left).expect(WHY).0, true)
}

impl State {
    fn room(&self, capacity: usize) -> usize {
        capacity - self.messages.len() - self.reserved
    }

    /// How many places are free, when those that can be had are had.
    fn find_room(&mut self, capacity: usize) -> usize {
        if self.room(capacity) == 0 {
            self.settle();
        }
        if self.room(capacity) == 0 {
            for sender in self.lent_senders.values_mut() {
                let places = usize::try_from(sender.words.revoke()).unwrap_or(usize::MAX);
                let places = places.min(sender.granted);
                sender.granted -= places;
                self.reserved -= places;
            }
        }
        if self.room(capacity) == 0 {
            self.watch(capacity);
        }
        if self.room(capacity) == 0 {
            self.ask_to_tell();
        }
        self.room(capacity)
    }

    /// Looks for a moment whether a receiver in another process takes a message: one that is at it
    /// frees a place sooner than a thread falls asleep.
    fn watch(&mut self, capacity: usize) {
        if self.lent_receivers.values().all(|lent| lent.untaken() == 0) {
            return;
        }
        let begun = Instant::now();
        while self.room(capacity) == 0 && begun.elapsed() < WATCH {
            std::hint::spin_loop();
            self.settle();
        }
    }

    /// Frees the places of messages that were taken in other processes.
    pub(super) fn settle(&mut self) {
        self.reserved -=
            self.lent_receivers.values_mut().map(LentReceiver::settle).sum::<usize>();
    }

    /// Asks the receivers in other processes to tell when they take a message.
    fn ask_to_tell(&mut self) {
        for receiver in self.lent_receivers.values_mut().filter(|lent| lent.untaken() > 0) {
            receiver.words.tell();
            // One that was taken before the flag was seen.
            self.reserved -= receiver.settle();
        }
    }

    /// Whether nothing comes any more: no message, no sender, and none that a receiver other than
    /// `except` holds and could give back by dying.
    pub(super) fn is_over(&mut self, except: Option<usize>) -> bool {
        if !self.messages.is_empty() || self.senders > 0 {
            return false;
        }
        self.settle();
        if self.reserved > 0 {
            self.ask_to_tell();
        }
        let own = except.map_or(0, |id| self.lent_receivers[&id].untaken());
        self.reserved == own
    }

    pub(super) fn lend_sender(&mut self, words: Words, connection: Socket) -> usize {
        self.lent += 1;
        self.lent_senders.insert(self.lent, LentSender { words, granted: 0, connection });
        self.lent
    }

    pub(super) fn lend_receiver(&mut self, words: Words, sending: Arc<SendHalf>) -> usize {
        self.lent += 1;
        let receiver = LentReceiver { words, given: 0, taken: 0, sending, busy: true };
        self.lent_receivers.insert(self.lent, receiver);
        self.lent
    }

    /// Puts a message where there is room for it: into the memory of the last receiver, if that
    /// is in another process and has nothing to wait for; else into the queue.
    fn put(&mut self, mut message: Packet) {
        if self.receivers == 1
            && self.messages.is_empty()
            && let Some(receiver) = self.lent_receivers.values_mut().next()
            && !receiver.busy
        {
            receiver.words.set_last();
            message.bytes.push(MESSAGE);
            if matches!(receiver.sending.try_send(&message), Ok(true)) {
                receiver.given += 1;
                self.reserved += 1;
                if self.wait_for_room > 0 {
                    receiver.words.tell();
                }
                return;
            }
            message.bytes.pop();
        }
        self.messages.push_back(message);
    }

    /// Puts messages of a lent sender into the places that it was granted.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when they are more.
    pub(super) fn fill(
        &mut self,
        id: usize,
        messages: impl ExactSizeIterator<Item = Packet>,
    ) -> Result<(), Error> {
        let sender = self.lent_senders.get_mut(&id).expect("lent until its thread ends");
        let left = sender.granted.checked_sub(messages.len());
        sender.granted =
            left.ok_or(Error::Corrupt("more messages than a sender has places"))?;
        self.reserved -= messages.len();
        messages.for_each(|message| self.put(message));
        Ok(())
    }

    /// Grants a sender its share of the free places, and `at_least` so many of them.
    pub(super) fn grant(&mut self, id: usize, capacity: usize, at_least: usize) {
        // While somebody waits for a place, nobody is given one in advance.
        let share = match self.wait_for_room {
            0 => self.room(capacity) / self.lent_senders.len(),
            _ => 0,
        };
        let places = share.max(at_least);
        let sender = self.lent_senders.get_mut(&id).expect("lent until its thread ends");
        sender.granted += places;
        self.reserved += places;
        sender.words.grant(places);
    }

    pub(super) fn drop_sender(&mut self, id: usize) {
        let sender = self.lent_senders.remove(&id).expect("lent until its thread ends");
        self.reserved -= sender.granted;
    }

    /// Gives the first `count` messages to a lent receiver. They keep their places.
    pub(super) fn give(&mut self, id: usize, count: usize) -> Vec<Packet> {
        let receiver = self.lent_receivers.get_mut(&id).expect("lent until its thread ends");
        receiver.given += count as u64;
        receiver.busy = true;
        self.reserved += count;
        if self.wait_for_room > 0 {
            receiver.words.tell();
        }
        self.messages.drain(..count).collect()
    }

    /// A lent receiver was sent what it was given. How many messages has it taken?
    pub(super) fn sent(&mut self, id: usize) -> u64 {
        self.settle();
        let receiver = self.lent_receivers.get_mut(&id).expect("lent until its thread ends");
        receiver.busy = false;
        receiver.taken
    }

    /// A lent receiver is gone: what it had not taken of `given` is the others'.
    pub(super) fn drop_receiver(&mut self, id: usize, given: VecDeque<Packet>) {
        self.settle();
        let receiver = self.lent_receivers.remove(&id).expect("lent until its thread ends");
        self.reserved -= receiver.untaken();
        let untaken = receiver.untaken().min(given.len());
        for message in given.into_iter().rev().take(untaken) {
            self.messages.push_front(message);
        }
    }
}

/// Counts as one sender of the queue.
#[derive(Debug)]
pub(super) struct LocalSender(pub(super) Arc<Queue>);

/// Counts as one receiver of the queue.
#[derive(Debug)]
pub(super) struct LocalReceiver(pub(super) Arc<Queue>);

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
            self.0.notify_messages(&state);
        }
    }
}

impl Drop for LocalReceiver {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.receivers -= 1;
        match state.receivers {
            0 => {
                // Nobody can take them any more; ends that travel inside a message close with it.
                let unread = std::mem::take(&mut state.messages);
                state.lent_senders.values().for_each(|lent| lent.connection.shut_down());
                self.0.notify_room(&state);
                drop(state);
                drop(unread);
            }
            // The last one left may be in another process, and need not ask from now on.
            1 => self.0.notify_messages(&state),
            _ => {}
        }
    }
}
