//! Executors in other processes.

use std::sync::Arc;

use process_pool::{Pool, Process, Task};

use crate::threads::{Slot, in_a_thread};
use crate::{Error, Executor, Future};

impl<T: Task + 'static> Executor<T> for Pool<T> {
    fn submit(&self, task: T) -> Box<dyn Future<T::Output>> {
        Box::new(Self::submit(self, task))
    }

    /// Short tasks travel together.
    fn map(&self, tasks: Vec<T>) -> Vec<Result<T::Output, Error>> {
        Self::map(self, tasks).map(|outcome| outcome.map_err(Error::from)).collect()
    }
}

impl<T: Task> Future<T::Output> for process_pool::Future<T> {
    fn cancel(&self) -> bool {
        Self::cancel(self)
    }

    fn on_done(&self, call: Box<dyn FnOnce() + Send>) {
        Self::on_done(self, call);
    }

    fn result(self: Box<Self>) -> Result<T::Output, Error> {
        Ok(Self::result(*self)?)
    }
}

/// A new process for each task.
pub struct ProcessPerTask;

impl<T: Task<Output: Send> + Send + 'static> Executor<T> for ProcessPerTask {
    fn submit(&self, task: T) -> Box<dyn Future<T::Output>> {
        let slot = Arc::new(Slot::default());
        let outcome = slot.clone();
        // A process is waited for, and a future is told: a thread for each stands between.
        in_a_thread(slot, move || {
            if outcome.begin() {
                outcome.end(Process::spawn(task).and_then(Process::join).map_err(Error::from));
            }
        })
    }
}

impl From<process_pool::Error> for Error {
    fn from(error: process_pool::Error) -> Self {
        match error {
            process_pool::Error::Failed(error) => Self::Failed(error.into()),
            process_pool::Error::Panicked { message, .. } => Self::Panicked(message),
            process_pool::Error::Cancelled => Self::Cancelled,
            other => Self::Worker(other),
        }
    }
}
