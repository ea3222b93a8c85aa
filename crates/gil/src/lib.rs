//! A global interpreter lock like CPython's: its rules, and the lock itself on real threads.
//!
//! [`rules`] decides, without threads and without a clock. [`Gil`] carries the decisions out
//! with a mutex, condition variables and time-outs.
//!
//! ```
//! use gil::Gil;
//! use std::thread;
//!
//! let gil = Gil::new();
//! thread::scope(|scope| {
//!     for _ in 0..2 {
//!         scope.spawn(|| {
//!             let mut token = gil.acquire();
//!             for _ in 0..1_000 {
//!                 // ... one piece of work, alone ...
//!                 token.check_point();
//!             }
//!             token.allow_threads(|| { /* wait for an answer, while others work */ });
//!         });
//!     }
//! });
//! ```

mod lock;
pub mod rules;

pub use lock::{Gil, Token};
pub use rules::Settings;
