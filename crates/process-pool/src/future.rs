use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::life::Life;
use crate::message::Answer;
use crate::shared::Shared;
use crate::slot::{Outcome, Slot};
use crate::{Error, Task};

/// The result of a submitted task, when it comes. Every future ends: with the output, or with
/// what went wrong. One that is dropped leaves its task as it is.
///
/// It is what `concurrent.futures` calls a future: threads wait for it. It is not the trait
/// [`std::future::Future`], and cannot be awaited; [`on_done`](Self::on_done) leads there.
pub struct Future<T> {
    slot: Arc<Slot>,
    shared: Arc<Shared>,
    task: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Future<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Future").field("id", &self.id()).field("life", &self.life()).finish()
    }
}

impl<T> Future<T> {
    pub(crate) fn new(slot: Arc<Slot>, shared: Arc<Shared>) -> Self {
        Self { slot, shared, task: PhantomData }
    }

    /// The number of the task in its pool, as errors have it in [`At`](crate::At).
    pub fn id(&self) -> u64 {
        self.slot.id
    }

    /// Where the task is in its life.
    pub fn life(&self) -> Life {
        self.slot.life()
    }

    /// Whether a worker has the task.
    pub fn running(&self) -> bool {
        self.life() == Life::Running
    }

    /// Whether the task has ended, in whichever way.
    pub fn done(&self) -> bool {
        self.life().is_over()
    }

    /// Whether the task was cancelled.
    pub fn cancelled(&self) -> bool {
        self.life() == Life::Cancelled
    }

    /// Takes the task back, if no worker has begun it; then it never runs, and its result is
    /// [`Error::Cancelled`]. True when the task is cancelled, now or before.
    pub fn cancel(&self) -> bool {
        self.shared.cancel(&self.slot) || self.cancelled()
    }

    /// Waits for the end of the task, for at most `time_out`; whether it has ended.
    pub fn wait_timeout(&self, time_out: Duration) -> bool {
        self.slot.wait(Some(later(time_out)))
    }

    /// Waits for the end of the task. Its error, if it ends with one; the future keeps it.
    pub fn error(&self) -> Option<Error> {
        self.slot.wait(None);
        self.slot.error()
    }

    /// Calls `call` when the task has ended: on the thread that brings the end, which serves
    /// a worker and should not be kept long; or at once, when it has come. A panic in it is
    /// printed and goes no further. Dropping the pool waits for the calls that have begun.
    ///
    /// It must not wait for another task of the pool, nor for the pool to be empty
    /// ([`Pool::shutdown`](crate::Pool::shutdown)): the answer may come from the same worker, and
    /// the thread that would hear it is the one that waits. Neither ends then. It may hand tasks
    /// in, give each of them a callback, and drop the pool: that does not wait for this call.
    pub fn on_done(&self, call: impl FnOnce() + Send + 'static) {
        let _ = self.slot.watch(Box::new(call));
    }
}

impl<T: Task> Future<T> {
    /// Waits for the task's end.
    ///
    /// # Errors
    /// What the task came to; see [`Error`].
    pub fn result(self) -> Result<T::Output, Error> {
        self.slot.wait(None);
        decode(self.slot.take())
    }

    /// The same, for at most `time_out`; then the future comes back.
    ///
    /// # Errors
    /// The future itself, when the task has not ended.
    pub fn result_timeout(self, time_out: Duration) -> Result<Result<T::Output, Error>, Self> {
        match self.wait_timeout(time_out) {
            true => Ok(self.result()),
            false => Err(self),
        }
    }
}

/// A time so far away that no clock has it is the end of time: a century.
pub(crate) fn later(time_out: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    Instant::now() + time_out.min(CENTURY)
}

fn decode<O: serde::de::DeserializeOwned>(outcome: Outcome) -> Result<O, Error> {
    match outcome.map_err(|error| *error)?.decode() {
        Ok(Answer::Done(output)) => Ok(output),
        Ok(_) => unreachable!("its first byte said that it is an output"),
        Err(error) => Err(Error::decode("output", error)),
    }
}

/// What [`wait`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The end of one task.
    First,
    /// The end of one task with an error, or of all.
    FirstError,
    /// The end of all tasks.
    All,
}

/// Waits until so many tasks have ended, or `time_out` has passed. Which ones have ended: their
/// places among `futures`, in that order.
pub fn wait<T>(futures: &[Future<T>], until: Until, time_out: Option<Duration>) -> Vec<usize> {
    let deadline = time_out.map(later);
    let (ended, ends) = mpsc::channel();
    let watch = |future: &Future<T>| {
        let (ended, slot) = (ended.clone(), future.slot.clone());
        // Nobody listens any more when this has returned.
        future.slot.watch(Box::new(move || _ = ended.send(slot.error().is_some())))
    };
    let watchers: Vec<_> = futures.iter().map(watch).collect();
    for _ in futures {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let end = match left {
            Some(left) => ends.recv_timeout(left).ok(),
            None => ends.recv().ok(),
        };
        match (end, until) {
            (None, _) | (Some(_), Until::First) | (Some(true), Until::FirstError) => break,
            (Some(_), Until::FirstError | Until::All) => {}
        }
    }
    // Who waits again and again for a little while would leave one more each time.
    for (future, watcher) in futures.iter().zip(watchers) {
        watcher.inspect(|&watcher| future.slot.unwatch(watcher));
    }
    (0..futures.len()).filter(|&place| futures[place].done()).collect()
}

/// The futures as their tasks end, each with its place among `futures`. It waits for the next
/// one, and ends when all have come.
pub fn as_completed<T>(
    futures: impl IntoIterator<Item = Future<T>>,
) -> impl Iterator<Item = (usize, Future<T>)> {
    let (ended, ends) = mpsc::channel();
    let mut futures: Vec<_> = futures.into_iter().map(Some).collect();
    for (place, future) in futures.iter().flatten().enumerate() {
        let ended = ended.clone();
        future.on_done(move || _ = ended.send(place));
    }
    drop(ended);
    // Every future ends, and then its sender is gone: this ends too.
    std::iter::from_fn(move || {
        let place = ends.recv().ok()?;
        Some((place, futures[place].take().expect("a task ends once")))
    })
}

#[cfg(test)]
mod tests {
    use ipc::Packet;

    use super::*;
    use crate::TaskOptions;
    use crate::builder::Settings;
    use crate::message::Order;

    #[test]
    fn who_waits_again_and_again_leaves_nothing_behind() {
        let shared = Arc::new(Shared::new(Settings::new("")));
        let task = Packet::encode(&Order::Task(())).unwrap();
        let slot = Arc::new(Slot::new(0, task, &TaskOptions::default()));
        let futures = [Future::<()>::new(slot.clone(), shared)];
        let (called, calls) = mpsc::channel();
        futures[0].on_done(move || called.send(()).unwrap());
        // Each watcher has the slot.
        let before = Arc::strong_count(&slot);
        for until in [Until::First, Until::FirstError, Until::All].into_iter().cycle().take(9) {
            assert!(wait(&futures, until, Some(Duration::ZERO)).is_empty());
            assert_eq!(Arc::strong_count(&slot), before);
        }
        assert!(futures[0].cancel());
        assert_eq!(wait(&futures, Until::All, Some(Duration::ZERO)), [0]);
        calls.recv().unwrap();
    }
}
