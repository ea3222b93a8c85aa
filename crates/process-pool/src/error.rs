use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use serde::{Deserialize, Serialize};

/// Why a task has no result. Every task fails for a reason of its own; what happens to one does
/// not touch the others.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for is impossible, or comes too late. Nothing was started.
    #[error("{0}")]
    Rejected(&'static str),
    /// The program that would be the worker does not begin with [`serve`](crate::serve): it
    /// would start itself for ever.
    #[error("this process was started as a worker, and its main does not begin with serve")]
    NotServed,
    /// The operating system did not start the process, or a thread beside it.
    #[error("cannot start a worker")]
    Start(#[source] Arc<io::Error>),
    /// The process started, and ended before it reported for work.
    #[error("a worker did not become ready: {0}{hint}", hint = hint(.0))]
    NotReady(Ended),
    /// The process started, did not report for work in time, and was killed.
    #[error("a worker did not become ready within {0:?}")]
    Late(Duration),
    /// The worker is another version of this program: the file was replaced meanwhile. Not on
    /// Linux, where workers are started from the file that this process runs, replaced or not.
    #[error(
        "a worker speaks version {theirs} of the protocol, and this process version {ours}"
    )]
    Version {
        /// Of this process.
        ours: u32,
        /// Of the worker.
        theirs: u32,
    },
    /// The initializer did not do its work in a worker.
    #[error("the initializer of a worker failed")]
    Initializer(#[source] Arc<Error>),
    /// The task, or its output, cannot be turned into a message.
    #[error("the {what} cannot be {}", if is_refused(.source) { "sent" } else { "encoded" })]
    Encode {
        /// `task` or `output`.
        what: &'static str,
        /// Why not.
        source: Cause,
    },
    /// The bytes that arrived are not the task, or the output, that was sent.
    #[error("the {what} cannot be decoded")]
    Decode {
        /// `task` or `output`.
        what: &'static str,
        /// Why not.
        source: Cause,
    },
    /// The task returned an error.
    #[error("the task failed")]
    Failed(#[source] Remote),
    /// The task panicked. Its worker goes on.
    #[error("the task panicked at {place}: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
        /// File, line and column. `an unknown place` if the hook of the worker has not seen it
        /// there: it comes from another thread (`resume_unwind`), or the task has set its own.
        place: String,
        /// The stack of the worker at the panic, as text; empty then.
        backtrace: String,
        /// Who ran it.
        at: At,
    },
    /// The worker ended while it ran the task.
    #[error("worker {0}")]
    Died(Death),
    /// A pipe or a queue to a process has failed, and the process has not.
    #[error("cannot talk to the process")]
    Talk(#[source] Arc<ipc::Error>),
    /// The task ran longer than it was allowed to, and its worker was killed.
    #[error("timed out after {after:?}")]
    TimedOut {
        /// The time that it was allowed.
        after: Duration,
        /// Who ran it.
        at: At,
    },
    /// The task was taken back before it began, or ended with its pool.
    #[error("cancelled")]
    Cancelled,
    /// A worker could not be replaced, or was not to be; the pool runs no more tasks.
    #[error("the pool is broken")]
    Broken(#[source] Arc<Error>),
}

/// An error of any kind, shared.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Whether the operating system keeps it from travelling, or from being encoded with its ends.
fn is_refused(source: &Cause) -> bool {
    matches!(source.downcast_ref(), Some(ipc::Error::Io(_)))
}

/// A program that ends by itself before it takes orders knows nothing of them, mostly.
fn hint(ended: &Ended) -> &'static str {
    match ended {
        Ended::Exited { .. } => {
            "; what it printed may say why. The first line of its main has to be serve, \
             which the harness of a #[test] does not call"
        }
        _ => "",
    }
}

impl Error {
    pub(crate) fn start(error: io::Error) -> Self {
        Self::Start(ipc::explained(error).into())
    }

    pub(crate) fn encode(
        what: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Encode { what, source: Arc::new(source) }
    }

    pub(crate) fn decode(
        what: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Decode { what, source: Arc::new(source) }
    }
}

/// Which worker ran which task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The worker's number in its pool, from 0; the replacement of a worker has the same one.
    pub worker: usize,
    /// Its process.
    pub pid: u32,
    /// The number of the task in its pool, from 0, in the order in which they were handed in.
    pub task: u64,
}

/// The end of a worker in the middle of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// How the process ended.
    pub ended: Ended,
    /// Which one, and in which task.
    pub at: At,
}

/// Who and what differ from run to run: they are in the fields, and not in the text.
impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ended.fmt(f)
    }
}

/// How a process ended.
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
