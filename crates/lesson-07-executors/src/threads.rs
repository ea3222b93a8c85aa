//! Executors in this process.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once};
use std::thread::{self, JoinHandle};
use std::{io, mem};

use crossbeam_channel::{Sender, unbounded};
use process_pool::Task;

use crate::{Error, Executor, Future};

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads and one queue. Dropped, it waits for every task that was handed in:
/// a thread cannot be ended from outside.
pub struct ThreadPool {
    /// None only while the pool is dropped.
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl ThreadPool {
    /// Starts so many threads.
    ///
    /// # Errors
    /// When the operating system has no thread left.
    pub fn new(workers: usize) -> io::Result<Self> {
        // Every worker holds the receiving end: whoever is free takes the next job.
        let (jobs, queue) = unbounded::<Job>();
        let mut pool = Self { jobs: Some(jobs), threads: Vec::new() };
        for number in 0..workers {
            let queue = queue.clone();
            let work = move || {
                panics_are_told_by_futures();
                queue.iter().for_each(|job| job());
            };
            let name = format!("worker-{number}");
            pool.threads.push(thread::Builder::new().name(name).spawn(work)?);
        }
        Ok(pool)
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            thread.join().expect("a worker catches every panic");
        }
    }
}

impl<T: Task<Output: Send> + Send + 'static> Executor<T> for ThreadPool {
    fn submit(&self, task: T) -> Box<dyn Future<T::Output>> {
        let (slot, job) = job(task);
        let jobs = self.jobs.as_ref().expect("the pool is there");
        jobs.send(job).expect("the workers listen as long as the pool is there");
        Box::new(slot)
    }
}

/// Rayon's pool, with so many threads.
///
/// # Errors
/// When the operating system has no thread left.
pub fn rayon_pool(workers: usize) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(workers)
        .start_handler(|_| panics_are_told_by_futures())
        .build()
}

impl<T: Task<Output: Send> + Send + 'static> Executor<T> for rayon::ThreadPool {
    fn submit(&self, task: T) -> Box<dyn Future<T::Output>> {
        let (slot, job) = job(task);
        self.spawn(job);
        Box::new(slot)
    }
}

/// A new thread for each task.
pub struct ThreadPerTask;

impl<T: Task<Output: Send> + Send + 'static> Executor<T> for ThreadPerTask {
    fn submit(&self, task: T) -> Box<dyn Future<T::Output>> {
        let (slot, job) = job(task);
        in_a_thread(slot, job)
    }
}

/// Starts a thread for the job that ends the slot.
pub(crate) fn in_a_thread<O: Send + 'static>(
    slot: Arc<Slot<O>>,
    job: impl FnOnce() + Send + 'static,
) -> Box<dyn Future<O>> {
    let work = || {
        panics_are_told_by_futures();
        job();
    };
    if let Err(error) = thread::Builder::new().spawn(work) {
        // The job is lost with its thread; the future must end all the same.
        slot.end(Err(Error::Worker(process_pool::Error::Start(error.into()))));
    }
    Box::new(slot)
}

/// A task, and the place for what comes of it.
fn job<T: Task<Output: Send> + Send + 'static>(task: T) -> (Arc<Slot<T::Output>>, Job) {
    let slot = Arc::new(Slot::default());
    let outcome = slot.clone();
    let job = move || {
        if outcome.begin() {
            // What a panic leaves half done is dropped with the task.
            let run = AssertUnwindSafe(|| task.run().map_err(Error::Failed));
            outcome.end(panic::catch_unwind(run).unwrap_or_else(|panic| Err(panicked(panic))));
        }
    };
    (slot, Box::new(job))
}

fn panicked(panic: Box<dyn Any + Send>) -> Error {
    let text = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().unwrap_or_default()).into(),
    };
    Error::Panicked(text)
}

/// From now on a panic on this thread is not printed: its future says it.
fn panics_are_told_by_futures() {
    thread_local!(static TOLD: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !TOLD.get() {
                print(info);
            }
        }));
    });
    TOLD.set(true);
}

/// One task, seen by its future and by the thread that runs it.
pub(crate) struct Slot<O> {
    state: Mutex<State<O>>,
    ended: Condvar,
}

struct State<O> {
    begun: bool,
    outcome: Option<Result<O, Error>>,
    watchers: Vec<Box<dyn FnOnce() + Send>>,
}

impl<O> Default for Slot<O> {
    fn default() -> Self {
        let state = State { begun: false, outcome: None, watchers: Vec::new() };
        Self { state: state.into(), ended: Condvar::new() }
    }
}

impl<O> Slot<O> {
    /// False for a task that was cancelled. From here on it cannot be: one lock decides.
    pub(crate) fn begin(&self) -> bool {
        let mut state = self.state.lock().expect("no panic under this lock");
        state.begun = true;
        state.outcome.is_none()
    }

    pub(crate) fn end(&self, outcome: Result<O, Error>) {
        self.end_locked(self.state.lock().expect("no panic under this lock"), outcome);
    }

    fn end_locked(&self, mut state: MutexGuard<'_, State<O>>, outcome: Result<O, Error>) {
        state.outcome = Some(outcome);
        let watchers = mem::take(&mut state.watchers);
        drop(state);
        self.ended.notify_all();
        // Without the lock: a watcher may ask this very future.
        watchers.into_iter().for_each(|call| call());
    }
}

impl<O> Future<O> for Arc<Slot<O>> {
    fn cancel(&self) -> bool {
        let state = self.state.lock().expect("no panic under this lock");
        if state.begun || state.outcome.is_some() {
            return matches!(state.outcome, Some(Err(Error::Cancelled)));
        }
        // Still under the lock: nobody begins it meanwhile.
        self.end_locked(state, Err(Error::Cancelled));
        true
    }

    fn on_done(&self, call: Box<dyn FnOnce() + Send>) {
        let mut state = self.state.lock().expect("no panic under this lock");
        if state.outcome.is_none() {
            state.watchers.push(call);
            return;
        }
        drop(state);
        call();
    }

    fn result(self: Box<Self>) -> Result<O, Error> {
        let state = self.state.lock().expect("no panic under this lock");
        let mut state = self
            .ended
            .wait_while(state, |state| state.outcome.is_none())
            .expect("no panic under this lock");
        state.outcome.take().expect("it was waited for, and only the owner takes it")
    }
}
