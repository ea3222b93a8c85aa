//! The rules of the lock on a virtual clock.
//!
//! A [`Scenario`] is a machine and the threads on it, each with a script. [`Scenario::run`]
//! plays it: [`gil::rules`] decides who has the lock, as it does for real threads, and a seed
//! stands for what an operating system leaves open. The same scenario gives the same [`Run`], to
//! the nanosecond, on every platform: the clock is an integer, ties go to the thread that was
//! named first, and nothing depends on addresses or on the order of a hash table.
//!
//! ```
//! use simulator::{Process, Scenario, Settings, Step, Thread};
//! use std::time::Duration;
//!
//! let ms = Duration::from_millis;
//! let run = Scenario {
//!     processes: vec![Process {
//!         name: "python".into(),
//!         lock: Some(Settings::default()),
//!         threads: vec![
//!             Thread::new("cpu", [Step::Compute(ms(50))]),
//!             Thread::new("io", [Step::Io(ms(1)), Step::Compute(ms(1))]),
//!         ],
//!     }],
//!     ..Scenario::default()
//! }
//! .run()?;
//! // The answer came after 1 ms; the lock came an interval of 5 ms later.
//! let wake_up = run.wake_ups(1)[0];
//! assert!(wake_up >= ms(5) && wake_up < ms(6));
//! eprint!("{run}{}", run.timeline().text(80));
//! # Ok::<(), simulator::Error>(())
//! ```
//!
//! The [`explorer`] leaves time out and nothing to chance: it runs every interleaving of small
//! programs.

mod agenda;
mod engine;
pub mod explorer;
mod random;
mod run;
mod scenario;
mod schedule;
mod script;

pub use gil::{CheckPoints, Settings};
pub use run::{Event, Run, What};
pub use scenario::{Machine, Process, Scenario, Thread};
pub use schedule::{Error, Schedule};
pub use script::{BODY, INCREMENT, Instruction, Step};
