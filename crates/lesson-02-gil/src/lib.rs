//! What the programs of this lesson share: threads under one lock, on the virtual clock.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use gil::Settings;
use simulator::{Process, Scenario, Thread};

/// The lock of Python 3.10 and later, asked for after this interval.
#[must_use]
pub fn asked_after(interval: Duration) -> Settings {
    Settings { interval, ..Settings::default() }
}

/// One process on two cores, to its end. `None` is a free-threaded build.
#[must_use]
pub fn scenario(lock: Option<Settings>, threads: Vec<Thread>, seed: u64) -> Scenario {
    let process = Process { name: "GIL".into(), lock, threads };
    Scenario { processes: vec![process], seed, ..Scenario::default() }
}

/// In milliseconds, to a hundredth: all that a reader compares.
#[must_use]
pub fn ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

/// Makes a file to write to, or says which one could not be made.
///
/// # Errors
///
/// When the file cannot be made.
pub fn create(what: &str, path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write the {what} to {}", path.display()))
}
