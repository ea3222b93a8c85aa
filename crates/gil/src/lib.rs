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
//! The interval and forced switching are [`Settings`]. Where the check points are is the program's
//! to say, on real threads: a setting would be one more test between any two instructions, where
//! a check point itself costs a load. So each Python is a way to write the program; `simulator`,
//! whose instructions are data, has it as a setting.
//!
//! | Python | here |
//! |---|---|
//! | 3.10 and later | [`check_point`](Token::check_point) at back edges, function entries and after calls |
//! | 3.2 to 3.9 | `check_point` after every instruction |
//! | before 3.2 | after every 100 instructions, asked or not, `token.allow_threads(\|\| ())`: the lock is dropped and taken back at once |
//! | a lock per interpreter | a [`Gil`] each |
//! | free-threaded | no `Gil` |

mod lock;
pub mod rules;

pub use lock::{Gil, Token};
pub use rules::Settings;
