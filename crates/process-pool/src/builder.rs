use std::any::type_name;
use std::marker::PhantomData;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use ipc::Packet;

use crate::message::Order;
use crate::{Error, Pool, Record, Task};

pub(crate) const NO_WORKERS: &str = "a pool of 0 workers; 1 or more is allowed";

/// What a pool does when a worker dies that was not told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Starts another one. The pool breaks when more than `budget` workers have died in a row,
    /// without any answer of any worker in between: then it is not one task that is to blame,
    /// and starting more would go on for ever.
    Replace {
        /// Deaths in a row.
        budget: u32,
    },
    /// The pool breaks, and every task with it, as `ProcessPoolExecutor` does.
    Break,
}

/// What one task asks for beyond being run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskOptions {
    /// How long it may run. Then its worker is killed and replaced, and it ends as
    /// [`Error::TimedOut`]. The time begins when the task does, not when it is handed in; a worker
    /// that has not begun it within the time of a start is replaced too, and another runs it.
    pub time_out: Option<Duration>,
    /// How often it may begin again when its worker died in the middle of it: 0 for a task that
    /// must not run twice. One that runs too long is not tried again.
    pub retries: u32,
    /// Whether it goes before all tasks that are not urgent and still wait in this process.
    pub urgent: bool,
}

/// What a pool was told.
pub(crate) struct Settings {
    pub(crate) task: &'static str,
    pub(crate) workers: usize,
    pub(crate) policy: Policy,
    pub(crate) options: TaskOptions,
    pub(crate) window: Option<usize>,
    pub(crate) max_tasks: Option<u64>,
    pub(crate) initializer: Option<(&'static str, Packet)>,
    pub(crate) start_deadline: Duration,
    pub(crate) grace: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) prefix: bool,
    pub(crate) traced: bool,
    pub(crate) on_log: Box<dyn Fn(Record) + Send + Sync>,
}

impl Settings {
    /// What holds if nothing is said.
    pub(crate) fn new(task: &'static str) -> Self {
        Self {
            task,
            // A machine that does not tell has one at least.
            workers: thread::available_parallelism().map_or(1, NonZero::get),
            policy: Policy::Replace { budget: 100 },
            options: TaskOptions::default(),
            window: None,
            max_tasks: None,
            initializer: None,
            start_deadline: Duration::from_secs(30),
            grace: Duration::from_secs(1),
            idle_timeout: None,
            prefix: false,
            traced: false,
            on_log: Box::new(|record| eprintln!("worker {}: {}", record.worker, record.text)),
        }
    }
}

/// What a pool can be told before it starts.
#[must_use]
pub struct Builder<T> {
    settings: Settings,
    /// The first thing that was asked for and cannot be had.
    refused: Option<Error>,
    tasks: PhantomData<fn(T)>,
}

impl<T: Task> Builder<T> {
    pub(crate) fn new() -> Self {
        let settings = Settings::new(type_name::<T>());
        Self { settings, refused: None, tasks: PhantomData }
    }

    /// How many workers; as many as this process may use cores, if nothing is said.
    /// [`Pool::resize`] changes it.
    pub fn workers(mut self, workers: usize) -> Self {
        self.settings.workers = workers;
        self.refuse(workers == 0, NO_WORKERS)
    }

    /// What happens when a worker dies; `Replace { budget: 100 }`, if nothing is said.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.settings.policy = policy;
        self
    }

    /// What a task asks for that says nothing itself.
    pub fn options(mut self, options: TaskOptions) -> Self {
        self.settings.options = options;
        self
    }

    /// How many tasks, or chunks of [`Pool::map`], may be under way to a worker: the one that
    /// runs, and those that it finds waiting at its side when that is done. If nothing is said,
    /// two, or as many as keep it busy for half a millisecond. Whatever it is, a worker that has
    /// nothing to do takes over what another has not begun.
    pub fn window(mut self, messages: usize) -> Self {
        self.settings.window = Some(messages);
        self.refuse(messages == 0, "a window of 0 tasks; 1 or more is allowed")
    }

    /// After how many tasks a worker ends and is replaced; never, if nothing is said.
    pub fn max_tasks(mut self, tasks: u64) -> Self {
        self.settings.max_tasks = Some(tasks);
        self.refuse(tasks == 0, "workers for 0 tasks each; 1 or more is allowed")
    }

    /// How long a worker may have nothing to do until its process ends; for ever, if nothing is
    /// said. All processes may end: to give their memory back is what this is for. Tasks that
    /// wait start processes again, as many as wait and as the pool has workers. Of the workers
    /// that idle the last one to have worked gets the next task, so that the others can end while
    /// there is little to do. One that ends after its last task ([`max_tasks`](Self::max_tasks))
    /// is not replaced before there is work for it either.
    pub fn idle_timeout(mut self, time_out: Duration) -> Self {
        self.settings.idle_timeout = Some(time_out);
        self
    }

    /// Runs `initializer` in every worker before its first task, in those that replace others
    /// too. Its type is named in [`serve`](crate::serve), as tasks are. When it fails, the pool
    /// does not start, or breaks, and says why.
    pub fn initializer<I: Task>(mut self, initializer: I) -> Self {
        match Packet::encode(&Order::Task(initializer)) {
            Ok(task) => self.settings.initializer = Some((type_name::<I>(), task)),
            Err(error) => {
                let error = Error::Initializer(Error::encode("task", error).into());
                self.refused.get_or_insert(error);
            }
        }
        self
    }

    /// How long a new worker may take until it is ready for its first task, the initializer
    /// included; 30 s, if nothing is said.
    pub fn start_deadline(mut self, deadline: Duration) -> Self {
        self.settings.start_deadline = deadline;
        self
    }

    /// How long a worker that was told to end may take until it is killed; 1 s, if nothing is
    /// said.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// Has what the workers print pass through this process: to the same stdout and stderr, in
    /// whole lines, each behind the number of its worker. A line of more than 64 KiB comes in
    /// pieces, each a line. If nothing is said, they print there themselves.
    pub fn prefix_output(mut self) -> Self {
        self.settings.prefix = true;
        self
    }

    /// Keeps the times of every task and chunk, for [`Pool::write_trace`].
    pub fn trace(mut self) -> Self {
        self.settings.traced = true;
        self
    }

    /// What becomes of the [`log`](crate::log) records of workers; if nothing is said, they are
    /// lines on stderr. They come as they arrive, on the threads that serve the workers; a
    /// `Record` says in what order they were written.
    pub fn on_log(mut self, call: impl Fn(Record) + Send + Sync + 'static) -> Self {
        self.settings.on_log = Box::new(call);
        self
    }

    /// Starts the workers, and waits until all are ready.
    ///
    /// # Errors
    /// [`Error::Rejected`] for what is impossible, [`Error::Start`], [`Error::NotReady`],
    /// [`Error::Late`], [`Error::Version`], [`Error::Initializer`].
    pub fn build(self) -> Result<Pool<T>, Error> {
        match self.refused {
            Some(error) => Err(error),
            None => Pool::start(self.settings),
        }
    }

    fn refuse(mut self, condition: bool, why: &'static str) -> Self {
        if condition {
            self.refused.get_or_insert(Error::Rejected(why));
        }
        self
    }
}
