//! A fixed number of workers. One thread of the parent belongs to each: it hands the worker a
//! task, waits for what comes back, and starts another worker when this one dies. It sleeps in
//! the operating system meanwhile; nothing polls.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use ipc::{Packet, Socket};

use crate::child::Child;
use crate::process::{decode, encode};
use crate::{Error, Task};

/// A pool of worker processes for tasks of one type.
///
/// A worker that dies fails the task it runs and is replaced; the tasks that wait are run by
/// the others. [`shutdown`](Self::shutdown) waits for every task; dropping the pool cancels
/// what has not ended (`multiprocessing.Pool` and `ProcessPoolExecutor` differ in just this
/// when their `with` block ends). Either way no process is left.
#[derive(Debug)]
pub struct Pool<T> {
    shared: Arc<Shared>,
    drivers: Vec<JoinHandle<()>>,
    tasks: PhantomData<fn(T)>,
}

/// The result of a submitted task, when it comes. Every future ends: with the output, or with
/// what went wrong.
#[derive(Debug)]
pub struct Future<T: Task> {
    outcome: Receiver<Outcome>,
    task: PhantomData<fn() -> T>,
}

/// An output, still encoded.
type Outcome = Result<Packet, Error>;

/// A task on its way. Dropped without an outcome, it ends its future as cancelled.
#[derive(Debug)]
struct Job {
    task: Packet,
    outcome: Sender<Outcome>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Tasks that found no idle worker.
    waiting: VecDeque<Job>,
    /// Idle workers, the one that has been idle longest first: fresh tasks spread over all.
    idle: VecDeque<usize>,
    /// How a task reaches an idle worker's driver; empty when the pool takes no more.
    mailboxes: Vec<Sender<Job>>,
    /// The workers' connections, to end them from here.
    sockets: Vec<Socket>,
    replaced: usize,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Open,
    /// No worker could be started; the tasks that wait have failed with this cause.
    Broken(Arc<Error>),
    /// The pool is being dropped: whatever runs is cancelled.
    Cancelled,
}

impl<T: Task> Pool<T> {
    /// Starts `workers` processes and waits until all are ready.
    ///
    /// # Errors
    /// [`Error::NoWorkers`], [`Error::Start`], [`Error::NotReady`].
    pub fn new(workers: usize) -> Result<Self, Error> {
        if workers == 0 {
            return Err(Error::NoWorkers);
        }
        // First all are started, then all are waited for: they start side by side.
        let mut children =
            (0..workers).map(|_| Child::start::<T>()).collect::<Result<Vec<_>, _>>()?;
        children.iter_mut().try_for_each(Child::ready)?;

        let sockets = children.iter().map(|child| child.socket().try_clone());
        let sockets = sockets.collect::<Result<_, _>>().map_err(Error::Start)?;
        let (mailboxes, inboxes): (_, Vec<_>) =
            children.iter().map(|_| mpsc::channel()).unzip();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                idle: (0..workers).collect(),
                mailboxes,
                sockets,
                replaced: 0,
                phase: Phase::Open,
            }),
        });
        let mut pool = Self { shared, drivers: Vec::new(), tasks: PhantomData };
        for (worker, (child, inbox)) in children.into_iter().zip(inboxes).enumerate() {
            let driver = Driver { worker, inbox, shared: pool.shared.clone() };
            let thread = thread::Builder::new().name(format!("worker-{worker}"));
            // A thread that does not start drops its child, and the pool ends the others.
            let thread = thread.spawn(move || driver.run::<T>(child)).map_err(Error::Start)?;
            pool.drivers.push(thread);
        }
        Ok(pool)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.drivers.len()
    }

    /// How many workers died and were replaced.
    pub fn replaced(&self) -> usize {
        self.shared.state().replaced
    }

    /// Hands a task in and does not wait. A task that cannot be encoded, or comes to a broken
    /// pool, ends with that error.
    pub fn submit(&self, task: T) -> Future<T> {
        let (outcome, future) = mpsc::channel();
        match encode(task) {
            Ok(task) => self.shared.submit(Job { task, outcome }),
            Err(error) => end(&outcome, Err(error)),
        }
        Future { outcome: future, task: PhantomData }
    }

    /// Waits for every task that was handed in, then ends the workers.
    pub fn shutdown(mut self) {
        self.shared.state().mailboxes.clear();
        for driver in self.drivers.drain(..) {
            driver.join().expect("a driver does not panic");
        }
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.phase = Phase::Cancelled;
            state.waiting.clear();
            state.mailboxes.clear();
            state.sockets.iter().for_each(Socket::shut_down);
        }
        for driver in self.drivers.drain(..) {
            // A second panic while one unwinds would end the program without a word.
            let _ = driver.join();
        }
    }
}

impl<T: Task> Future<T> {
    /// Waits for the task's end.
    ///
    /// # Errors
    /// What the task came to; see [`Error`].
    pub fn result(self) -> Result<T::Output, Error> {
        let outcome = self.outcome.recv().unwrap_or(Err(Error::Cancelled));
        decode::<T>(outcome?)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the pool is locked")
    }

    fn submit(&self, job: Job) {
        let mut state = self.state();
        if let Phase::Broken(cause) = &state.phase {
            end(&job.outcome, Err(Error::Broken(cause.clone())));
            return;
        }
        match state.idle.pop_front() {
            Some(worker) => state.mailboxes[worker]
                .send(job)
                .expect("an idle driver listens until its mailbox closes"),
            None => state.waiting.push_back(job),
        }
    }

    fn break_down(&self, cause: Error) {
        let mut state = self.state();
        if state.is_cancelled() {
            return;
        }
        let cause = Arc::new(cause);
        for job in state.waiting.drain(..) {
            end(&job.outcome, Err(Error::Broken(cause.clone())));
        }
        state.phase = Phase::Broken(cause);
    }
}

/// Ends a future. One that nobody waits for any more is no error.
fn end(outcome: &Sender<Outcome>, what: Outcome) {
    let _ = outcome.send(what);
}

/// The thread beside one worker.
struct Driver {
    worker: usize,
    inbox: Receiver<Job>,
    shared: Arc<Shared>,
}

impl Driver {
    fn run<T: Task>(self, mut child: Child) {
        // A new worker is idle: its first task comes to it, so that fresh tasks reach them all.
        let mut next = self.inbox.recv().ok();
        while let Some(job) = next {
            let sent = child.send(&job.task);
            // A worker that died between two tasks has not had this one: another one gets it.
            let again = sent.is_err() && child.is_over();
            let outcome = sent.and_then(|()| child.receive());
            if child.is_over() {
                if self.shared.state().is_cancelled() {
                    return;
                }
                // The replacement comes first: who sees the failure finds the pool whole again.
                match self.replace::<T>() {
                    Ok(replacement) => child = replacement,
                    Err(cause) => {
                        end(&job.outcome, outcome);
                        return self.shared.break_down(cause);
                    }
                }
                if again {
                    next = Some(job);
                    continue;
                }
            }
            end(&job.outcome, outcome);
            next = self.next_job();
        }
        child.finish();
    }

    /// The next task, or none when the pool has ended.
    fn next_job(&self) -> Option<Job> {
        {
            let mut state = self.shared.state();
            if let Some(job) = state.waiting.pop_front() {
                return Some(job);
            }
            if state.mailboxes.is_empty() {
                return None;
            }
            state.idle.push_back(self.worker);
        }
        self.inbox.recv().ok()
    }

    fn replace<T: Task>(&self) -> Result<Child, Error> {
        let mut child = Child::start::<T>()?;
        let socket = child.socket().try_clone().map_err(Error::Start)?;
        {
            let mut state = self.shared.state();
            if state.is_cancelled() {
                return Err(Error::Cancelled);
            }
            // Before it is ready: a pool that is dropped does not wait for a slow start.
            state.sockets[self.worker] = socket;
        }
        child.ready()?;
        self.shared.state().replaced += 1;
        Ok(child)
    }
}

impl State {
    fn is_cancelled(&self) -> bool {
        matches!(self.phase, Phase::Cancelled)
    }
}
