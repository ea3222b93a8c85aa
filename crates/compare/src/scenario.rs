//! What is measured: the scenarios and their series, the same for everyone who takes part.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Samples by the name of their series: times in seconds, ratios and shares as fractions.
pub type Series = BTreeMap<String, Vec<f64>>;

/// Something that threads do under a lock. Its name is the same in `scenarios.py`, in the
/// arguments and in the JSON document.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Two tasks that compute
    CpuCpu,
    /// A task that waits and one that computes
    CpuIo,
    /// Two tasks of native code that gives the lock up
    Native,
    /// How long a turn is, with two threads that compute
    Turns,
    /// How soon an I/O thread runs again beside others
    WakeUps,
    /// The same, by how far apart their check points are
    CheckPoints,
    /// Increments of a counter missing in the end
    LostUpdates,
}

/// How long a thread waits before it asks for the lock.
pub struct Interval {
    /// In names of series.
    pub name: &'static str,
    pub time: Duration,
    /// How long it is watched.
    pub window: Duration,
}

/// The shortest, Python's default and the longest.
pub const INTERVALS: [Interval; 3] = [
    Interval {
        name: "0.5 ms",
        time: Duration::from_micros(500),
        window: Duration::from_millis(300),
    },
    Interval {
        name: "5 ms",
        time: Duration::from_millis(5),
        window: Duration::from_millis(600),
    },
    Interval {
        name: "50 ms",
        time: Duration::from_millis(50),
        window: Duration::from_millis(1000),
    },
];

/// Beside how many threads that compute an I/O thread wakes up.
pub const CPU_THREADS: [usize; 4] = [0, 1, 2, 4];

/// A task that computes takes about so long.
pub const TASK: Duration = Duration::from_millis(150);
/// A task that waits does so this often ...
pub const WAITS: u32 = 4;
/// ... and each time so long: in all longer than the other computes.
pub const WAIT: Duration = Duration::from_millis(60);

/// How long an I/O thread is away. Of different lengths, so that it does not keep step with the
/// turns of the others.
pub const NAPS: [Duration; 4] = [
    Duration::from_millis(7),
    Duration::from_millis(10),
    Duration::from_millis(13),
    Duration::from_millis(16),
];

/// Where the check points of threads that compute are, in names of series: as close as a loop
/// has them, or [`APART`].
pub const CHECK_POINTS: [&str; 2] = ["close", "apart"];
pub const APART: Duration = Duration::from_micros(200);
/// Threads that compute so.
pub const CHECKING_THREADS: [usize; 2] = [2, 4];

/// How many threads count, with the shortest interval.
pub const COUNTING_THREADS: usize = 4;

pub const IN_A_ROW: &str = "in a row";
pub const IN_THREADS: &str = "in threads";
pub const RATIO: &str = "ratio";
pub const BEYOND: &str = "beyond the longer";
pub const COUNT: &str = "counter += 1";
pub const COUNT_WITH_A_CALL: &str = "with a call";

/// The wake-ups beside so many threads that compute.
pub fn wake_ups(cpu_threads: usize, interval: &Interval) -> String {
    format!("{cpu_threads} at {}", interval.name)
}

/// The wake-ups beside so many threads that compute with such check points.
pub fn wake_ups_by_check_points(cpu_threads: usize, check_points: &str) -> String {
    format!("{cpu_threads}, {check_points}")
}

/// Two tasks, by the time of each alone and of both in threads.
pub fn compared(each: [Duration; 2], together: Duration) -> Series {
    let [first, second] = each.map(|time| time.as_secs_f64());
    let together = together.as_secs_f64();
    Series::from([
        (IN_A_ROW.into(), vec![first + second]),
        (IN_THREADS.into(), vec![together]),
        (RATIO.into(), vec![together / (first + second)]),
        (BEYOND.into(), vec![together - first.max(second)]),
    ])
}

impl Scenario {
    /// Its name everywhere.
    pub fn name(self) -> String {
        self.to_possible_value().expect("no scenario is hidden").get_name().to_owned()
    }

    /// The series that it consists of.
    pub fn series(self) -> Vec<String> {
        match self {
            Scenario::CpuCpu | Scenario::CpuIo | Scenario::Native => {
                [IN_A_ROW, IN_THREADS, RATIO, BEYOND].map(String::from).into()
            }
            Scenario::Turns => INTERVALS.map(|interval| interval.name.into()).into(),
            Scenario::WakeUps => CPU_THREADS
                .iter()
                .flat_map(|&threads| INTERVALS.map(|interval| wake_ups(threads, &interval)))
                .collect(),
            Scenario::CheckPoints => CHECKING_THREADS
                .iter()
                .flat_map(|&threads| {
                    CHECK_POINTS.map(|name| wake_ups_by_check_points(threads, name))
                })
                .collect(),
            Scenario::LostUpdates => [COUNT, COUNT_WITH_A_CALL].map(String::from).into(),
        }
    }
}
