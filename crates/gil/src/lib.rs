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
//!
//! [`Settings`] make it the lock of one Python or another. A program that says what it has
//! [`executed`](Token::executed) then stops where that Python does. `Token::check_point` is for
//! one that chooses its check points itself: it costs a load, where looking up the setting
//! costs a test more.
//!
//! | Python | here |
//! |---|---|
//! | 3.10 and later | [`CheckPoints::BackEdgesAndCalls`] |
//! | 3.2 to 3.9 | [`CheckPoints::EveryInstruction`] |
//! | before 3.2 | [`CheckPoints::Ticks`]`(100)` |
//! | a lock per interpreter | a [`Gil`] each |
//! | free-threaded | [`Gil::free_threaded`] |

mod lock;
pub mod rules;
mod settings;

pub use lock::{Gil, Token};
pub use settings::{CheckPoints, Settings, Site};
