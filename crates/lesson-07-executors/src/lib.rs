//! One interface over everything that runs tasks, as `concurrent.futures` has it.
//!
//! An [`Executor`] takes a task and gives a [`Future`]. Whoever brings these two gets
//! [`map`](Executor::map), [`as_completed`] and [`wait`]. Those who do:
//!
//! | executor | who runs a task |
//! |---|---|
//! | [`ThreadPool`] | one of a fixed number of threads |
//! | [`rayon::ThreadPool`] | the same, of the pool that Rust programs use for computing |
//! | [`process_pool::Pool`] | one of a fixed number of processes |
//! | [`ThreadPerTask`] | a new thread |
//! | [`ProcessPerTask`] | a new process |

mod processes;
mod threads;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use process_pool::{Failed, Task};

pub use processes::ProcessPerTask;
pub use threads::{ThreadPerTask, ThreadPool, rayon_pool};

/// Runs tasks, somewhere else.
pub trait Executor<T: Task> {
    /// Hands a task in and does not wait for it.
    fn submit(&self, task: T) -> Box<dyn Future<T::Output>>;

    /// What came of each task, in the order of the tasks. The error of one keeps no answer of
    /// another back.
    fn map(&self, tasks: Vec<T>) -> Vec<Result<T::Output, Error>> {
        // All are under way before the first is waited for: a lazy iterator would submit and
        // wait in turn.
        let futures: Vec<_> = tasks.into_iter().map(|task| self.submit(task)).collect();
        futures.into_iter().map(|future| future.result()).collect()
    }
}

/// What comes of a task. Every future ends; one that is dropped leaves its task as it is.
pub trait Future<O> {
    /// Takes the task back, unless somebody has begun it. True when it is cancelled, now or
    /// before; then it never runs, and its result is [`Error::Cancelled`].
    fn cancel(&self) -> bool;

    /// Calls `call` when the task has ended, on the thread that brings the end; or at once.
    fn on_done(&self, call: Box<dyn FnOnce() + Send>);

    /// Waits for the end.
    ///
    /// # Errors
    /// Why there is no output.
    fn result(self: Box<Self>) -> Result<O, Error>;
}

/// Why a task has no output: in the same words, whoever ran it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The task returned an error. From a thread it is the very error, which can be downcast;
    /// from a process it is the text of it and of its sources.
    #[error("the task failed")]
    Failed(#[source] Failed),
    /// The task panicked, with these words. Whoever ran it goes on.
    #[error("the task panicked: {0}")]
    Panicked(String),
    /// It was taken back before it began.
    #[error("cancelled")]
    Cancelled,
    /// The worker did not start, or ended under the task.
    #[error(transparent)]
    Worker(process_pool::Error),
}

/// The futures as their tasks end, each with its place among `futures`.
pub fn as_completed<O>(
    futures: Vec<Box<dyn Future<O>>>,
) -> impl Iterator<Item = (usize, Box<dyn Future<O>>)> {
    let ends = ends(&futures);
    let mut futures: Vec<_> = futures.into_iter().map(Some).collect();
    ends.into_iter()
        .map(move |place| (place, futures[place].take().expect("a task ends only once")))
}

/// Waits until `count` of the tasks have ended or `time_out` has passed, whichever is first. The
/// places of those that have ended, in order. It gives up waiting: the tasks go on.
pub fn wait<O>(
    futures: &[Box<dyn Future<O>>],
    count: usize,
    time_out: Option<Duration>,
) -> Vec<usize> {
    let ends = ends(futures);
    let deadline = time_out.map(|time_out| Instant::now() + time_out);
    let next = |_| match deadline {
        Some(deadline) => {
            ends.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
        }
        None => ends.recv().ok(),
    };
    let mut ended: Vec<_> = (0..count.min(futures.len())).map_while(next).collect();
    // Others may have ended meanwhile.
    ended.extend(ends.try_iter());
    ended.sort_unstable();
    ended
}

/// The places of the futures, as their tasks end. It closes behind the last one.
fn ends<O>(futures: &[Box<dyn Future<O>>]) -> mpsc::Receiver<usize> {
    let (ended, ends) = mpsc::channel();
    for (place, future) in futures.iter().enumerate() {
        let ended = ended.clone();
        // Nobody may listen any more: a wait can be over before the task.
        future.on_done(Box::new(move || _ = ended.send(place)));
    }
    ends
}
