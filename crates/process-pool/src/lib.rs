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

mod child;
mod error;
mod os;
mod pool;
mod process;
mod task;
mod worker;

pub use error::{Ended, Error, Remote};
pub use os::kill_this_process;
pub use pool::{Future, Pool};
pub use process::Process;
pub use task::{Failed, Task, Tasks, serve};
