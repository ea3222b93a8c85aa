use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::worker;

/// A line of the log of a worker. Records are ordered by time, worker and number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Record {
    /// When it was written, on the clock of the machine.
    pub time: SystemTime,
    /// The worker's number in its pool, from 0.
    pub worker: usize,
    /// How many records the same process had written before.
    pub number: u64,
    /// What it says.
    pub text: String,
}

/// Writes a line to the log: in a worker, to that of its parent, through the worker's own
/// connection, so that lines are whole and what was written before a death arrives; elsewhere
/// to stderr.
pub fn log(text: impl Into<String>) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let text = text.into();
    if worker::serves() {
        let number = NUMBER.fetch_add(1, Relaxed);
        worker::tell_parent(Record { time: SystemTime::now(), worker: 0, number, text });
    } else {
        eprintln!("{text}");
    }
}
