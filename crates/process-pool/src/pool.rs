//! The pool itself: handing in, and ending.

use std::io::Write;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use crate::builder::{Builder, NO_WORKERS, Settings};
use crate::collector::{self, Collector};
use crate::dispatch::Phase;
use crate::job::Job;
use crate::map::Map;
use crate::message::Order;
use crate::metrics::{Metrics, WorkerMetrics};
use crate::shared::{Shared, Started};
use crate::{Error, Future, Task, TaskOptions};

/// A pool of worker processes for tasks of one type.
///
/// A worker that dies fails the task it runs and is replaced; the tasks that it had not begun
/// are run by the others. [`shutdown`](Self::shutdown) waits for every task; dropping the pool
/// cancels what has not ended (`multiprocessing.Pool` and `ProcessPoolExecutor` differ in just
/// this when their `with` block ends). Either way no worker is left. What a task starts or forks
/// is its own: nobody kills it, and on Linux nobody waits for it.
pub struct Pool<T> {
    pub(crate) shared: Arc<Shared>,
    /// Beside the workers.
    threads: Mutex<Vec<JoinHandle<()>>>,
    clock: Option<JoinHandle<()>>,
    tasks: PhantomData<fn(T)>,
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

impl<T: Task> Pool<T> {
    /// Starts so many worker processes and waits until all are ready.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new(workers: usize) -> Result<Self, Error> {
        Self::builder().workers(workers).build()
    }

    /// For a pool that is told more than how many workers it has.
    pub fn builder() -> Builder<T> {
        Builder::new()
    }

    pub(crate) fn start(settings: Settings) -> Result<Self, Error> {
        let shared = Arc::new(Shared::new(settings));
        let mut pool =
            Self { shared, threads: Mutex::default(), clock: None, tasks: PhantomData };
        let missing = pool.shared.state().missing();
        let processes = pool.shared.start_all(missing)?;
        let clock = pool.shared.clone();
        pool.clock = Some(start_thread("pool-clock".into(), move || clock.keep_time())?);
        pool.join(&mut pool.threads(), processes)?;
        Ok(pool)
    }

    /// Hands a task in and does not wait. A task that cannot be encoded, or comes to a broken
    /// pool, ends with that error.
    pub fn submit(&self, task: T) -> Future<T> {
        self.submit_with(task, self.shared.settings.options)
    }

    /// The same, for a task that asks for more than the pool's others.
    pub fn submit_with(&self, task: T, options: TaskOptions) -> Future<T> {
        let slot = self.shared.encode(task, &options).map_or_else(
            |failed| failed,
            |slot| {
                self.shared.submit(Job::Task(slot.clone()));
                slot
            },
        );
        Future::new(slot, self.shared.clone())
    }

    /// The outputs of many tasks, in the order of the tasks. They are taken from the iterator as
    /// the outputs are asked for, a bounded number ahead; several travel together when they are
    /// short. See [`Map`].
    pub fn map<I: IntoIterator<Item = T>>(&self, tasks: I) -> Map<'_, T, I::IntoIter> {
        Map::new(self, tasks.into_iter())
    }

    /// Waits for every task that was handed in, then ends the workers. A task that hangs and has
    /// no time-out is waited for: [`shutdown_now`](Self::shutdown_now) does not wait, and
    /// [`cancel_pending`](Self::cancel_pending) before it has it wait for what runs alone. If the
    /// pool breaks meanwhile, all tasks end with [`Error::Broken`], and this returns.
    pub fn shutdown(self) {
        let mut state = self.shared.state();
        if matches!(state.phase, Phase::Open) {
            state.phase = Phase::Closing;
        }
        while matches!(state.phase, Phase::Closing) && !state.is_quiet() {
            state = self.shared.quiet.wait(state).expect("no panic while the pool is locked");
        }
        if matches!(state.phase, Phase::Closing) {
            state.phase = Phase::Ended;
            let lines: Vec<_> = state.workers.iter().filter_map(|w| w.line.clone()).collect();
            drop(state);
            lines.iter().for_each(|line| line.say(&Order::Bye));
        }
    }
}

impl<T> Pool<T> {
    /// Cancels every task that no worker has begun, wherever it waits; those of a map that were
    /// taken from its iterator too. What runs goes on, and what is handed in later is run. Before
    /// [`shutdown`](Self::shutdown) it is the `shutdown(cancel_futures=True)` of Python, which does
    /// not take back what waits in its pipe.
    pub fn cancel_pending(&self) {
        let mut ends = Vec::new();
        self.shared.state().cancel_pending(&mut ends);
        self.shared.tell(ends);
    }

    /// How many workers there are, those among them that idled for too long and have no process.
    pub fn workers(&self) -> usize {
        self.shared.state().size
    }

    /// Changes how many workers there are, while the pool works.
    ///
    /// More: the new ones are ready when this returns. Fewer: this does not wait. The surplus
    /// ones, those with the highest numbers, get no more work; each finishes the task that it
    /// runs and ends, and what it had not begun is run by the others. No task is killed, lost or
    /// run twice.
    ///
    /// Several threads may do this at once, and so may callbacks of futures; it is done one after
    /// another. One of [`on_log`](Builder::on_log) must not: the record may come from a worker
    /// that this waits for.
    ///
    /// # Errors
    /// [`Error::Rejected`] for 0 workers, [`Error::Broken`], and what [`Builder::build`] fails
    /// with when a worker does not start: then there are as many as before.
    pub fn resize(&self, workers: usize) -> Result<(), Error> {
        if workers == 0 {
            return Err(Error::Rejected(NO_WORKERS));
        }
        let mut threads = self.threads();
        let before = self.workers();
        let missing = self.set_size(workers)?;
        let processes = self.shared.start_all(missing);
        let joined = processes.and_then(|processes| self.join(&mut threads, processes));
        if joined.is_err() {
            self.set_size(before)?;
        }
        joined
    }

    /// Which workers are missing then.
    fn set_size(&self, workers: usize) -> Result<Vec<usize>, Error> {
        let mut sends = Vec::new();
        let mut state = self.shared.state();
        // In a pool that has ended nothing waits again.
        if let Some(error) = state.phase.over() {
            return Err(error);
        }
        state.resize(workers, &self.shared.settings, &mut sends);
        let missing = state.missing();
        drop(state);
        self.shared.send(sends);
        Ok(missing)
    }

    /// The threads beside the workers. Who has them is alone in changing how many there are.
    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().expect("no panic while workers start")
    }

    /// Processes that were started are waited for and take their places.
    fn join(
        &self,
        threads: &mut Vec<JoinHandle<()>>,
        mut processes: Vec<(usize, Started)>,
    ) -> Result<(), Error> {
        let shared = &self.shared;
        for (index, (line, input)) in &mut processes {
            collector::report(*index, line, input, shared)?;
        }
        let mut sends = Vec::new();
        // Under one lock: the first tasks spread over all, and what becomes of a process is seen
        // after its coming.
        let mut state = shared.state();
        if let Some(error) = state.phase.over() {
            return Err(error);
        }
        threads.retain(|thread| !thread.is_finished());
        let joined = processes.into_iter().try_for_each(|(index, (line, input))| {
            let collector = Collector { shared: shared.clone(), index };
            let theirs = line.clone();
            let name = format!("worker-{index}");
            threads.push(start_thread(name, move || collector.run(theirs, input))?);
            state.join(index, line, &shared.settings, &mut sends);
            Ok(())
        });
        drop(state);
        shared.send(sends);
        joined
    }

    /// How many workers died and were replaced.
    pub fn replaced(&self) -> usize {
        self.shared.state().replaced
    }

    /// What the pool has done so far.
    pub fn metrics(&self) -> Metrics {
        let state = self.shared.state();
        let workers = state.workers.iter().map(|worker| WorkerMetrics {
            pid: worker.line.as_ref().map(|line| line.child.pid()),
            tasks: worker.counts.tasks,
            sent: worker.counts.sent,
            received: worker.counts.received,
            silent: worker.silent(),
        });
        Metrics {
            queued: state.queued(),
            under_way: state.under_way(),
            replaced: state.replaced,
            retired: state.retired,
            encoding: Duration::from_nanos(self.shared.encoding.load(Relaxed)),
            workers: workers.collect(),
        }
    }

    /// Writes where the time of each task went that has been answered: encoding,
    /// waiting, and in its worker decoding, running and encoding the output; as Chrome trace
    /// events, which <https://ui.perfetto.dev> opens. Of [`map`](Self::map) it is the times of
    /// chunks, or of what a worker has answered of one at once. Empty for a pool that was not told to
    /// [`trace`](Builder::trace); in one that was, the times stay until it is dropped.
    ///
    /// # Errors
    /// Whatever `out` fails with.
    pub fn write_trace(&self, out: impl Write) -> io::Result<()> {
        self.shared.trace.write(out)
    }

    /// Ends the pool as dropping it does: what has not ended is cancelled, the workers are asked
    /// to end (SIGTERM), killed when their grace is over, and reaped.
    pub fn shutdown_now(self) {}
}

fn start_thread(
    name: String,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    thread::Builder::new().name(name).spawn(run).map_err(Error::start)
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        let mut ends = Vec::new();
        let mut state = self.shared.state();
        if matches!(state.phase, Phase::Open | Phase::Closing) {
            state.phase = Phase::Cancelled;
            state.give_up(&Error::Cancelled, &mut ends);
            let lines = state.workers.iter().flat_map(|worker| &worker.line);
            lines.for_each(|line| line.child.terminate());
        }
        self.shared.notify_all();
        drop(state);
        self.shared.tell(ends);

        // A callback may drop the pool, on one of its threads: that one ends by itself, and behind
        // it the clock, which waits for all workers.
        let (here, others): (Vec<_>, _) = std::mem::take(&mut *self.threads())
            .into_iter()
            .partition(|thread| thread.thread().id() == thread::current().id());
        let clock = self.clock.take().filter(|_| here.is_empty());
        for thread in others.into_iter().chain(clock) {
            // A second panic while one unwinds would end the program without a word.
            let _ = thread.join();
        }
    }
}
