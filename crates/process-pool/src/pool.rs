//! The pool itself: handing in, and ending.

use std::io::Write;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use ipc::Packet;

use crate::builder::{Builder, Settings};
use crate::collector::{self, Collector};
use crate::dispatch::Phase;
use crate::future::later;
use crate::job::Job;
use crate::map::Map;
use crate::message::Order;
use crate::metrics::{Metrics, WorkerMetrics};
use crate::shared::Shared;
use crate::slot::Slot;
use crate::{Error, Future, Task, TaskOptions, os};

/// A pool of worker processes for tasks of one type.
///
/// A worker that dies fails the task it runs and is replaced; the tasks that it had not begun
/// are run by the others. [`shutdown`](Self::shutdown) waits for every task; dropping the pool
/// cancels what has not ended (`multiprocessing.Pool` and `ProcessPoolExecutor` differ in just
/// this when their `with` block ends). Either way no process is left.
pub struct Pool<T> {
    pub(crate) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
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
        let mut pool = Self { shared: shared.clone(), threads: Vec::new(), tasks: PhantomData };
        // First all are started, then all are waited for: they start side by side.
        let starts = (0..shared.settings.workers).map(|index| shared.start(index));
        let mut processes = starts.collect::<Result<Vec<_>, _>>()?;
        let clock = shared.clone();
        pool.thread("pool-clock".into(), move || clock.keep_time())?;
        for (index, (line, input)) in processes.iter_mut().enumerate() {
            collector::report(index, line, input, &shared)?;
        }
        for (index, (line, input)) in processes.into_iter().enumerate() {
            {
                let mut state = shared.state();
                state.workers[index].connect(line.clone());
                // Before anything can be handed in: the first tasks spread over all workers.
                state.ready(index, &shared.settings, &mut Vec::new());
            }
            let collector = Collector { shared: shared.clone(), index };
            shared.state().collectors += 1;
            let started =
                pool.thread(format!("worker-{index}"), move || collector.run(line, input));
            // A thread that does not start drops its process, and the pool ends the others.
            started.inspect_err(|_| shared.state().collectors -= 1)?;
        }
        Ok(pool)
    }

    fn thread(
        &mut self,
        name: String,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        let thread = thread::Builder::new().name(name).spawn(run).map_err(Error::start)?;
        self.threads.push(thread);
        Ok(())
    }

    /// Hands a task in and does not wait. A task that cannot be encoded, or comes to a broken
    /// pool, ends with that error.
    pub fn submit(&self, task: T) -> Future<T> {
        self.submit_with(task, self.shared.settings.options)
    }

    /// The same, for a task that asks for more than the pool's others.
    pub fn submit_with(&self, task: T, options: TaskOptions) -> Future<T> {
        let shared = &self.shared;
        let id = shared.ids(1);
        // Consumes the task: an end of a pipe in it must not stay open on this side.
        let order = match options.time_out {
            Some(_) => Order::Timed(task),
            None => Order::Task(task),
        };
        let begun = if shared.settings.traced { os::now() } else { 0 };
        let encoded = shared.encoding(id, || Packet::encode(&order));
        if shared.settings.traced {
            shared.trace.handed_in(id, begun);
        }
        drop(order);
        let slot = match encoded {
            Ok(task) => {
                let slot = Arc::new(Slot::new(id, task, &options));
                shared.submit(Job::Task(slot.clone()));
                slot
            }
            Err(error) => Arc::new(Slot::failed(id, Error::encode("task", error))),
        };
        Future::new(slot, shared.clone())
    }

    /// The outputs of many tasks, in the order of the tasks. They are taken from the iterator as
    /// the outputs are asked for, a bounded number ahead; several travel together when they are
    /// short. See [`Map`].
    pub fn map<I: IntoIterator<Item = T>>(&self, tasks: I) -> Map<'_, T, I::IntoIter> {
        Map::new(self, tasks.into_iter())
    }

    /// Waits for every task that was handed in, then ends the workers. A task that hangs and has
    /// no time-out is waited for: [`shutdown_now`](Self::shutdown_now) does not.
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
    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.shared.settings.workers
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

    /// Writes where the time of each submitted task went that has been answered: encoding,
    /// waiting, and in its worker decoding, running and encoding the output; as Chrome trace
    /// events, which <https://ui.perfetto.dev> opens. Empty for a pool that was not told to
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
        self.shared.clock.notify_all();
        drop(state);
        self.shared.tell(ends);

        let deadline = later(self.shared.settings.grace);
        let mut state = self.shared.state();
        while state.collectors > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let lines = state.workers.iter().flat_map(|worker| &worker.line);
                lines.for_each(|line| line.child.kill());
                break;
            }
            let waited = self.shared.quiet.wait_timeout(state, left);
            state = waited.expect("no panic while the pool is locked").0;
        }
        drop(state);
        for thread in self.threads.drain(..) {
            // A callback may drop the pool, on one of its threads: that one ends by itself.
            if thread.thread().id() != thread::current().id() {
                // A second panic while one unwinds would end the program without a word.
                let _ = thread.join();
            }
        }
    }
}
