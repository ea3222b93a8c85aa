use std::any::type_name;
use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::worker::{self, Runner};

/// Why a task could not do its work: any error. Its text and the texts of its sources reach the
/// parent as [`Error::Failed`](crate::Error::Failed).
pub type Failed = Box<dyn Error + Send + Sync>;

/// Work that another process can do. The value itself is the message that goes there.
pub trait Task: Serialize + DeserializeOwned {
    /// What comes back.
    type Output: Serialize + DeserializeOwned;

    /// The work. A panic here is caught, and reaches the parent as an error too.
    ///
    /// # Errors
    /// Whatever keeps the task from its answer.
    fn run(self) -> Result<Self::Output, Failed>;
}

/// A task type, or pairs of them: all that a program serves.
pub trait Tasks {
    /// What a worker does with tasks of the type called `name`, if it is one of these.
    #[doc(hidden)]
    fn runner(name: &str) -> Option<Runner>;
}

impl<T: Task> Tasks for T {
    fn runner(name: &str) -> Option<Runner> {
        (name == type_name::<T>()).then(Runner::of::<T>)
    }
}

impl<A: Tasks, B: Tasks> Tasks for (A, B) {
    fn runner(name: &str) -> Option<Runner> {
        A::runner(name).or_else(|| B::runner(name))
    }
}

impl<A: Tasks, B: Tasks, C: Tasks> Tasks for (A, B, C) {
    fn runner(name: &str) -> Option<Runner> {
        <(A, (B, C))>::runner(name)
    }
}

impl<A: Tasks, B: Tasks, C: Tasks, D: Tasks> Tasks for (A, B, C, D) {
    fn runner(name: &str) -> Option<Runner> {
        <((A, B), (C, D))>::runner(name)
    }
}

/// The first line of `main`: says which tasks, and initializers, this program serves.
///
/// Returns at once in a process that a person started. In one that [`Process`](crate::Process)
/// or [`Pool`](crate::Pool) started, serves the parent's tasks and never returns.
/// More than four task types nest: `((A, B, C, D), E)`.
pub fn serve<T: Tasks>() {
    if let Some(name) = worker::asked_for() {
        worker::serve(&name, T::runner);
    }
}
