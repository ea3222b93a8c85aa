//! What waits in the queue of a pool and goes to a worker: a task, or a chunk of them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ipc::SendHalf;

use crate::Error;
use crate::chunk::Chunk;
use crate::life::Event;
use crate::slot::Slot;

/// Bytes that may be under way to a worker. Its connection has room for them whether it reads
/// or not: sending them never waits. A task this large goes alone, to a worker that reads.
pub(crate) const LARGE: usize = 64 << 10;

#[derive(Clone)]
pub(crate) enum Job {
    Task(Arc<Slot>),
    /// Some tasks of a chunk.
    Chunk(Arc<Chunk>, Range<u32>),
}

impl Job {
    /// How many tasks.
    pub(crate) fn len(&self) -> u32 {
        match self {
            Self::Task(_) => 1,
            Self::Chunk(_, tasks) => tasks.end - tasks.start,
        }
    }

    /// Their bytes, or more.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Task(slot) => slot.size(),
            Self::Chunk(chunk, _) => chunk.size(),
        }
    }

    pub(crate) fn is_urgent(&self) -> bool {
        match self {
            Self::Task(slot) => slot.urgent,
            Self::Chunk(chunk, _) => chunk.options.urgent,
        }
    }

    /// How long a task of it may run.
    pub(crate) fn time_out(&self) -> Option<Duration> {
        match self {
            Self::Task(slot) => slot.time_out(),
            Self::Chunk(chunk, _) => chunk.options.time_out,
        }
    }

    /// The number of its first task in the pool.
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::Task(slot) => slot.id,
            Self::Chunk(chunk, tasks) => chunk.first_id + u64::from(tasks.start),
        }
    }

    /// Marks it as sent. False for one that was cancelled, which is over.
    pub(crate) fn begin(&self) -> bool {
        match self {
            Self::Task(slot) => slot.step(Event::Send),
            Self::Chunk(chunk, tasks) => {
                let cancelled = chunk.is_cancelled();
                if cancelled {
                    chunk.fail(tasks.clone(), Error::Cancelled);
                }
                !cancelled
            }
        }
    }

    pub(crate) fn send(&self, line: &SendHalf) -> Result<(), ipc::Error> {
        match self {
            Self::Task(slot) => slot.send(line),
            Self::Chunk(chunk, tasks) => chunk.send(tasks.clone(), line),
        }
    }

    /// No worker has it any more, and none has begun it.
    pub(crate) fn take_back(&self) {
        if let Self::Task(slot) = self {
            slot.step(Event::TakeBack);
        }
    }

    /// Whether it has ended, by another way than an answer.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Task(slot) if slot.life().is_over())
    }

    /// Whether it is of a map that was dropped.
    pub(crate) fn is_cancelled_chunk(&self) -> bool {
        matches!(self, Self::Chunk(chunk, _) if chunk.is_cancelled())
    }

    /// All of its tasks end with one error.
    pub(crate) fn fail(&self, error: Error) {
        match self {
            Self::Task(slot) => slot.end(Err(error.into())),
            Self::Chunk(chunk, tasks) => chunk.fail(tasks.clone(), error),
        }
    }

    /// Leaves the first `count` tasks, fewer than all, and returns the others.
    pub(crate) fn split_off(&mut self, count: u32) -> Self {
        match self {
            Self::Task(_) => unreachable!("one task is not divided"),
            Self::Chunk(chunk, tasks) => {
                let end = std::mem::replace(&mut tasks.end, tasks.start + count);
                Self::Chunk(chunk.clone(), tasks.end..end)
            }
        }
    }
}
