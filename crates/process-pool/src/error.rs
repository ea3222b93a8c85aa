use std::fmt;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Failed;

/// Why a task has no result. Every task fails for a reason of its own; what happens to one does
/// not touch the others.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A pool of no workers would never run a task.
    #[error("a pool of 0 workers; 1 or more is allowed")]
    NoWorkers,
    /// The program that would be the worker does not begin with [`serve`](crate::serve): it
    /// would start itself for ever.
    #[error("this process was started as a worker, and its main does not begin with serve")]
    NotServed,
    /// The operating system did not start the process.
    #[error("cannot start a worker")]
    Start(#[source] io::Error),
    /// The process started and did not report for work.
    #[error("a worker did not become ready: {0}")]
    NotReady(Ended),
    /// The task, or its output, cannot be turned into a message.
    #[error("the {what} cannot be encoded")]
    Encode {
        /// `task` or `output`.
        what: &'static str,
        /// Why not.
        source: Failed,
    },
    /// The bytes that arrived are not the task, or the output, that was sent.
    #[error("the {what} cannot be decoded")]
    Decode {
        /// `task` or `output`.
        what: &'static str,
        /// Why not.
        source: Failed,
    },
    /// The task returned an error.
    #[error("the task failed")]
    Failed(#[source] Remote),
    /// The task panicked. Its worker goes on.
    #[error("the task panicked at {place}: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
        /// File, line and column.
        place: String,
        /// The stack of the worker at the panic, as text.
        backtrace: String,
        /// The worker's process.
        pid: u32,
    },
    /// The worker ended while it ran the task.
    #[error("worker {0}")]
    Died(Ended),
    /// The task was still waiting when its pool was dropped.
    #[error("cancelled")]
    Cancelled,
    /// The pool could not replace a worker, and runs no more tasks.
    #[error("the pool is broken")]
    Broken(#[source] Arc<Error>),
}

/// How a worker's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// By a signal.
    Killed {
        /// The name of the signal, such as `SIGKILL`.
        signal: String,
        /// The process.
        pid: u32,
    },
    /// By itself.
    Exited {
        /// The exit status.
        code: i32,
        /// The process.
        pid: u32,
    },
    /// It ended, and the operating system does not say how: this process ignores its children.
    Unknown {
        /// The process.
        pid: u32,
    },
}

/// The process differs from run to run: it is in the fields, and not in the text.
impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed { signal, .. } => write!(f, "killed by {signal}"),
            Self::Exited { code, .. } => write!(f, "exited with status {code}"),
            Self::Unknown { .. } => f.write_str("ended, and nobody knows how"),
        }
    }
}

/// An error that happened in another process: its text, and the text of each of its sources.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Remote {
    message: String,
    source: Option<Box<Remote>>,
}

impl Remote {
    pub(crate) fn new(error: &(dyn std::error::Error + 'static)) -> Self {
        Self {
            message: error.to_string(),
            source: error.source().map(|source| Box::new(Self::new(source))),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Remote {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
