//! What a pool, its futures and the threads beside its workers share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use ipc::{Packet, RecvHalf};

use crate::builder::Settings;
use crate::child::Child;
use crate::dispatch::{End, Line, Phase, Send, State};
use crate::future::later;
use crate::job::Job;
use crate::message::{Board, Order, Setup};
use crate::slot::{Rest, Slot};
use crate::trace::Trace;
use crate::worker::MARK;
use crate::{Error, Task, TaskOptions, os};

/// The way to a process that was started, and the way back.
pub(crate) type Started = (Arc<Line>, RecvHalf);

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    state: Mutex<State>,
    /// The last task has ended, or a thread beside a worker has.
    pub(crate) quiet: Condvar,
    /// There is something new to keep time of, or the pool ends.
    pub(crate) clock: Condvar,
    /// A worker that rests is to start a process, or to end.
    pub(crate) wake: Condvar,
    ids: AtomicU64,
    /// Nanoseconds.
    pub(crate) encoding: AtomicU64,
    pub(crate) trace: Trace,
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            state: State::new(settings.workers).into(),
            settings,
            quiet: Condvar::new(),
            clock: Condvar::new(),
            wake: Condvar::new(),
            ids: AtomicU64::new(0),
            encoding: AtomicU64::new(0),
            trace: Trace::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the pool is locked")
    }

    /// Numbers for so many tasks; the first of them.
    pub(crate) fn ids(&self, count: u32) -> u64 {
        self.ids.fetch_add(count.into(), Relaxed)
    }

    /// Encodes a task, to be handed in. One that cannot be encoded has ended.
    pub(crate) fn encode<T: Task>(
        &self,
        task: T,
        options: &TaskOptions,
    ) -> Result<Arc<Slot>, Arc<Slot>> {
        let id = self.ids(1);
        // Consumes the task: an end of a pipe in it must not stay open on this side.
        let order = match options.time_out {
            Some(_) => Order::Timed(task),
            None => Order::Task(task),
        };
        let begun = if self.settings.traced { os::now() } else { 0 };
        let encoded = self.encoding(id, || Packet::encode(&order));
        if self.settings.traced {
            self.trace.handed_in(id, begun);
        }
        drop(order);
        match encoded {
            Ok(task) => Ok(Slot::new(id, task, options).into()),
            Err(error) => Err(Slot::failed(id, Error::encode("task", error)).into()),
        }
    }

    /// The time of every sixteenth task is taken, and stands for sixteen: a look at the clock
    /// costs as much as the encoding of a short task.
    fn encoding<R>(&self, id: u64, encode: impl FnOnce() -> R) -> R {
        if !id.is_multiple_of(16) {
            return encode();
        }
        let begun = Instant::now();
        let encoded = encode();
        let nanos = u64::try_from(16 * begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.encoding.fetch_add(nanos, Relaxed);
        encoded
    }

    /// Hands a job in.
    pub(crate) fn submit(&self, job: Job) {
        let mut state = self.state();
        if let Some(error) = state.phase.over() {
            drop(state);
            return job.fail(error);
        }
        let limit = job.time_out();
        state.push(job);
        let mut sends = Vec::new();
        state.feed_idle(&self.settings, &mut sends);
        if limit.is_some_and(|limit| state.needs_clock(limit)) {
            self.clock.notify_one();
        }
        drop(state);
        self.send(sends);
    }

    /// Cancels a task that no worker has begun; whether it has done so.
    pub(crate) fn cancel(&self, slot: &Arc<Slot>) -> bool {
        let mut state = self.state();
        let cancelled = state.cancel(slot);
        if matches!(state.phase, Phase::Closing) && state.is_quiet() {
            self.quiet.notify_all();
        }
        drop(state);
        cancelled.map(Rest::tell).is_some()
    }

    /// Sends what was decided under the lock. Never waits: see [`LARGE`](crate::job::LARGE).
    pub(crate) fn send(&self, sends: Vec<Send>) {
        for send in sends {
            match send {
                Send::Ping(line) => line.say(&Order::Ping),
                Send::Bye(line) => {
                    line.say(&Order::Bye);
                    self.clock.notify_one();
                }
                Send::Wake => self.wake.notify_all(),
                Send::Look => self.clock.notify_one(),
                Send::Job(line, job) => match job.send(&line.out) {
                    // A worker that is gone shows as the end of its answers, which is where its
                    // tasks go elsewhere.
                    Ok(()) | Err(ipc::Error::Disconnected) => {}
                    Err(error) => {
                        job.fail(Error::encode("task", error));
                        // What was sent after it would be taken for it.
                        line.child.kill();
                    }
                },
            }
        }
    }

    /// Tells who waits.
    pub(crate) fn tell(&self, ends: Vec<End>) {
        for end in ends {
            match end {
                End::Task(slot, outcome) => slot.end(outcome),
                End::Piece(chunk, piece) => chunk.end(piece),
                End::All(job, error) => job.fail(error),
                End::Traced(span) => self.trace.done(span),
            }
        }
    }

    /// The pool runs no more tasks: all fail, and the workers are killed.
    pub(crate) fn break_down(&self, cause: Error) {
        let mut ends = Vec::new();
        {
            let mut state = self.state();
            if !matches!(state.phase, Phase::Open | Phase::Closing) {
                return;
            }
            let cause = Arc::new(cause);
            state.phase = Phase::Broken(cause.clone());
            state.give_up(&Error::Broken(cause), &mut ends);
            state.workers.iter().flat_map(|worker| &worker.line).for_each(|l| l.child.kill());
            self.notify_all();
        }
        self.tell(ends);
    }

    /// The pool has ended: every thread that waits is to see it.
    pub(crate) fn notify_all(&self) {
        [&self.quiet, &self.clock, &self.wake].into_iter().for_each(Condvar::notify_all);
    }

    /// Starts processes for workers, side by side.
    pub(crate) fn start_all(
        &self,
        workers: Vec<usize>,
    ) -> Result<Vec<(usize, Started)>, Error> {
        workers.into_iter().map(|index| Ok((index, self.start(index)?))).collect()
    }

    /// Starts a process for a worker, and tells it what it needs to know.
    pub(crate) fn start(&self, index: usize) -> Result<Started, Error> {
        let prefix = self.settings.prefix.then(|| format!("worker {index}: "));
        let (child, out, input) = Child::start(MARK, self.settings.task, prefix.as_deref())?;
        child.watch(out.socket()).map_err(Error::start)?;
        let failed = |error: ipc::Error| Error::start(error.into());
        let board = Board::new().map_err(failed)?;
        let initializer = self.settings.initializer.as_ref();
        let setup = Setup {
            memory: board.clone(),
            initializer: initializer.map(|(name, _)| (*name).to_owned()),
            grace: u32::try_from(self.settings.grace.as_secs()).unwrap_or(u32::MAX).max(1),
            traced: self.settings.traced,
        };
        let line = Line::new(out, board, child);
        let setup = Packet::encode(&Order::<()>::Setup(setup)).map_err(failed)?;
        // A worker that ends at once is found out when it does not report for work.
        let _ = line.out.send(&setup);
        if let Some((_, task)) = initializer {
            let _ = line.out.send(task);
        }
        Ok((line.into(), input))
    }

    /// The thread that keeps the limits of tasks and of idleness, and in the end the grace of the
    /// workers. It sleeps until the next limit that there may be, and for ever while there is none.
    pub(crate) fn keep_time(&self) {
        let mut state = self.state();
        while state.phase.over().is_none() {
            let mut sends = Vec::new();
            let left = state.next_look(&self.settings, &mut sends);
            if !sends.is_empty() {
                drop(state);
                self.send(sends);
                state = self.state();
                continue;
            }
            state = match left {
                Some(left) => self.clock.wait_timeout(state, left).expect("no panic").0,
                None => self.clock.wait(state).expect("no panic while the pool is locked"),
            };
        }
        let deadline = later(self.settings.grace);
        while state.workers.iter().any(|worker| worker.served) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let lines = state.workers.iter().flat_map(|worker| &worker.line);
                return lines.for_each(|line| line.child.kill());
            }
            state = self.quiet.wait_timeout(state, left).expect("no panic").0;
        }
    }
}
