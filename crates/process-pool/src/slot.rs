//! One task in the parent: what goes out, and then what came of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ipc::{Packet, SendHalf};

use crate::TaskOptions;
use crate::job::LARGE;
use crate::life::{Event, Life};
use crate::message::NOTHING;
use crate::{Error, call};

/// What an end of a pipe takes on its way: its message does not share room with others, and
/// takes a kernel buffer of its own.
const END: usize = 1 << 10;

/// An output, still encoded as an answer.
pub(crate) type Outcome = Result<Packet, Box<Error>>;

/// Called once, when the task has ended.
pub(crate) type Watcher = Box<dyn FnOnce() + Send>;

/// One allocation for each task, shared by its future and its pool.
pub(crate) struct Slot {
    pub(crate) id: u64,
    pub(crate) urgent: bool,
    size: u32,
    /// Nanoseconds; the most there are for no limit. Shorter than an `Option`: there may be millions of these.
    time_out: u64,
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    life: Life,
    /// Somebody sleeps until the end: else waking would be a system call for nobody.
    awaited: bool,
    retries: u32,
    content: Content,
    /// Most tasks have none.
    watchers: Option<Box<Watchers>>,
}

#[derive(Default)]
struct Watchers {
    /// Each with its number.
    list: Vec<(u64, Watcher)>,
    next: u64,
}

/// What an end leaves to be done without any lock: dropping the task may take long, and closes ends
/// of pipes; and callbacks do what they like.
pub(crate) struct Rest {
    task: Content,
    watchers: Option<Box<Watchers>>,
}

impl Rest {
    pub(crate) fn tell(self) {
        drop(self.task);
        let watchers = self.watchers.into_iter().flat_map(|watchers| watchers.list);
        watchers.for_each(|(_, watcher)| call(watcher));
    }
}

enum Content {
    Task(Packet),
    /// Sent without the lock: that may take as long as the worker takes to read it.
    Large(Arc<Packet>),
    Outcome(Outcome),
    Taken,
}

impl Slot {
    pub(crate) fn new(id: u64, task: Packet, options: &TaskOptions) -> Self {
        let size = task.bytes().len() + END * task.ends();
        let content = match size {
            LARGE.. => Content::Large(task.into()),
            _ => Content::Task(task),
        };
        Self::with(id, u32::try_from(size).unwrap_or(u32::MAX), Life::Pending, content, options)
    }

    /// A task that never began.
    pub(crate) fn failed(id: u64, error: Error) -> Self {
        let content = Content::Outcome(Err(error.into()));
        Self::with(id, 0, Life::Finished, content, &TaskOptions::default())
    }

    fn with(id: u64, size: u32, life: Life, content: Content, options: &TaskOptions) -> Self {
        let &TaskOptions { time_out, retries, urgent } = options;
        let watchers = None;
        let state = State { life, awaited: false, retries, content, watchers };
        let nanos = |limit: Duration| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let time_out = time_out.map_or(u64::MAX, nanos);
        Self { id, urgent, size, time_out, state: state.into(), ended: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while a task is locked")
    }

    /// How long the task may run.
    pub(crate) fn time_out(&self) -> Option<Duration> {
        (self.time_out < u64::MAX).then(|| Duration::from_nanos(self.time_out))
    }

    /// Bytes that the encoded task takes on its way.
    pub(crate) fn size(&self) -> usize {
        self.size as usize
    }

    pub(crate) fn life(&self) -> Life {
        self.state().life
    }

    /// Moves the task on; false when its life goes another way.
    pub(crate) fn step(&self, event: Event) -> bool {
        let mut state = self.state();
        let next = state.life.after(event);
        state.life = next.unwrap_or(state.life);
        next.is_some()
    }

    /// Sends the task. One that has ended meanwhile is sent as nothing to do: every message
    /// counts, on both sides.
    pub(crate) fn send(&self, line: &SendHalf) -> Result<(), ipc::Error> {
        let large = {
            let state = self.state();
            match &state.content {
                Content::Task(packet) => return line.send(packet),
                Content::Large(packet) => packet.clone(),
                Content::Outcome(_) | Content::Taken => {
                    return line.send(&Packet::from(vec![NOTHING]));
                }
            }
        };
        line.send(&large)
    }

    /// One more try, for a task that may begin twice.
    pub(crate) fn retry(&self) -> bool {
        let mut state = self.state();
        let left = state.retries.checked_sub(1);
        state.retries = left.unwrap_or_default();
        left.is_some()
    }

    /// Cancels the task if no worker has it.
    pub(crate) fn cancel(&self) -> Option<Rest> {
        let state = self.state();
        if state.life != Life::Pending {
            return None;
        }
        self.end_locked(state, Err(Error::Cancelled.into()))
    }

    /// Ends the task, unless it has ended; the task itself is dropped.
    pub(crate) fn end(&self, outcome: Outcome) {
        if let Some(rest) = self.end_locked(self.state(), outcome) {
            rest.tell();
        }
    }

    fn end_locked(&self, mut state: MutexGuard<'_, State>, outcome: Outcome) -> Option<Rest> {
        let event = match &outcome {
            Err(error) if matches!(**error, Error::Cancelled) => Event::Cancel,
            _ => Event::Finish,
        };
        state.life = state.life.after(event)?;
        let task = std::mem::replace(&mut state.content, Content::Outcome(outcome));
        let watchers = std::mem::take(&mut state.watchers);
        let awaited = state.awaited;
        drop(state);
        if awaited {
            self.ended.notify_all();
        }
        Some(Rest { task, watchers })
    }

    /// Calls `watcher` at the end: from the thread that brings it, or now when it has come. Its
    /// number among those of the task, if it waits.
    pub(crate) fn watch(&self, watcher: Watcher) -> Option<u64> {
        let mut state = self.state();
        if state.life.is_over() {
            drop(state);
            call(watcher);
            return None;
        }
        let watchers = state.watchers.get_or_insert_default();
        let number = watchers.next;
        watchers.next += 1;
        watchers.list.push((number, watcher));
        Some(number)
    }

    /// Forgets a watcher that has not been called.
    pub(crate) fn unwatch(&self, number: u64) {
        if let Some(watchers) = &mut self.state().watchers {
            watchers.list.retain(|(other, _)| *other != number);
        }
    }

    /// Waits for the end; false when the deadline passes first.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state();
        while !state.life.is_over() {
            state.awaited = true;
            state = match deadline.map(|deadline| deadline.duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                Some(left) => self.ended.wait_timeout(state, left).expect("no panic").0,
                None => self.ended.wait(state).expect("no panic while a task is locked"),
            };
        }
        true
    }

    /// What came of a task that has ended.
    pub(crate) fn take(&self) -> Outcome {
        let mut state = self.state();
        match std::mem::replace(&mut state.content, Content::Taken) {
            Content::Outcome(outcome) => outcome,
            _ => unreachable!("the task has ended, and a future is used up with its outcome"),
        }
    }

    /// The error of a task that has ended with one.
    pub(crate) fn error(&self) -> Option<Error> {
        match &self.state().content {
            Content::Outcome(Err(error)) => Some((**error).clone()),
            _ => None,
        }
    }
}
