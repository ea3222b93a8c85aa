//! What the compiler refuses. Each program below is wrong, and the documentation tests check that
//! it does not compile. What it accepts and is wrong all the same: `--bin accepted`.
//!
//! A count of owners that is not atomic may not go to another thread (E0277); `Arc` may:
//!
//! ```compile_fail,E0277
//! let shared = std::rc::Rc::new(1);
//! std::thread::spawn(move || println!("{shared}"));
//! ```
//! ```
//! let shared = std::sync::Arc::new(1);
//! std::thread::spawn(move || println!("{shared}"));
//! ```
//!
//! Two threads may not write one number (E0499); an atomic one they may:
//!
//! ```compile_fail,E0499
//! let mut counter = 0;
//! std::thread::scope(|scope| {
//!     scope.spawn(|| counter += 1);
//!     scope.spawn(|| counter += 1);
//! });
//! ```
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//! let counter = AtomicU64::new(0);
//! std::thread::scope(|scope| {
//!     scope.spawn(|| counter.fetch_add(1, Relaxed));
//!     scope.spawn(|| counter.fetch_add(1, Relaxed));
//! });
//! ```
//!
//! What a mutex protects is inside it: the lock cannot be forgotten (E0368):
//!
//! ```compile_fail,E0368
//! let mut counter = std::sync::Mutex::new(0);
//! counter += 1;
//! ```
//! ```
//! let counter = std::sync::Mutex::new(0);
//! *counter.lock().unwrap() += 1;
//! ```

use std::thread;

/// Runs `work` in so many threads, which it gets the numbers of, and returns their answers in
/// that order.
pub fn in_threads<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|me| scope.spawn(move || work(me))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("the work does not panic"))
            .collect()
    })
}
