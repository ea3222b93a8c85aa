use std::any::type_name;
use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::worker;

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
    /// Becomes a worker for the task type called `name`, for good, if it is one of these.
    #[doc(hidden)]
    fn serve_if_named(name: &str);
}

impl<T: Task> Tasks for T {
    fn serve_if_named(name: &str) {
        if name == type_name::<T>() {
            worker::run::<T>();
        }
    }
}

impl<A: Tasks, B: Tasks> Tasks for (A, B) {
    fn serve_if_named(name: &str) {
        A::serve_if_named(name);
        B::serve_if_named(name);
    }
}

impl<A: Tasks, B: Tasks, C: Tasks> Tasks for (A, B, C) {
    fn serve_if_named(name: &str) {
        <(A, (B, C))>::serve_if_named(name);
    }
}

impl<A: Tasks, B: Tasks, C: Tasks, D: Tasks> Tasks for (A, B, C, D) {
    fn serve_if_named(name: &str) {
        <((A, B), (C, D))>::serve_if_named(name);
    }
}

/// The first line of `main`: says which tasks this program serves.
///
/// Returns at once in a process that a person started. In one that [`Process`](crate::Process)
/// or [`Pool`](crate::Pool) started, serves the parent's tasks and never returns.
/// More than four task types nest: `((A, B, C, D), E)`.
pub fn serve<T: Tasks>() {
    if let Some(name) = worker::asked_for() {
        T::serve_if_named(&name);
        worker::refuse(&name);
    }
}
