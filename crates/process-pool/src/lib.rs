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
//! - A worker is the same program, started anew (never a fork of a process with threads).
//! - It has a connection of its own, its standard input; no lock and no pipe is shared between
//!   processes. Its stdout and stderr are its own.
//! - A task runs once at most. A worker that is killed, aborts or exits fails the task it
//!   runs, with the signal or the status named; the pool starts another worker and goes on.
//! - Every [`Future`] ends. A pool or process that is dropped ends its workers and reaps them.
//! - A worker whose parent is gone ends, even in the middle of a task.

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
mod pool;
mod process;
mod shared;
mod slot;
mod task;
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
pub use task::{Failed, Task, Tasks, serve};

/// Calls what somebody wants called at the end of a task. Its panic, which has been printed, is
/// its own: the thread has more to do.
fn call(watcher: slot::Watcher) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(watcher));
}
