//! Processes that run typed tasks: one each ([`Process`]), or a [`Pool`] of workers that take
//! one task after another and may die without harm to the others.
//!
//! What a process can do is a type, a [`Task`]: what goes in, what it does, what comes out.
//! `main` begins with [`serve`], which turns the process into a worker if it was started as
//! one:
//!
//! ```no_run
//! use process_pool::{Failed, Pool, Task, serve};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Square(u64);
//!
//! impl Task for Square {
//!     type Output = u64;
//!     fn run(self) -> Result<u64, Failed> {
//!         Ok(self.0 * self.0)
//!     }
//! }
//!
//! fn main() -> Result<(), process_pool::Error> {
//!     serve::<Square>();
//!     let pool = Pool::new(4)?;
//!     let squares: Vec<_> = (0..10).map(|n| pool.submit(Square(n))).collect();
//!     for square in squares {
//!         println!("{}", square.result()?);
//!     }
//!     pool.shutdown();
//!     Ok(())
//! }
//! ```
//!
//! # What holds
//! - A worker is the same program, started anew (never a fork of a process with threads): on Linux
//!   the one that runs, though its file was replaced or deleted meanwhile.
//! - It has a connection of its own, its standard input; no lock and no pipe is shared between
//!   processes. Its stdout and stderr are its own.
//! - A task begins once at most, unless it is declared to bear more
//!   ([`TaskOptions::retries`]). A worker that is killed, aborts or exits fails the task it
//!   runs, with the signal or the status named. What it had not begun, and what was done, is
//!   not touched; the pool starts another worker and goes on ([`Policy`]).
//! - While a worker has nothing to do, no task waits: neither in this process nor behind another
//!   task at the side of a worker. The first one at the side of a worker that does nothing is that
//!   worker's own: one that somebody has stopped keeps it, until it goes on or is killed.
//! - A task may be given a time, which begins with it; when that is over its worker is killed, and
//!   so is a stopped one that does not begin it ([`TaskOptions::time_out`]). A task without one
//!   lasts as long as it lasts, in a worker that somebody has stopped too.
//! - Every [`Future`] ends. A pool or process that is dropped ends its workers and reaps them,
//!   within its [grace](Builder::grace).
//! - A worker that dies is noticed, reaped and replaced at once, also when it is idle. Nothing
//!   polls: a pool without tasks uses no processor time. If asked to, it gives its processes back
//!   as well ([`Builder::idle_timeout`]), and its size may change while it works
//!   ([`Pool::resize`]).
//! - A worker whose parent is gone ends, even in the middle of a task.
//! - Ctrl-C reaches the parent alone. A program that ends on it ends its workers with it.
//! - A worker blocks and ignores no signal that its parent blocks or ignores, but for SIGHUP, which
//!   `nohup` has ignored: it ends when it is told to, also when it is told before it is ready. It
//!   may print to its terminal, whatever that does with programs in the background.
//!
//! Started and tested on Linux; other Unix systems differ in nothing that is relied on. On others
//! every start is an error that says so.

mod builder;
mod child;
mod chunk;
mod collector;
mod dispatch;
mod error;
mod future;
mod job;
mod life;
mod log;
mod map;
mod message;
mod metrics;
mod os;
mod output;
mod pool;
mod process;
mod queue;
mod shared;
mod slot;
mod stop;
mod task;
mod trace;
mod worker;

pub use builder::{Builder, Policy, TaskOptions};
pub use error::{At, Cause, Death, Ended, Error, Remote};
pub use future::{Future, Until, as_completed, wait};
pub use life::Life;
pub use log::{Record, log};
pub use map::Map;
pub use metrics::{Metrics, WorkerMetrics};
pub use os::kill_this_process;
pub use pool::Pool;
pub use process::Process;
pub use stop::Stop;
pub use task::{Failed, Task, Tasks, serve};

/// Calls what somebody wants called at the end of a task, or for a record. Its panic, which has
/// been printed, is its own: the thread has more to do. What it panicked with is not dropped: that
/// would run its code once more, and could panic once more.
fn call(watcher: impl FnOnce()) {
    if let Err(payload) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(watcher)) {
        std::mem::forget(payload);
    }
}
