use std::marker::PhantomData;

use ipc::Packet;

use crate::child::Child;
use crate::{Error, Task};

/// One process for one task: the counterpart of `multiprocessing.Process`.
///
/// Dropped before [`join`](Self::join), it is killed and reaped.
#[derive(Debug)]
pub struct Process<T> {
    child: Child,
    task: PhantomData<fn(T)>,
}

impl<T: Task> Process<T> {
    /// Starts a process that runs `task`, and does not wait for it.
    ///
    /// # Errors
    /// [`Error::Encode`] for a task that cannot travel, [`Error::Start`], and [`Error::Died`]
    /// when the process ends before it has the task.
    pub fn spawn(task: T) -> Result<Self, Error> {
        let packet = encode(task)?;
        let mut child = Child::start::<T>()?;
        child.send(&packet)?;
        Ok(Self { child, task: PhantomData })
    }

    /// The number that the operating system gave the process.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Waits for the task's output and for the end of the process.
    ///
    /// # Errors
    /// What the task came to: [`Error::Failed`], [`Error::Panicked`], [`Error::Died`], and
    /// [`Error::Encode`] or [`Error::Decode`] when its output cannot travel.
    pub fn join(mut self) -> Result<T::Output, Error> {
        let output = self.child.receive()?;
        self.child.finish();
        decode::<T>(output)
    }
}

/// Consumes the task: an end of a pipe in it must not stay open on this side.
pub(crate) fn encode<T: Task>(task: T) -> Result<Packet, Error> {
    Packet::encode(&task).map_err(|error| Error::Encode { what: "task", source: error.into() })
}

pub(crate) fn decode<T: Task>(output: Packet) -> Result<T::Output, Error> {
    output.decode().map_err(|error| Error::Decode { what: "output", source: error.into() })
}
